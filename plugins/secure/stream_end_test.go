package secure_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/secure"
)

type (
	raw   = tp.Stream[[]byte, []byte]
	texts = tp.Stream[string, string]
)

// tunnel is a client, a proxy without the plugin, which may be hostile, and a server.
type tunnel struct {
	network       string
	server, proxy tp.Peer
	sess          tp.Session // of the client
	back          tp.Session // of the proxy

	toServer, toClient func(dst, src *raw) error
	reply              func(ctx tp.StreamCtx, meta *tp.Meta, err error) error // passes the end of the handler on

	mu   sync.Mutex
	seen []byte // the bodies that have passed
}

func newTunnel(t *testing.T, cfg tp.PeerConfig, srv, cli tp.Plugin) *tunnel {
	t.Helper()
	w := &tunnel{toServer: tp.CopyStream[[]byte, []byte], toClient: tp.CopyStream[[]byte, []byte]}
	w.reply = func(ctx tp.StreamCtx, meta *tp.Meta, err error) error {
		for k, v := range meta.All() {
			if string(k) != tp.MetaStream {
				ctx.AddMeta(string(k), string(v))
			}
		}
		return err
	}
	w.network = tptest.NewNetwork().Register(t)
	cfg.Network = w.network
	w.server = tptest.NewPeer(t, cfg, srv)
	w.proxy = tptest.NewPeer(t, tp.PeerConfig{Network: cfg.Network}, &tp.PluginImpl{PluginName: "eyes", OnPostReadData: func(ctx tp.ReadCtx) *tp.Rerror {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen = append(w.seen, ctx.Input().RawBody()...)
		return nil
	}})
	tp.SetUnknownStream(w.proxy, func(ctx tp.StreamCtx, client *raw) error { return w.forward(ctx, client, w.back) })
	w.back = tptest.Dial(t, w.proxy, tptest.Listen(t, w.server))
	w.sess = tptest.Dial(t, tptest.NewPeer(t, cfg, cli), tptest.Listen(t, w.proxy))
	return w
}

func open(ctx context.Context, sess tp.CtxSession, in tp.StreamCtx) (*raw, error) {
	return tp.OpenStream[[]byte, []byte](ctx, sess, in.ServiceMethod(), tp.WithBodyCodec(in.GetBodyCodec()), tp.WithBody(in.InputBodyBytes()), func(m tp.Message) {
		in.VisitMeta(func(k, v []byte) {
			if string(k) != tp.MetaStream {
				m.Meta().AddBytesKV(k, v)
			}
		})
	})
}

func (w *tunnel) forward(ctx tp.StreamCtx, client *raw, sess tp.CtxSession) error {
	own, cancel := context.WithCancel(ctx.Context())
	defer cancel()
	backend, err := open(own, sess, ctx)
	if err != nil {
		return err
	}
	go w.toServer(backend, client)
	if err := w.toClient(client, backend); err != nil {
		return err
	}
	err = backend.Wait()
	return w.reply(ctx, backend.Call().InputMeta(), err)
}

func newSealedTunnel(t *testing.T, opts ...secure.Option) *tunnel {
	t.Helper()
	return newTunnel(t, tp.PeerConfig{}, secure.EndToEnd(keys(t, key(1, 'k')), opts...), secure.EndToEnd(keys(t, key(1, 'k')), opts...))
}

// collect receives until there is an error.
func collect(s *texts) (got []string, err error) {
	for {
		v, err := s.Recv()
		if err != nil {
			return got, err
		}
		got = append(got, *v)
	}
}

// A stream that is sealed from end to end is what it is without, and the proxy reads nothing.
func TestStreamEndToEnd(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler func(ctx tp.StreamCtx, s *texts) error
		run     func(t *testing.T, st *texts)
	}{
		{"both ways", func(_ tp.StreamCtx, s *texts) error {
			for v, err := range s.All() {
				if err != nil {
					return err
				}
				if err := s.Send("re: " + *v); err != nil {
					return err
				}
			}
			return s.Send("the end, " + secret)
		}, func(t *testing.T, st *texts) {
			for i := range 100 {
				text := fmt.Sprint(secret, i)
				require.NoError(t, st.Send(text))
				v, err := st.Recv()
				require.NoError(t, err)
				require.Equal(t, "re: "+text, *v)
			}
			require.NoError(t, st.CloseSend())
			got, err := collect(st)
			require.Equal(t, io.EOF, err)
			require.Equal(t, []string{"the end, " + secret}, got)
			require.NoError(t, st.Wait())
		}},
		{"no message", func(tp.StreamCtx, *texts) error { return nil }, func(t *testing.T, st *texts) {
			got, err := collect(st)
			require.Equal(t, io.EOF, err)
			require.Empty(t, got)
		}},
		{"the handler calls CloseSend", func(_ tp.StreamCtx, s *texts) error {
			s.Send("one")
			s.CloseSend()
			got, err := collect(s)
			return tp.NewRerror(4001, fmt.Sprint(len(got), err), "").Err()
		}, func(t *testing.T, st *texts) {
			got, err := collect(st)
			require.Equal(t, io.EOF, err)
			require.Equal(t, []string{"one"}, got)
			for range 10 {
				require.NoError(t, st.Send(secret))
			}
			require.NoError(t, st.CloseSend())
			require.Equal(t, "4001 10 EOF", strings.TrimSuffix(st.Wait().Error(), ": "))
		}},
		{"an error", func(_ tp.StreamCtx, s *texts) error {
			s.Send("last words")
			return tp.NewRerror(4001, "teapot", "short").Err()
		}, func(t *testing.T, st *texts) {
			got, err := collect(st)
			require.Equal(t, int32(4001), tp.Code(err))
			require.Equal(t, []string{"last words"}, got)
		}},
		{"empty and large messages", func(_ tp.StreamCtx, s *texts) error {
			for _, text := range []string{"", strings.Repeat(secret, 20_000), ""} {
				s.Send(text)
			}
			return nil
		}, func(t *testing.T, st *texts) {
			got, err := collect(st)
			require.Equal(t, io.EOF, err)
			require.Equal(t, []string{"", strings.Repeat(secret, 20_000), ""}, got)
		}},
		{"what the handler binds", func(ctx tp.StreamCtx, s *texts) error {
			var arg string
			if _, err := ctx.Bind(&arg); err != nil {
				return err
			}
			return s.Send(arg)
		}, func(t *testing.T, st *texts) {
			got, err := collect(st)
			require.Equal(t, io.EOF, err)
			require.Equal(t, []string{secret}, got)
		}},
	} {
		for _, mode := range []string{"enforced", "optional"} {
			t.Run(test.name+", "+mode, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tptest.LeakCheck(t)
					var opts []secure.Option
					if mode == "optional" {
						opts = append(opts, secure.Optional())
					}
					w := newSealedTunnel(t, opts...)
					tp.HandleStream(w.server, "/x", test.handler)
					st, err := tp.OpenStream[string, string](t.Context(), w.sess, "/x", secure.WithSecureEndMeta(), tp.WithBody(secret))
					require.NoError(t, err)
					test.run(t, st)
					require.NotContains(t, string(w.seen), secret)
				})
			})
		}
	}
}

// Both plugins go together, in either order.
func TestStreamSealedTwice(t *testing.T) {
	for _, order := range []string{"New in front", "EndToEnd in front"} {
		t.Run(order, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plugins := func() []tp.Plugin {
					hop, end := secure.New(keys(t, key(1, 'k'))), secure.EndToEnd(keys(t, key(1, 'k')))
					if order == "New in front" {
						return []tp.Plugin{hop, end}
					}
					return []tp.Plugin{end, hop}
				}
				cfg := tp.PeerConfig{Network: tptest.NewNetwork().Register(t), Extensions: true, StreamWindow: 2000}
				srv := tptest.NewPeer(t, cfg, plugins()...)
				tp.HandleStream(srv, "/x", func(_ tp.StreamCtx, s *texts) error {
					for v, err := range s.All() {
						if err != nil {
							return err
						}
						if err := s.Send(*v); err != nil {
							return err
						}
					}
					return nil
				})
				st, err := tp.OpenStream[string, string](t.Context(), tptest.Dial(t, tptest.NewPeer(t, cfg, plugins()...), tptest.Listen(t, srv)), "/x")
				require.NoError(t, err)
				for i := range 100 {
					require.NoError(t, st.Send(fmt.Sprint(i)))
					v, err := st.Recv()
					require.NoError(t, err)
					require.Equal(t, fmt.Sprint(i), *v)
				}
				require.NoError(t, st.CloseSend())
				_, err = collect(st)
				require.Equal(t, io.EOF, err)
			})
		})
	}
}

// Either side opens streams.
func TestStreamEndToEndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := tp.PeerConfig{Network: tptest.NewNetwork().Register(t)}
		srv := tptest.NewPeer(t, cfg, secure.EndToEnd(keys(t, key(1, 'k'))))
		cli := tptest.NewPeer(t, cfg, secure.EndToEnd(keys(t, key(1, 'k'))))
		tp.HandleStream(cli, "/back", func(_ tp.StreamCtx, s *texts) error { return s.Send(secret) })
		got := make(chan string, 1)
		tp.HandleStream(srv, "/x", func(ctx tp.StreamCtx, s *texts) error {
			back, err := tp.OpenStream[string, string](ctx.Context(), ctx.Session(), "/back")
			if err != nil {
				return err
			}
			all, err := collect(back)
			got <- fmt.Sprint(all, err)
			return nil
		})
		st, err := tp.OpenStream[string, string](t.Context(), tptest.Dial(t, cli, tptest.Listen(t, srv)), "/x")
		require.NoError(t, err)
		_, err = collect(st)
		require.Equal(t, io.EOF, err)
		require.Equal(t, fmt.Sprint([]string{secret}, io.EOF), <-got)
	})
}

// With Optional a stream that does not ask for it is plain.
func TestStreamEndToEndPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSealedTunnel(t, secure.Optional())
		tp.HandleStream(w.server, "/x", func(_ tp.StreamCtx, s *texts) error { return s.Send(secret) })
		st, err := tp.OpenStream[string, string](t.Context(), w.sess, "/x")
		require.NoError(t, err)
		got, err := collect(st)
		require.Equal(t, io.EOF, err)
		require.Equal(t, []string{secret}, got)
		require.Contains(t, string(w.seen), secret)
	})
}

// Keys can be switched while a stream is open.
func TestStreamEndToEndSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := keys(t, key(1, 'k')), keys(t, key(1, 'k'))
		w := newTunnel(t, tp.PeerConfig{}, secure.EndToEnd(a), secure.EndToEnd(b))
		tp.HandleStream(w.server, "/x", func(_ tp.StreamCtx, s *texts) error {
			for v, err := range s.All() {
				if err != nil {
					return err
				}
				s.Send(*v)
			}
			return nil
		})
		st, err := tp.OpenStream[string, string](t.Context(), w.sess, "/x")
		require.NoError(t, err)
		echo := func() {
			t.Helper()
			require.NoError(t, st.Send(secret))
			_, err := st.Recv()
			require.NoError(t, err)
		}
		echo()
		require.NoError(t, a.Prepare(key(2, 'n')))
		require.NoError(t, b.Prepare(key(2, 'n')))
		echo()
		require.NoError(t, a.Switch())
		echo()
		require.NoError(t, b.Switch())
		echo()
		require.NoError(t, b.Prepare(key(3, 'o'))) // the first key is not opened any more
		require.NoError(t, a.Prepare(key(3, 'o')))
		echo()
		st.CloseSend()
		_, err = collect(st)
		require.Equal(t, io.EOF, err)
	})
}

// A message that could not be sent does not count: the stream goes on.
func TestStreamEndToEndNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTunnel(t, tp.PeerConfig{MessageSizeLimit: 1000}, secure.EndToEnd(keys(t, key(1, 'k'))), secure.EndToEnd(keys(t, key(1, 'k'))))
		got := make(chan string, 1)
		tp.HandleStream(w.server, "/x", func(_ tp.StreamCtx, s *texts) error {
			all, err := collect(s)
			got <- fmt.Sprint(all, err)
			return nil
		})
		st, err := tp.OpenStream[string, string](t.Context(), w.sess, "/x")
		require.NoError(t, err)
		require.NoError(t, st.Send("one"))
		require.Equal(t, tp.CodeWriteFailed, tp.Code(st.Send(strings.Repeat("x", 2000))))
		require.NoError(t, st.Send("two"))
		require.NoError(t, st.CloseSend())
		require.Equal(t, "[one two] EOF", <-got)
	})
}
