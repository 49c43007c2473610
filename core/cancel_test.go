package tp

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
)

// What a handler is doing when its call is given up.
func TestCancelMoments(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(t *testing.T, w *world, s *session, end *rawEnd)
	}{
		{"asks for its context later", func(t *testing.T, w *world, _ *session, end *rawEnd) {
			var late context.Context
			HandleCall(w.server, "/late", func(c CallCtx, _ *string) (string, error) {
				<-w.gate
				late = c.Context()
				return "", nil
			})
			end.send(TypeCall, 1, "/late", "")
			end.send(TypeControl, 1, "cancel", "")
			w.release()
			synctest.Wait()
			wantGone(t, late)
		}},
		{"ignores it", func(t *testing.T, w *world, s *session, end *rawEnd) {
			end.send(TypeCall, 1, "/stuck", "x")
			end.send(TypeControl, 1, "cancel", "")
			if n := s.work.running(); n != 1 {
				t.Errorf("%d handlers run; want 1", n)
			}
			w.release()
			synctest.Wait()
			w.log.want(t, "stuck x", "done x: "+ErrCallerGone.Error())
		}},
		{"has not begun", func(t *testing.T, w *world, _ *session, end *rawEnd) {
			HandleCall(w.server, "/queue", func(_ CallCtx, arg *string) (string, error) {
				w.log.add("queue %s", *arg)
				<-w.gate
				return *arg, nil
			}, Ordered())
			for i, arg := range []string{"one", "two", "three"} {
				end.send(TypeCall, int32(i+1), "/queue", arg)
			}
			end.send(TypeControl, 2, "cancel", "")
			w.release()
			for _, want := range []string{"one", "three"} {
				if m := end.receive(); string(m.RawBody()) != want {
					t.Errorf("received %d, %q; want %q", m.Seq(), m.RawBody(), want)
				}
			}
			w.log.want(t, "queue one", "queue three")
		}},
		{"has answered", func(t *testing.T, w *world, _ *session, end *rawEnd) {
			end.send(TypeCall, 1, "/echo", "x")
			end.send(TypeControl, 1, "cancel", "")
			if m := end.receive(); string(m.RawBody()) != "x" {
				t.Errorf("received %q; want the reply", m.RawBody())
			}
		}},
		{"others go on", func(t *testing.T, w *world, _ *session, end *rawEnd) {
			for seq := range int32(3) {
				end.send(TypeCall, seq+1, "/block", "x")
			}
			end.send(TypeControl, 2, "cancel", "")
			w.release()
			for range 2 {
				if m := end.receive(); m.Seq() == 2 {
					t.Error("the call that was given up is answered")
				}
			}
		}},
		{"one among many", func(t *testing.T, w *world, s *session, end *rawEnd) {
			const n = 5 * manyHandlers
			for seq := range int32(n) {
				end.send(TypeCall, seq+1, "/stuck", "x")
			}
			for seq := range int32(n) {
				if seq%2 == 0 {
					end.send(TypeControl, seq+1, "cancel", "")
				}
			}
			end.send(TypeCall, n+1, "/stuck", "x") // it joins them
			end.send(TypeCall, n+2, "/stuck", "x")
			end.send(TypeControl, n+2, "cancel", "")
			if got := s.env.stats.canceledCalls.Load(); got != n/2+1 {
				t.Errorf("%d calls were given up; want %d", got, n/2+1)
			}
			w.release()
			for range n/2 + 1 {
				if m := end.receive(); m.Seq() <= n && m.Seq()%2 == 1 || m.Seq() == n+2 {
					t.Errorf("call %d was given up, and is answered", m.Seq())
				}
			}
			synctest.Wait()
			if s.link.calls.bySeq != nil {
				t.Error("the handlers have ended, and their numbers are still kept")
			}
		}},
		{"all of them", func(t *testing.T, w *world, s *session, end *rawEnd) {
			for seq := range int32(3) {
				end.send(TypeCall, seq+1, "/block", "x")
			}
			end.send(TypePush, 4, "/stucknote", "x")
			end.send(TypeControl, 0, "cancel", "")
			if n := s.work.running(); n != 1 {
				t.Errorf("%d handlers run; want that of the PUSH", n)
			}
			w.release()
		}},
		{"is that of a PUSH", func(t *testing.T, w *world, s *session, end *rawEnd) {
			end.send(TypePush, 1, "/stucknote", "x")
			end.send(TypeControl, 1, "cancel", "")
			if n := s.env.stats.canceledCalls.Load(); n != 0 {
				t.Errorf("%d calls were given up; want none", n)
			}
			w.release()
		}},
		{"was refused", func(t *testing.T, w *world, _ *session, end *rawEnd) {
			end.send(TypeCall, 1, "/nowhere", "x")
			end.send(TypeControl, 1, "cancel", "")
			wantRerror(t, end.receive().Rerror(), CodeNotFound)
		}},
		{"and is given up again", func(t *testing.T, w *world, s *session, end *rawEnd) {
			end.send(TypeCall, 1, "/stuck", "x")
			for range 3 {
				end.send(TypeControl, 1, "cancel", "")
			}
			if n := s.env.stats.canceledCalls.Load(); n != 1 {
				t.Errorf("%d calls were given up; want 1", n)
			}
			w.release()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				s, end := w.serveRaw(w.server)
				test.do(t, w, s, end)
				end.silent()
				wantReady(t, s)
				end.send(TypeCall, 1000, "/echo", "after")
				if m := end.receive(); string(m.RawBody()) != "after" {
					t.Errorf("received %q; want the reply to the call after", m.RawBody())
				}
			})
		})
	}
}

// What comes over the wire costs nothing and ends nothing.
func TestCancelsOfNothing(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server)
		const n = 2 * manyHandlers
		for seq := range int32(n) {
			end.send(TypeCall, seq+1, "/stuck", "x")
		}
		for seq := range int32(10_000) {
			if err := end.start(TypeControl, n+1+seq, "cancel", ""); err != nil {
				t.Fatal(err)
			}
		}
		for _, seq := range []int32{-1, -1 << 31, 1<<31 - 1} {
			end.send(TypeControl, seq, "cancel", "with a body", WithAddMeta("n", "x"))
		}
		if n := s.env.stats.canceledCalls.Load(); n != 0 {
			t.Errorf("%d calls were given up; want none", n)
		}
		w.release()
		for range n {
			end.receive()
		}
		end.silent()
		wantReady(t, s)
	})
}

// A number that is used twice, which no peer of ours does, is given up once.
func TestCancelOfANumberThatIsGivenTwice(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		HandleCall(w.server, "/twice", func(_ CallCtx, arg *string) (string, error) {
			if *arg == "x" {
				<-w.gate
			}
			return *arg, nil
		})
		s, end := w.serveRaw(w.server)
		end.send(TypeCall, 1, "/twice", "") // so that none waits for the first reply of the route
		end.receive()
		for range 3 * manyHandlers {
			end.send(TypeCall, 7, "/twice", "x")
		}
		for range 3 * manyHandlers {
			end.send(TypeControl, 7, "cancel", "")
		}
		if n := s.env.stats.canceledCalls.Load(); n != 1 {
			t.Errorf("%d calls were given up; want 1", n)
		}
		w.release()
		for range 3*manyHandlers - 1 {
			end.receive()
		}
		end.silent()
	})
}

// The reply and the cancel race: the caller has either, and the handler's result goes out
// once or not at all.
func TestCancelRacesTheReply(t *testing.T) {
	p := newPeerPair(t, "tcp")
	var delay atomic.Int64
	HandleCall(p.srv, "/race", func(_ CallCtx, arg *string) (string, error) {
		for range delay.Load() {
			runtime.Gosched()
		}
		return *arg, nil
	})
	sess, r := p.cli.Dial(p.addr)
	if r != nil {
		t.Fatal(r)
	}
	sess.Call("/race", "", nil, WithContext(t.Context())) // both have said hello
	var wg sync.WaitGroup
	var replied, canceled atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			for n := range 300 {
				arg := fmt.Sprint(i, n)
				ctx, cancel := context.WithCancel(t.Context())
				if n%4 > 0 { // else nobody gives up
					go func() {
						for range (n * 7) % 40 {
							runtime.Gosched()
						}
						cancel()
					}()
				}
				got, err := Invoke[string](ctx, sess, "/race", arg)
				switch {
				case err == nil && got == arg:
					replied.Add(1)
				case Code(err) == CodeCanceled:
					canceled.Add(1)
				default:
					t.Errorf("call %s: %q, %v", arg, got, err)
				}
				cancel()
				delay.Store(int64(n % 20))
			}
		})
	}
	wg.Wait()
	if got, err := Invoke[string](t.Context(), sess, "/race", "last"); got != "last" || err != nil {
		t.Errorf("the call after: %q, %v", got, err)
	}
	soon(t, "all handlers have ended", func() bool { return p.srv.CountSession() == 1 && allIdle(p.srv) })
	given := canceled.Load()
	if replied.Load() == 0 || given == 0 {
		t.Errorf("%d replies, %d calls given up; want both", replied.Load(), given)
	}
	// Calls that were given up before they were sent are neither stopped nor answered.
	sent, lost := p.srv.env.stats.canceledCalls.Load(), p.cli.env.stats.droppedReplies.Load()
	if lost+sent > uint64(given) {
		t.Errorf("%d calls given up: the server has stopped %d, %d replies came too late", given, sent, lost)
	}
}

func allIdle(p *peer) bool {
	for _, s := range p.env.hub.all() {
		if s.work.running() > 0 {
			return false
		}
	}
	return true
}

// A call that is given up before the peer has said hello is given up when it does, if the peer
// takes that.
func TestCancelBeforeTheHello(t *testing.T) {
	for _, test := range []struct {
		features string
		cancels  bool
	}{{"cancel,stream", true}, {"stream", false}} {
		t.Run(test.features, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				s, end := w.serveRaw(w.server)
				ctx, cancel := context.WithCancel(t.Context())
				first, second := call(s, "/x", "one", WithContext(ctx)), call(s, "/x", "two")
				given := end.receive()
				if m := end.receive(); string(m.RawBody()) == "one" {
					given = m
				}
				cancel()
				wantRerror(t, ended(t, first).v.Rerror(), CodeCanceled)
				end.silent()
				end.send(TypeControl, 0, "hello", "", WithAddMeta("v", "1"), WithAddMeta("f", test.features), WithAddMeta("w", "1000"))
				if test.cancels {
					end.want(TypeControl, given.Seq(), "cancel")
				}
				end.silent()
				s.Close()
				ended(t, second)
			})
		})
	}
}

// The caller's session ends: what it cuts off is given up.
func TestCloseCancels(t *testing.T) {
	inCancels(t, func(cfg *PeerConfig) { cfg.CloseTimeout = time.Minute }, func(x cancels) {
		x.c.Call("/echo", "", nil, WithContext(x.Context())) // both have said hello
		ctx, cancel := context.WithTimeout(x.Context(), time.Second)
		defer cancel()
		ch := call(x.c, "/wait", "x")
		pass(0)
		drained := begin(func() error { return x.c.Drain(ctx) })
		pass(2 * time.Second)
		wantGone(x, <-x.contexts)
		wantRerror(x, ended(x, ch).v.Rerror(), CodeConnClosed)
		<-drained
	})
}

// lateWrite is a connection whose peer reads what was written before Write returns.
type lateWrite struct{ net.Conn }

func (c lateWrite) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	time.Sleep(quietLimit / 5)
	return n, err
}

// A call that the peer has got is given up by a session that is cut off, also while the
// goroutine that writes it is not back from that.
func TestCutOffBehindAWrite(t *testing.T) {
	inNetwork(t, func(n *Network) {
		dial := n.Dial
		n.Dial = func(ctx context.Context, d DialConfig) (net.Conn, error) {
			conn, err := dial(ctx, d)
			return lateWrite{conn}, err
		}
	}, nil, func(t *testing.T, w *world) {
		contexts := make(chan context.Context, 1)
		HandleCall(w.server, "/wait", func(ctx CallCtx, _ *string) (string, error) {
			contexts <- ctx.Context()
			<-ctx.Context().Done()
			return "", nil
		})
		c := w.dial()
		c.Call("/echo", "", nil, WithContext(t.Context())) // both have said hello
		ch := call(c, "/wait", "x")
		ctx := <-contexts
		begun := time.Now()
		over, cancel := context.WithCancel(t.Context())
		cancel()
		c.Drain(over)
		<-ctx.Done()
		if took := time.Since(begun); took > lingerTime {
			t.Errorf("the handler was told after %v", took)
		}
		wantRerror(t, ended(t, ch).v.Rerror(), CodeConnClosed)
	})
}

// A handler's context ends with its caller's through a handler in between.
func TestCancelCascades(t *testing.T) {
	inCancels(t, nil, func(x cancels) {
		HandleCall(x.server, "/back", func(c CallCtx, arg *string) (string, error) {
			return Invoke[string](c.Context(), c.Session(), "/wait", *arg)
		})
		ctx, cancel := context.WithCancel(x.Context())
		ch := call(x.c, "/back", "x", WithContext(ctx))
		pass(time.Second)
		cancel()
		wantGone(x, <-x.contexts)
		wantRerror(x, ended(x, ch).v.Rerror(), CodeCanceled)
	})
}

// Between two connections: what the old one had is given up with it.
func TestCancelAfterARedial(t *testing.T) {
	inCancels(t, redials(-1), func(x cancels) {
		x.c.Call("/echo", "", nil, WithContext(x.Context()))
		mem(x.c).Cut()
		pass(time.Second)
		wantReady(x, x.c)
		ctx, cancel := context.WithCancel(x.Context())
		ch := call(x.c, "/wait", "x", WithContext(ctx))
		pass(time.Second)
		cancel()
		wantGone(x, <-x.contexts)
		ended(x, ch)
	})
}

// The handler knows without a pause: the cancel is written at once.
func TestCancelIsNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const oneWay = 20 * time.Millisecond
		w := newWorld(t, memnet.Latency(oneWay))
		w.open(nil)
		over := make(chan time.Time, 1)
		HandleCall(w.server, "/wait", func(c CallCtx, _ *string) (string, error) {
			<-c.Context().Done()
			over <- time.Now()
			return "", nil
		})
		c, _ := w.pair()
		c.Call("/echo", "", nil, WithContext(t.Context()))
		ctx, cancel := context.WithCancel(t.Context())
		ch := call(c, "/wait", "x", WithContext(ctx))
		time.Sleep(time.Second)
		cancel()
		began := time.Now()
		if took := (<-over).Sub(began); took != oneWay {
			t.Errorf("the handler knows after %v; want %v, the way there", took, oneWay)
		}
		<-ch
	})
}
