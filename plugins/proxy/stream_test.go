package proxy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/proxy"
)

// row is a client, some proxies behind each other, and a backend.
type row struct {
	net      *tptest.Network
	client   tp.Session
	proxies  []tp.Peer    // from the client to the backend
	sessions []tp.Session // that the proxies have dialled, in the same order
	backend  tp.Peer
	log      chan string // what the backend's handlers say
}

// newRow makes a row of n proxies.
func newRow(t *testing.T, n int, cfg tp.PeerConfig) *row { return newRowOf(t, n, cfg, cfg, cfg) }

// newRowOf makes a row of n proxies; out are the peers with which they dial, front those
// that listen, and both have the plugins.
func newRowOf(t *testing.T, n int, ends, out, front tp.PeerConfig, plugin ...tp.Plugin) *row {
	t.Helper()
	r := &row{net: tptest.NewNetwork(), proxies: make([]tp.Peer, n), sessions: make([]tp.Session, n), log: make(chan string, 100)}
	ends.Network = r.net.Register(t)
	out.Network, front.Network = ends.Network, ends.Network
	r.backend = tptest.NewPeer(t, ends)
	addr := tptest.Listen(t, r.backend)
	for i := n - 1; i >= 0; i-- {
		next := tptest.Dial(t, tptest.NewPeer(t, out, plugin...), addr)
		r.sessions[i] = next
		forward := proxy.NewPlugin(func(*proxy.Label) proxy.Forwarder { return next })
		r.proxies[i] = tptest.NewPeer(t, front, append([]tp.Plugin{forward}, plugin...)...)
		addr = tptest.Listen(t, r.proxies[i])
	}
	r.client = tptest.Dial(t, tptest.NewPeer(t, ends), addr)
	return r
}

func (r *row) open(t *testing.T, method string, setting ...tp.MessageSetting) *tp.Stream[string, string] {
	t.Helper()
	st, err := tp.OpenStream[string, string](t.Context(), r.client, method, setting...)
	require.NoError(t, err)
	return st
}

// idle waits until no peer has a handler or memory in use.
func (r *row) idle(t *testing.T) {
	t.Helper()
	synctest.Wait()
	for i, p := range append(r.proxies, r.backend) {
		require.Zero(t, p.Stats().Memory, "bytes of messages at peer %d", i)
	}
	require.NoError(t, r.client.Call("/ping", "", nil).Rerror().Err(), "a call after the stream")
}

func wantRecv(t *testing.T, st *tp.Stream[string, string], want ...string) {
	t.Helper()
	for _, text := range want {
		v, err := st.Recv()
		require.NoError(t, err)
		require.Equal(t, text, *v)
	}
}

func wantEnd(t *testing.T, err error, code int32) {
	t.Helper()
	if code == 0 {
		require.Equal(t, io.EOF, err)
		return
	}
	require.Equal(t, code, tp.Code(err), "%v", err)
}

// A stream behaves through proxies as it does without any.
func TestStream(t *testing.T) {
	type stream = tp.Stream[string, string]
	echo := func(_ tp.StreamCtx, s *stream) error {
		for v, err := range s.All() {
			if err != nil {
				return err
			}
			if err := s.Send("re: " + *v); err != nil {
				return err
			}
		}
		return s.Send("that was all")
	}
	for _, test := range []struct {
		name    string
		handler func(ctx tp.StreamCtx, s *stream, log func(...any)) error
		run     func(t *testing.T, r *row)
		logged  string
	}{
		{"the client calls CloseSend", func(ctx tp.StreamCtx, s *stream, _ func(...any)) error { return echo(ctx, s) }, func(t *testing.T, r *row) {
			st := r.open(t, "/x")
			for i := range 100 {
				require.NoError(t, st.Send(fmt.Sprint(i)))
				wantRecv(t, st, fmt.Sprint("re: ", i))
			}
			require.NoError(t, st.CloseSend())
			wantRecv(t, st, "that was all")
			_, err := st.Recv()
			wantEnd(t, err, 0)
			require.NoError(t, st.Wait())
		}, ""},
		{"nothing is sent", func(tp.StreamCtx, *stream, func(...any)) error { return nil }, func(t *testing.T, r *row) {
			st := r.open(t, "/x")
			_, err := st.Recv()
			wantEnd(t, err, 0)
			require.NoError(t, st.Wait())
			require.ErrorIs(t, st.Send("late"), tp.ErrStreamEnded)
		}, ""},
		{"empty and large messages", func(ctx tp.StreamCtx, s *stream, _ func(...any)) error { return echo(ctx, s) }, func(t *testing.T, r *row) {
			st := r.open(t, "/x")
			large := strings.Repeat("0123456789", 100_000)
			for _, text := range []string{"", large, "", large, "x"} {
				require.NoError(t, st.Send(text))
				wantRecv(t, st, "re: "+text)
			}
			require.NoError(t, st.CloseSend())
			wantRecv(t, st, "that was all")
			_, err := st.Recv()
			wantEnd(t, err, 0)
		}, ""},
		{"an error with metadata", func(ctx tp.StreamCtx, s *stream, _ func(...any)) error {
			ctx.SetMeta("k", "v")
			s.Send("last words")
			return tp.NewRerror(4018, "words", "why").Err()
		}, func(t *testing.T, r *row) {
			st := r.open(t, "/x")
			wantRecv(t, st, "last words")
			_, err := st.Recv()
			require.Equal(t, "4018 words: why", err.Error())
			require.Equal(t, "v", string(st.Call().InputMeta().Peek("k")))
			require.Equal(t, int32(4018), tp.Code(st.Wait()))
		}, ""},
		{"a panic", func(tp.StreamCtx, *stream, func(...any)) error { panic("ouch") }, func(t *testing.T, r *row) {
			_, err := r.open(t, "/x").Recv()
			wantEnd(t, err, tp.CodeInternalServerError)
		}, ""},
		{"no route", nil, func(t *testing.T, r *row) {
			_, err := r.open(t, "/nowhere").Recv()
			wantEnd(t, err, tp.CodeNotFound)
		}, ""},
		{"the handler calls CloseSend", func(_ tp.StreamCtx, s *stream, log func(...any)) error {
			s.Send("one")
			s.CloseSend()
			n := 0
			for range s.All() {
				n++
			}
			log(n, " received")
			return tp.NewRerror(7, "after all", "").Err()
		}, func(t *testing.T, r *row) {
			st := r.open(t, "/x")
			wantRecv(t, st, "one")
			_, err := st.Recv()
			wantEnd(t, err, 0)
			for range 1000 {
				require.NoError(t, st.Send("more"))
			}
			require.NoError(t, st.CloseSend())
			require.Equal(t, int32(7), tp.Code(st.Wait()))
		}, "1000 received"},
		{"the handler returns while the client sends", func(_ tp.StreamCtx, s *stream, _ func(...any)) error {
			s.Recv()
			return tp.NewRerror(8, "enough", "").Err()
		}, func(t *testing.T, r *row) {
			st := r.open(t, "/x")
			var err error
			for err == nil {
				err = st.Send(strings.Repeat("x", 1000))
			}
			require.Equal(t, int32(8), tp.Code(err))
		}, ""},
		{"the handler returns behind a window that is full", func(_ tp.StreamCtx, s *stream, _ func(...any)) error {
			return s.Send(strings.Repeat("x", 300<<10))
		}, func(t *testing.T, r *row) {
			st := r.open(t, "/x")
			require.NoError(t, st.Wait())
			require.ErrorIs(t, st.Send("late"), tp.ErrStreamEnded)
			wantRecv(t, st, strings.Repeat("x", 300<<10))
			_, err := st.Recv()
			wantEnd(t, err, 0)
		}, ""},
		{"the handler calls CloseSend behind a window that is full", func(_ tp.StreamCtx, s *stream, log func(...any)) error {
			s.Send(strings.Repeat("x", 300<<10))
			s.CloseSend()
			for range s.All() {
			}
			return tp.NewRerror(8, "enough", "").Err()
		}, func(t *testing.T, r *row) {
			st := r.open(t, "/x")
			require.NoError(t, st.CloseSend())
			require.Equal(t, int32(8), tp.Code(st.Wait()))
		}, ""},
		{"the client closes", func(ctx tp.StreamCtx, s *stream, log func(...any)) error {
			_, err := s.Recv()
			log(tp.Code(err), " ", context.Cause(ctx.Context()))
			return nil
		}, func(t *testing.T, r *row) {
			st := r.open(t, "/x")
			synctest.Wait()
			st.Close()
			_, err := st.Recv()
			wantEnd(t, err, tp.CodeCanceled)
		}, "499 tp: the caller has given up"},
		{"the client's deadline", func(ctx tp.StreamCtx, s *stream, log func(...any)) error {
			at, _ := ctx.Context().Deadline()
			left := time.Until(at)
			_, err := s.Recv()
			log(left > 9*time.Second && left <= 10*time.Second+5*time.Millisecond, " ", tp.Code(err))
			return err // it is over at the same moment on both sides
		}, func(t *testing.T, r *row) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			st, err := tp.OpenStream[string, string](ctx, r.client, "/x")
			require.NoError(t, err)
			_, err = st.Recv()
			wantEnd(t, err, tp.CodeHandleTimeout)
			time.Sleep(time.Second)
		}, "true 408"},
		{"the first argument", func(ctx tp.StreamCtx, s *stream, log func(...any)) error {
			var arg string
			_, err := ctx.Bind(&arg)
			log(arg, " ", err, " ", ctx.Query().Get("q"), " ", string(ctx.PeekMeta("k")))
			return nil
		}, func(t *testing.T, r *row) {
			_, err := r.open(t, "/x?q=1", tp.WithBody("arg"), tp.WithAddMeta("k", "v")).Recv()
			wantEnd(t, err, 0)
		}, "arg <nil> 1 v"},
		{"a filter of the client", func(ctx tp.StreamCtx, s *stream, _ func(...any)) error { return echo(ctx, s) }, func(t *testing.T, r *row) {
			st := r.open(t, "/x", tp.WithXferPipe(swappedID))
			require.NoError(t, st.Send("x"))
			wantRecv(t, st, "re: x")
			st.CloseSend()
			wantRecv(t, st, "that was all")
			_, err := st.Recv()
			wantEnd(t, err, 0)
		}, ""},
	} {
		for _, n := range []int{0, 1, 3} {
			t.Run(test.name+", proxies: "+strconv.Itoa(n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tptest.Poison(t)
					tptest.LeakCheck(t)
					r := newRow(t, n, tp.PeerConfig{})
					tp.HandleCall(r.backend, "/ping", func(tp.CallCtx, *string) (string, error) { return "", nil })
					if test.handler != nil {
						tp.HandleStream(r.backend, "/x", func(ctx tp.StreamCtx, s *stream) error {
							return test.handler(ctx, s, func(v ...any) { r.log <- fmt.Sprint(v...) })
						})
					}
					test.run(t, r)
					if test.logged != "" {
						require.Equal(t, test.logged, <-r.log)
					}
					r.idle(t)
				})
			})
		}
	}
}

// The end of a connection ends the stream on both sides, and no other connection.
func TestStreamConnectionEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		cut  func(r *row) string // an address of the connection
		code int32               // of the client
	}{
		{"the client's", func(r *row) string { return r.client.LocalAddr().String() }, tp.CodeConnClosed},
		{"between proxies", func(r *row) string { return r.sessions[1].LocalAddr().String() }, tp.CodeBadGateway},
		{"the backend's", func(r *row) string { return r.sessions[2].LocalAddr().String() }, tp.CodeBadGateway},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tptest.LeakCheck(t)
				r := newRow(t, 3, tp.PeerConfig{})
				tp.HandleStream(r.backend, "/x", func(ctx tp.StreamCtx, s *tp.Stream[string, string]) error {
					s.Send("one")
					_, err := s.Recv()
					<-ctx.Context().Done()
					r.log <- fmt.Sprint(tp.Code(err), " ", errors.Is(context.Cause(ctx.Context()), tp.ErrCallerGone))
					return nil
				})
				st := r.open(t, "/x")
				synctest.Wait()
				r.net.Find(test.cut(r)).Cut()
				synctest.Wait()
				wantRecv(t, st, "one")
				_, err := st.Recv()
				wantEnd(t, err, test.code)
				require.Error(t, st.Send("late"))
				switch seen := <-r.log; test.code {
				case tp.CodeBadGateway:
					require.Contains(t, []string{"499 true", "102 false", "499 false"}, seen)
				default:
					require.Equal(t, "499 true", seen)
				}
				for i, s := range append(r.sessions, r.client) {
					addr := s.LocalAddr().String()
					require.Equal(t, r.net.Find(addr) != nil, s.Health(), "session %d", i)
				}
			})
		})
	}
}

// Codec, metadata and bytes of each message pass as they are.
func TestStreamOpaque(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 2, tp.PeerConfig{})
		see := func(ctx tp.ReadCtx) *tp.Rerror {
			in := ctx.Input()
			r.log <- fmt.Sprintf("codec %d, %q, %q", in.BodyCodec(), in.RawBody(), pairs(in.Meta()))
			return nil
		}
		tag := func(ctx tp.WriteCtx) *tp.Rerror {
			for _, kv := range [][2]string{{"k", "1"}, {"k", "2"}, {"", "é"}} {
				ctx.Output().Meta().Add(kv[0], kv[1])
			}
			return nil
		}
		ends := &tp.PluginImpl{PluginName: "ends", OnPreWriteData: tag, OnPostReadData: see}
		r.backend.PluginContainer().AppendLeft(ends)
		r.client.Peer().PluginContainer().AppendLeft(ends)
		tp.HandleStream(r.backend, "/x", func(_ tp.StreamCtx, s *tp.Stream[[]byte, []byte]) error {
			v, err := s.Recv()
			if err != nil {
				return err
			}
			return s.Send(*v)
		})
		body := "\x00\xffno json"
		st, err := tp.OpenStream[[]byte, []byte](t.Context(), r.client, "/x", tp.WithBodyCodec(199))
		require.NoError(t, err)
		require.NoError(t, st.Send([]byte(body)))
		v, err := st.Recv()
		require.NoError(t, err)
		require.Equal(t, body, string(*v))
		for range 2 {
			require.Equal(t, fmt.Sprintf("codec 199, %q, %q", body, [][2]string{{"k", "1"}, {"k", "2"}, {"", "é"}}), <-r.log)
		}
	})
}

// A stream that goes round is stopped, as a call is.
func TestStreamLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines tptest.Lines
		client, forwards := ring(t, &lines, 0)
		st, err := tp.OpenStream[string, string](t.Context(), client, "/x")
		require.NoError(t, err)
		_, err = st.Recv()
		wantEnd(t, err, tp.CodeLoopDetected)
		require.Contains(t, err.Error(), `"/x" was forwarded by 16 proxies`)
		require.EqualValues(t, maxHops, forwards.Load())
	})
}

// Of X-Hops the backend gets the number of proxies; X-Stream, which is of each connection,
// comes once, whatever the client sends.
func TestStreamMeta(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 3, tp.PeerConfig{})
		tp.HandleStream(r.backend, "/x", func(ctx tp.StreamCtx, s *tp.Stream[string, string]) error {
			m := ctx.CopyMeta()
			r.log <- fmt.Sprint(pairsOf(m, tp.MetaHops), pairsOf(m, tp.MetaStream), pairsOf(m, tp.MetaRealIP))
			return nil
		})
		st := r.open(t, "/x", tp.WithAddMeta("x-stream", "7"))
		_, err := st.Recv()
		wantEnd(t, err, 0)
		require.Equal(t, fmt.Sprintf("[3] [262144] [%s]", r.sessions[1].LocalAddr()), <-r.log)
		require.Len(t, pairsOf(st.Call().InputMeta(), tp.MetaStream), 1)
	})
}

// Bytes go through a proxy in both directions.
func TestStreamOfBytes(t *testing.T) {
	tptest.LeakCheck(t)
	c := newChain(t, config{network: "tcp"})
	tp.HandleStream(c.backend, "/sum", func(_ tp.StreamCtx, s *tp.Stream[[]byte, []byte]) error {
		h := sha256.New()
		if _, err := io.Copy(io.MultiWriter(h, tp.StreamWriter(s)), tp.StreamReader(s)); err != nil {
			return err
		}
		return s.Send(h.Sum(nil))
	})
	st, err := tp.OpenStream[[]byte, []byte](t.Context(), c.client, "/sum")
	require.NoError(t, err)
	sent := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{1}).Read(sent)
	go func() {
		w := tp.StreamWriter(st)
		w.Write(sent)
		w.Close()
	}()
	got, err := io.ReadAll(tp.StreamReader(st))
	require.NoError(t, err)
	sum := sha256.Sum256(sent)
	require.True(t, bytes.Equal(got, append(sent, sum[:]...)), "%d bytes came back; want the %d that were sent and their sum", len(got), len(sent))
}
