package proxy_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/proxy"
)

// A side that does not receive stops the sender behind three proxies, each of which has a
// window of the stream, in its account; calls beside the stream go on, and so does the
// stream once the side receives.
func TestStreamBackPressure(t *testing.T) {
	const (
		window  = 256 << 10
		size    = 25_000
		perHop  = 11 // a message may be sent as long as there is any credit
		proxies = 3
		most    = (proxies + 1) * perHop
		total   = 3 * most
	)
	for _, up := range []bool{true, false} {
		t.Run(fmt.Sprintf("from the client: %t", up), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tptest.LeakCheck(t)
				r := newRow(t, proxies, tp.PeerConfig{StreamWindow: window})
				tp.HandleCall(r.backend, "/ping", func(tp.CallCtx, *string) (string, error) { return "", nil })
				var sent atomic.Int64
				send := func(s *tp.Stream[string, string]) error {
					for i := range total {
						if err := s.Send(fmt.Sprint(i, strings.Repeat("x", size))); err != nil {
							return err
						}
						sent.Add(1)
					}
					return s.CloseSend()
				}
				release := make(chan struct{})
				receive := func(s *tp.Stream[string, string]) error {
					<-release
					n := 0
					for v, err := range s.All() {
						if err != nil {
							return err
						}
						if !strings.HasPrefix(*v, fmt.Sprint(n, "x")) {
							return fmt.Errorf("message %d is %.20q", n, *v)
						}
						n++
					}
					if n != total {
						return fmt.Errorf("%d messages have come; want %d", n, total)
					}
					return nil
				}
				here, there := receive, send
				if up {
					here, there = send, receive
				}
				tp.HandleStream(r.backend, "/x", func(_ tp.StreamCtx, s *tp.Stream[string, string]) error { return there(s) })
				st := r.open(t, "/x")
				done := make(chan error, 1)
				go func() { done <- here(st) }()
				synctest.Wait()
				if n := sent.Load(); n <= perHop || n > most {
					t.Errorf("%d messages were sent that nobody receives; want more than a window, and %d at most", n, most)
				}
				for i, p := range r.proxies {
					if n := p.Stats().Memory; up && (n < window/4 || n > 2*window) {
						t.Errorf("proxy %d has %d bytes of messages; want about %d", i, n, window)
					}
				}
				for range 100 {
					require.NoError(t, r.client.Call("/ping", "", nil).Rerror().Err())
				}
				close(release)
				require.NoError(t, <-done)
				require.NoError(t, st.Wait())
				r.idle(t)
			})
		})
	}
}

// Streams that nobody receives take no more of a proxy than its ReadMemory.
func TestStreamMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tptest.LeakCheck(t)
		const limit = 4 << 20
		r := newRow(t, 1, tp.PeerConfig{StreamWindow: 512 << 10, ReadMemory: limit})
		tp.HandleStream(r.backend, "/x", func(ctx tp.StreamCtx, _ *tp.Stream[string, string]) error {
			<-ctx.Context().Done()
			return nil
		})
		var all sync.WaitGroup
		var mu sync.Mutex
		most := int64(0)
		ctx, cancel := context.WithCancel(t.Context())
		for range 50 {
			st, err := tp.OpenStream[string, string](ctx, r.client, "/x")
			require.NoError(t, err)
			all.Go(func() {
				for err == nil {
					err = st.Send(strings.Repeat("x", 10_000))
					mu.Lock()
					most = max(most, r.proxies[0].Stats().Memory)
					mu.Unlock()
				}
			})
		}
		synctest.Wait()
		cancel()
		all.Wait()
		if most < limit/4 || most > limit {
			t.Errorf("the streams had %d bytes of the proxy at most; want some, and not more than %d", most, limit)
		}
		synctest.Wait()
		require.Zero(t, r.proxies[0].Stats().Memory)
	})
}

// A message that a plugin of the proxy refuses, or that the next connection does not take,
// ends the stream with that error, whichever way it goes: none is left out.
func TestStreamRefusedMessage(t *testing.T) {
	refuse := func(r *tp.Rerror) *tp.PluginImpl {
		check := func(body any) *tp.Rerror {
			if b, _ := body.([]byte); string(b) == "bad" {
				return r
			}
			return nil
		}
		return &tp.PluginImpl{
			PluginName:     "refuse",
			OnPreWriteData: func(ctx tp.WriteCtx) *tp.Rerror { return check(ctx.Output().Body()) },
			OnPostReadData: func(ctx tp.ReadCtx) *tp.Rerror { return check(ctx.Input().RawBody()) },
		}
	}
	for _, test := range []struct {
		name   string
		plugin tp.Plugin // of the proxy
		limit  uint32    // of the messages that the proxy sends
		bad    string
		code   int32
	}{
		{"by a hook", refuse(tp.NewRerror(4001, "no", "")), 0, "bad", 4001},
		{"too large", &tp.PluginImpl{PluginName: "none"}, 1000, strings.Repeat("x", 2000), tp.CodeBadGateway},
	} {
		for _, up := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, from the client: %t", test.name, up), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tptest.LeakCheck(t)
					var out, front tp.PeerConfig
					if up {
						out.MessageSizeLimit = test.limit
					} else {
						front.MessageSizeLimit = test.limit
					}
					r := newRowOf(t, 1, tp.PeerConfig{}, out, front, test.plugin)
					send := func(s *tp.Stream[[]byte, []byte]) {
						s.Recv() // the other side is there
						for _, text := range []string{"good", test.bad, "good"} {
							s.Send([]byte(text))
						}
					}
					tp.HandleStream(r.backend, "/x", func(ctx tp.StreamCtx, s *tp.Stream[[]byte, []byte]) error {
						if !up {
							send(s)
						} else {
							s.Send([]byte("here"))
						}
						n := 0
						for _, err := range s.All() {
							if err != nil {
								break
							}
							n++
						}
						<-ctx.Context().Done()
						r.log <- fmt.Sprint(n)
						return nil
					})
					st, err := tp.OpenStream[[]byte, []byte](t.Context(), r.client, "/x", tp.WithBodyCodec(199))
					require.NoError(t, err)
					n := 0
					if up {
						send(st)
					} else {
						st.Send([]byte("here"))
					}
					for err == nil {
						if _, err = st.Recv(); err == nil {
							n++
						}
					}
					wantEnd(t, err, test.code)
					if !up {
						require.Equal(t, 1, n)
						require.Equal(t, "0", <-r.log)
					} else {
						require.Equal(t, "1", <-r.log)
					}
				})
			})
		}
	}
}

// opener is a forwarder that is no session.
type opener struct {
	refusing
	to tp.CtxSession
}

func (o opener) OpenStream(ctx context.Context, method string, setting ...tp.MessageSetting) (*tp.Stream[[]byte, []byte], error) {
	if o.to == nil { // it does not keep its contract
		return nil, nil
	}
	return tp.OpenStream[[]byte, []byte](ctx, o.to, method, setting...)
}

// nothing is a StreamForwarder that returns neither a stream nor an error.
type nothing struct{ refusing }

func (nothing) OpenStream(context.Context, string, ...tp.MessageSetting) (*tp.Stream[[]byte, []byte], error) {
	return nil, nil
}

// A hook that ends its goroutine ends the stream, in either direction.
func TestStreamGoexit(t *testing.T) {
	for _, front := range []bool{true, false} {
		t.Run(fmt.Sprintf("a message from the client: %t", front), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tptest.LeakCheck(t)
				r := newRow(t, 1, tp.PeerConfig{})
				tp.HandleStream(r.backend, "/x", func(ctx tp.StreamCtx, s *tp.Stream[string, string]) error {
					r.log <- "begun"
					if !front {
						s.Send("one")
					}
					_, err := s.Recv()
					r.log <- fmt.Sprint(tp.Code(err))
					return err
				})
				at := r.proxies[0]
				if !front {
					at = r.sessions[0].Peer()
				}
				at.PluginContainer().AppendLeft(&tp.PluginImpl{PluginName: "ends", OnPostReadData: func(tp.ReadCtx) *tp.Rerror {
					runtime.Goexit()
					return nil
				}})
				st := r.open(t, "/x")
				require.Equal(t, "begun", <-r.log) // else it is not run: the stream has ended before
				if front {
					require.NoError(t, st.Send("one"))
				}
				_, err := st.Recv()
				wantEnd(t, err, tp.CodeInternalServerError)
				require.Contains(t, err.Error(), "Goexit")
				require.Equal(t, "499", <-r.log)
			})
		})
	}
}

func TestStreamForwarders(t *testing.T) {
	for _, test := range []struct {
		name   string
		choose func(via tp.Session) proxy.Forwarder
		code   int32
		reason string
	}{
		{"a session", func(via tp.Session) proxy.Forwarder { return via }, 0, ""},
		{"a StreamForwarder", func(via tp.Session) proxy.Forwarder { return opener{to: via} }, 0, ""},
		{"a StreamForwarder that returns none", func(tp.Session) proxy.Forwarder { return opener{} }, tp.CodeBadGateway, "the forwarder of /x has returned no stream"},
		{"none", func(tp.Session) proxy.Forwarder { return nil }, tp.CodeNotFound, "no backend serves /x"},
		{"one that returns none", func(tp.Session) proxy.Forwarder { return nothing{} }, tp.CodeBadGateway, "has returned no stream"},
		{"one that has no streams", func(tp.Session) proxy.Forwarder { return refusing{tp.CodeOK} }, tp.CodeNotImplemented, "a proxy_test.refusing opens no streams"},
		{"a session with a Call of its own", func(via tp.Session) proxy.Forwarder { return struct{ tp.Session }{via} }, tp.CodeNotImplemented, "opens no streams: it is no session of the engine"},
		{"a session that has ended", func(via tp.Session) proxy.Forwarder {
			via.Close()
			return via
		}, tp.CodeBadGateway, "closed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tptest.LeakCheck(t)
				var c *chain
				c = newChain(t, config{choose: func(*proxy.Label) proxy.Forwarder { return test.choose(c.via) }})
				tp.HandleStream(c.backend, "/x", func(_ tp.StreamCtx, s *tp.Stream[string, string]) error { return s.Send("hello") })
				st, err := tp.OpenStream[string, string](t.Context(), c.client, "/x")
				require.NoError(t, err)
				if test.code == 0 {
					wantRecv(t, st, "hello")
				}
				_, err = st.Recv()
				wantEnd(t, err, test.code)
				if test.code != 0 {
					require.Contains(t, err.Error(), test.reason)
				}
			})
		})
	}
}

// A plugin for pushes alone leaves streams to the peer: it has no such route.
func TestStreamPushPlugin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := tptest.NewNetwork().Register(t)
		p := tptest.NewPeer(t, tp.PeerConfig{Network: net}, proxy.NewPushPlugin(func(*proxy.Label) proxy.PushForwarder { return nil }))
		client := tptest.Dial(t, tptest.NewPeer(t, tp.PeerConfig{Network: net}), tptest.Listen(t, p))
		st, err := tp.OpenStream[string, string](t.Context(), client, "/x")
		require.NoError(t, err)
		_, err = st.Recv()
		wantEnd(t, err, tp.CodeNotFound)
	})
}
