package secure_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/secure"
)

// attack is what a hostile proxy makes of four messages of a stream, and of a fifth, that
// comes from the other direction or another stream.
type attack struct {
	name string
	make func(m [][]byte) [][]byte
	keep int // so many messages are received
}

var attacks = []attack{
	{"none", func(m [][]byte) [][]byte { return m[:4] }, 4},
	{"the first is dropped", func(m [][]byte) [][]byte { return m[1:4] }, 0},
	{"the second is dropped", func(m [][]byte) [][]byte { return [][]byte{m[0], m[2], m[3]} }, 1},
	{"the last is dropped", func(m [][]byte) [][]byte { return m[:3] }, 3},
	{"all are dropped", func(m [][]byte) [][]byte { return nil }, 0},
	{"two change places", func(m [][]byte) [][]byte { return [][]byte{m[0], m[2], m[1], m[3]} }, 1},
	{"one is repeated", func(m [][]byte) [][]byte { return [][]byte{m[0], m[1], m[1], m[2], m[3]} }, 2},
	{"the last is repeated", func(m [][]byte) [][]byte { return append(m[:4:4], m[3]) }, 4},
	{"one is altered", func(m [][]byte) [][]byte {
		altered := bytes.Clone(m[2])
		altered[len(altered)-20] ^= 1
		return [][]byte{m[0], m[1], altered, m[3]}
	}, 2},
	{"one is cut short", func(m [][]byte) [][]byte { return [][]byte{m[0], m[1], m[2][:20], m[3]} }, 2},
	{"one is empty", func(m [][]byte) [][]byte { return [][]byte{m[0], nil, m[2], m[3]} }, 1},
	{"one is plain", func(m [][]byte) [][]byte { return [][]byte{m[0], []byte(`"plain"`), m[2], m[3]} }, 1},
	{"one is of another stream", func(m [][]byte) [][]byte { return [][]byte{m[0], m[4], m[2], m[3]} }, 1},
	{"the first is of another stream", func(m [][]byte) [][]byte { return [][]byte{m[4], m[1], m[2], m[3]} }, 0},
}

// mangle passes four messages on as the attack makes them, and then the rest.
func (a attack) mangle(foreign []byte) func(dst, src *raw) error {
	return func(dst, src *raw) error {
		var m [][]byte
		for range 4 {
			v, err := src.Recv()
			if err != nil {
				return err
			}
			m = append(m, *v)
		}
		for _, v := range a.make(append(m, foreign)) {
			if err := dst.Send(v); err != nil {
				return err
			}
		}
		return tp.CopyStream(dst, src)
	}
}

var four = []string{"zero", "one", "two", "three"}

func sendFour(s *texts) {
	for _, text := range four {
		s.Send(text)
	}
}

// verdict is what a side sees that receives four messages, of which a proxy has spoiled some.
func (a attack) verdict(t *testing.T, got []string, err error) {
	t.Helper()
	require.Equal(t, four[:a.keep], append([]string{}, got...))
	if a.name == "none" {
		require.Equal(t, io.EOF, err)
		return
	}
	require.Equal(t, tp.CodeBadMessage, tp.Code(err), "%v", err)
	for _, known := range []error{secure.ErrAltered, secure.ErrTruncated, secure.ErrVersion} {
		if errors.Is(err, known) {
			return
		}
	}
	t.Errorf("the error is %v; want one of the package's", err)
}

// A proxy that drops, repeats, moves, alters or adds messages is found out, at that place or at the
// end, whichever way the messages go, and whoever ends the stream.
func TestStreamAttacks(t *testing.T) {
	for _, a := range attacks {
		for _, way := range []string{"to the server", "to the client", "to the client, CloseSend"} {
			t.Run(a.name+", "+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newSealedTunnel(t)
					type seen struct {
						got []string
						err error
					}
					served := make(chan seen, 2)
					tp.HandleStream(w.server, "/x", func(ctx tp.StreamCtx, s *texts) error {
						if way == "to the server" {
							got, err := collect(s)
							served <- seen{got, err}
							return nil
						}
						sendFour(s)
						if way == "to the client, CloseSend" {
							s.CloseSend()
							<-ctx.Context().Done()
						}
						return nil
					})
					var foreign []byte
					run := func() (st *texts) {
						st, err := tp.OpenStream[string, string](t.Context(), w.sess, "/x")
						require.NoError(t, err)
						if way == "to the server" {
							sendFour(st)
							st.CloseSend()
						}
						return st
					}
					keep := attack{make: func(m [][]byte) [][]byte {
						foreign = m[1]
						return m[:4]
					}}
					w.toServer, w.toClient = keep.mangle(nil), keep.mangle(nil)
					if way == "to the server" {
						w.toClient = tp.CopyStream[[]byte, []byte]
					} else {
						w.toServer = tp.CopyStream[[]byte, []byte]
					}
					first := run()
					if way == "to the server" {
						require.Equal(t, four, (<-served).got)
					} else {
						for range 4 {
							_, err := first.Recv()
							require.NoError(t, err)
						}
					}
					first.Close()
					synctest.Wait()
					if way == "to the server" {
						w.toServer = a.mangle(foreign)
						run()
						s := <-served
						a.verdict(t, s.got, s.err)
						return
					}
					w.toClient = a.mangle(foreign)
					got, err := collect(run())
					a.verdict(t, got, err)
				})
			})
		}
	}
}

// A side does not take what it has sealed itself for the other side's.
func TestStreamReflected(t *testing.T) {
	for _, way := range []string{"to the client", "to the server"} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newSealedTunnel(t)
				back := make(chan []byte, 4)
				defer close(back)
				take := func(_, src *raw) error {
					for v, err := range src.All() {
						if err != nil {
							return err
						}
						back <- *v
					}
					return nil
				}
				send := func(dst, src *raw) error {
					for v := range back {
						if err := dst.Send(v); err != nil {
							return err
						}
					}
					return src.Wait()
				}
				w.toServer, w.toClient = take, send
				if way == "to the server" {
					w.toServer, w.toClient = send, take
				}
				served := make(chan error, 1)
				tp.HandleStream(w.server, "/x", func(_ tp.StreamCtx, s *texts) error {
					s.Send("from the handler")
					_, err := s.Recv()
					served <- err
					return err
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				st, err := tp.OpenStream[string, string](ctx, w.sess, "/x")
				require.NoError(t, err)
				st.Send("from the opener")
				if way == "to the server" {
					require.ErrorIs(t, <-served, secure.ErrAltered)
					return
				}
				_, err = st.Recv()
				require.ErrorIs(t, err, secure.ErrAltered)
			})
		})
	}
}

// A proxy cannot end a stream: an end in plain, and one of another time, are errors, and no end.
func TestStreamForgedEnd(t *testing.T) {
	part := func(dst, src *raw) {
		for range 2 {
			v, err := src.Recv()
			if err == nil {
				dst.Send(*v)
			}
		}
	}
	handler := func(served chan error) func(tp.StreamCtx, *texts) error {
		return func(ctx tp.StreamCtx, s *texts) error {
			sendFour(s)
			_, err := collect(s)
			served <- err
			<-ctx.Context().Done()
			return nil
		}
	}
	for _, test := range []struct {
		name   string
		attack func(w *tunnel)
		server bool // it is who notices
		want   error
	}{
		{"CloseSend to the server", func(w *tunnel) {
			w.toServer = func(dst, src *raw) error {
				part(dst, src)
				return dst.CloseSend()
			}
		}, true, secure.ErrPlain},
		{"CloseSend to the client", func(w *tunnel) {
			w.toClient = func(dst, src *raw) error {
				part(dst, src)
				dst.CloseSend()
				return src.Wait()
			}
		}, false, secure.ErrPlain},
		{"the end of the handler", func(w *tunnel) {
			w.toClient = func(dst, src *raw) error {
				part(dst, src)
				src.Close()
				return nil
			}
			w.reply = func(tp.StreamCtx, *tp.Meta, error) error { return nil }
		}, false, secure.ErrPlain},
		{"the end of the handler, with a mark of no meaning", func(w *tunnel) {
			w.toClient = func(dst, src *raw) error {
				part(dst, src)
				src.Close()
				return nil
			}
			w.reply = func(ctx tp.StreamCtx, _ *tp.Meta, _ error) error {
				ctx.SetMeta(secure.MetaSecureEnd, "true")
				return nil
			}
		}, false, secure.ErrTruncated},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newSealedTunnel(t)
				test.attack(w)
				served := make(chan error, 1)
				tp.HandleStream(w.server, "/x", handler(served))
				st, err := tp.OpenStream[string, string](t.Context(), w.sess, "/x")
				require.NoError(t, err)
				sendFour(st)
				if test.server {
					require.ErrorIs(t, <-served, test.want)
					return
				}
				got, err := collect(st)
				require.Equal(t, four[:2], got)
				require.ErrorIs(t, err, test.want)
			})
		})
	}
}

// Two servers that have got the same CALL are not taken for one, though both seal with the
// same key: what they have sealed does not go together.
func TestStreamTwoServers(t *testing.T) {
	for _, test := range []struct {
		name string
		from string // of four messages and the REPLY: the server that it is taken from
		most int    // so many messages are received at most: the REPLY is looked at as it comes
	}{
		{"one server", "aaaaa", 5},
		{"the other", "bbbbb", 5},
		{"a message", "abaaa", 1},
		{"the first", "baaaa", 1},
		{"the end", "aaaab", 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newSealedTunnel(t)
				second := tptest.NewPeer(t, tp.PeerConfig{Network: w.network}, secure.EndToEnd(keys(t, key(1, 'k'))))
				other := tptest.Dial(t, w.back.Peer(), tptest.Listen(t, second))
				for _, p := range []tp.Peer{w.server, second} {
					tp.HandleStream(p, "/x", func(_ tp.StreamCtx, s *texts) error {
						sendFour(s)
						return nil
					})
				}
				tp.SetUnknownStream(w.proxy, func(ctx tp.StreamCtx, client *raw) error {
					bodies, ends := map[byte][][]byte{}, map[byte]*tp.Meta{}
					for name, sess := range map[byte]tp.Session{'a': w.back, 'b': other} {
						s, err := open(ctx.Context(), sess, ctx)
						if err != nil {
							return err
						}
						for v, err := range s.All() {
							if err != nil {
								return err
							}
							bodies[name] = append(bodies[name], *v)
						}
						ends[name] = s.Call().InputMeta()
					}
					for i := range four {
						client.Send(bodies[test.from[i]][i])
					}
					return w.reply(ctx, ends[test.from[4]], nil)
				})
				st, err := tp.OpenStream[string, string](t.Context(), w.sess, "/x")
				require.NoError(t, err)
				got, err := collect(st)
				if test.most == 5 {
					require.Equal(t, io.EOF, err)
					require.Equal(t, four, got)
					return
				}
				require.ErrorIs(t, err, secure.ErrAltered)
				require.LessOrEqual(t, len(got), test.most)
			})
		})
	}
}

// A proxy cannot make a sealed call of a stream, nor a stream of a sealed call.
func TestStreamIsNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSealedTunnel(t)
		ran := func() { t.Error("a handler ran") }
		tp.HandleCall(w.server, "/call", func(tp.CallCtx, *string) (string, error) { ran(); return "", nil })
		tp.HandleStream(w.server, "/stream", func(tp.StreamCtx, *texts) error { ran(); return nil })
		w.proxy.SetUnknownCall(func(ctx tp.UnknownCallCtx) (any, *tp.Rerror) {
			s, err := tp.OpenStream[[]byte, []byte](ctx.Context(), w.back, "/stream", tp.WithBodyCodec(ctx.GetBodyCodec()), tp.WithBody(ctx.InputBodyBytes()),
				secure.WithSecureEndMeta())
			if err != nil {
				return nil, tp.ToRerror(err)
			}
			_, err = s.Recv()
			return nil, tp.ToRerror(err)
		})
		tp.SetUnknownStream(w.proxy, func(ctx tp.StreamCtx, _ *raw) error {
			return w.back.Call("/call", ctx.InputBodyBytes(), nil, tp.WithBodyCodec(ctx.GetBodyCodec()), secure.WithSecureEndMeta()).Rerror().Err()
		})
		r := w.sess.Call("/stream", secret, nil).Rerror()
		require.Contains(t, r.Reason, secure.ErrAltered.Error())
		st, err := tp.OpenStream[string, string](t.Context(), w.sess, "/call", tp.WithBody(secret))
		require.NoError(t, err)
		_, err = st.Recv()
		require.ErrorContains(t, err, secure.ErrAltered.Error())
	})
}
