package tp

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
)

func TestRow09_CloseWaitsForPendingThenReturns(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.client.PluginContainer().AppendLeft(&connHook{"c", &w.log, nil})
		c, s := w.pair()
		w.log.want(t, "c dial")
		ch := call(c, "/block", "x")
		closing := begin(c.Close)
		wantState(t, c, draining)
		wantReason(t, c, SideLocal, "closed by this side")
		wantRerror(t, c.Call("/echo", "y", new(string)).Rerror(), CodeConnClosed, "closed by this side")
		wantRerror(t, c.Push("/note", "y"), CodeConnClosed, "closed by this side")
		wantWaiting(t, closing)
		wantReady(t, s)
		pass(time.Second)
		w.release()
		wantReply(t, ended(t, ch).v, "x")
		if o := ended(t, closing); o.v != nil || o.took != time.Second {
			t.Errorf("Close = %v after %v; want nil after 1s", o.v, o.took)
		}
		pass(time.Millisecond)
		wantState(t, c, closed)
		wantState(t, s, closed)
		wantReason(t, s, SideRemote, "closed by peer")
		w.log.want(t, "block x", "free x", "c disconnect: closed by this side")
	})
}

func TestRow09_CloseFlushesTheBatch(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, _ := w.pair()
		mem(c).Freeze()
		big := string(make([]byte, 100<<10)) // more than the buffer takes
		if r := c.Push("/note", big, WithContext(t.Context())); r != nil {
			t.Fatal(r)
		}
		closing := begin(c.Close)
		wantWaiting(t, closing)
		mem(c).Thaw()
		if o := ended(t, closing); o.v != nil {
			t.Errorf("Close = %v", o.v)
		}
		w.log.want(t, "note "+big)
	})
}

func TestRow09_CloseCutsOff(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, _ := w.pair()
		a, b := call(c, "/stuck", "a"), call(c, "/stuck", "b")
		closing := begin(c.Close)
		pass(5 * time.Second)
		o := ended(t, closing)
		if o.took != 5*time.Second || o.v == nil || !containsAll(o.v.Error(), "2 calls", c.ID()) {
			t.Errorf("Close = %v after %v; want an error naming 2 calls after CloseTimeout", o.v, o.took)
		}
		wantRerror(t, ended(t, a).v.Rerror(), CodeConnClosed, "closed by this side")
		wantRerror(t, ended(t, b).v.Rerror(), CodeConnClosed, "closed by this side")
		wantState(t, c, closed)
		w.release()
	})
}

func TestRow09_CloseDeletesOnlyItsOwnID(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		old, fresh := w.dial(), w.dial()
		old.SetID("x")
		call(old, "/block", "keeps old draining")
		fresh.SetID("x")
		wantState(t, old, draining)
		old.Close()
		wantReady(t, fresh)
		if got, _ := w.client.GetSession("x"); got != Session(fresh) {
			t.Error("the id does not lead to the new session any more")
		}
		w.release()
		pass(time.Second)
		wantReady(t, fresh)
	})
}

func TestRow10_DrainWaitsForHandlersToo(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, s := w.pair()
		ch := call(c, "/block", "x")
		drain := begin(func() error { return s.Drain(t.Context()) })
		wantState(t, s, draining)
		pass(time.Minute) // no CloseTimeout bounds it
		wantWaiting(t, drain)
		w.release()
		wantReply(t, ended(t, ch).v, "x")
		if o := ended(t, drain); o.v != nil {
			t.Errorf("Drain = %v", o.v)
		}
		wantState(t, s, closed)
		wantState(t, c, closed)
	})
}

func TestRow10_DrainEndsWithItsContext(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, s := w.pair()
		ch := call(c, "/block", "x")
		back := call(s, "/stuck", "y")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		drain := begin(func() error { return s.Drain(ctx) })
		pass(time.Second)
		o := ended(t, drain)
		if !errors.Is(o.v, context.DeadlineExceeded) || o.took != time.Second {
			t.Errorf("Drain = %v after %v; want the context's error after 1s", o.v, o.took)
		}
		wantRerror(t, ended(t, ch).v.Rerror(), CodeConnClosed)
		wantRerror(t, ended(t, back).v.Rerror(), CodeConnClosed, "closed by this side")
		wantState(t, s, closed)
		w.log.want(t, "block x", "stuck y", "cancelled x: closed by this side")
		if err := s.Drain(t.Context()); err != nil {
			t.Errorf("Drain again = %v; want nil", err)
		}
		w.release()
	})
}

func TestRow11_EarliestBoundRules(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, _ := w.pair()
		call(c, "/stuck", "x")
		late := begin(func() error { return c.Drain(t.Context()) })
		pass(time.Second)
		first := begin(c.Close) // until 6s
		second := begin(c.Close)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // until 3s
		defer cancel()
		early := begin(func() error { return c.Drain(ctx) })
		for _, ch := range []<-chan outcome[error]{late, first, second, early} {
			wantWaiting(t, ch)
		}
		pass(2 * time.Second)
		for name, ch := range map[string]<-chan outcome[error]{"late": late, "first": first, "second": second, "early": early} {
			if o := ended(t, ch); o.v == nil || !containsAll(o.v.Error(), "1 calls cut off") {
				t.Errorf("%s = %v; want the same error for all", name, o.v)
			}
		}
		wantState(t, c, closed)
		w.release()
	})
}

func TestRow12_DrainedCloses(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		for _, name := range []string{"a", "b"} {
			w.server.PluginContainer().AppendRight(&connHook{name, &w.log, nil})
		}
		c, s := w.pair()
		w.server.PluginContainer().AppendRight(&connHook{"late", &w.log, nil}) // it has not accepted the session
		ch := call(c, "/block", "x")
		closing := begin(s.Close) // has no pending calls
		if o := ended(t, closing); o.v != nil || o.took != 0 {
			t.Errorf("Close = %v after %v; want nil at once", o.v, o.took)
		}
		wantState(t, s, draining)
		w.release()
		wantReply(t, ended(t, ch).v, "x")
		wantState(t, s, closed)
		w.log.want(t, "a accept", "b accept", "block x", "free x",
			"b disconnect: closed by this side", "a disconnect: closed by this side")
	})
}

func TestRow13_BoundOverCancelsHandlers(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		var hooks journal
		w.server.PluginContainer().AppendRight(&connHook{"a", &hooks, nil})
		c, s := w.pair()
		ch := call(c, "/block", "x")
		back := call(s, "/stuck", "y")
		s.Close()
		synctest.Wait()
		w.log.want(t, "block x", "stuck y", "cancelled x: closed by this side")
		hooks.want(t, "a accept", "a disconnect: closed by this side")
		wantState(t, s, closed)
		wantRerror(t, ended(t, back).v.Rerror(), CodeConnClosed, "closed by this side")
		wantReason(t, s, SideLocal, "closed by this side")
		wantRerror(t, ended(t, ch).v.Rerror(), CodeConnClosed, "closed by peer")
		w.release()
	})
}

func TestRow14_CleanEndByThePeer(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server)
		ch := call(s, "/x", "y")
		end.receive()
		end.send(TypeCall, 9, "/block", "z")
		if err := end.conn.(*memnet.Conn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		wantState(t, s, draining)
		wantReason(t, s, SideRemote, "closed by peer")
		wantRerror(t, ended(t, ch).v.Rerror(), CodeConnClosed, "closed by peer")
		wantRerror(t, s.Call("/x", "y", new(string)).Rerror(), CodeConnClosed, "closed by peer")
		wantRerror(t, s.Push("/x", "y"), CodeConnClosed, "closed by peer")
		pass(4 * time.Second)
		w.release()
		if m := end.receive(); m.Seq() != 9 || string(m.RawBody()) != "z" {
			t.Errorf("received seq %d, %s; want the handler's reply", m.Seq(), m.Rerror())
		}
		wantState(t, s, closed)
		w.log.want(t, "block z", "free z")
	})
}

func TestRow14_HandlersHaveCloseTimeout(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server)
		end.send(TypeCall, 9, "/block", "z")
		end.conn.(*memnet.Conn).CloseWrite()
		pass(5*time.Second - 1)
		wantState(t, s, draining)
		w.log.want(t, "block z")
		pass(1)
		wantState(t, s, closed)
		w.log.want(t, "cancelled z: closed by peer")
	})
}

func TestRow11_LaterBoundDoesNotProlong(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, _ := w.pair()
		call(c, "/stuck", "x")
		first := begin(c.Close) // until 5s
		pass(3 * time.Second)
		second := begin(c.Close) // would be until 8s
		pass(2 * time.Second)
		for name, ch := range map[string]<-chan outcome[error]{"first": first, "second": second} {
			if o := ended(t, ch); o.v == nil {
				t.Errorf("%s = nil; want the call cut off", name)
			}
		}
		w.release()
	})
}

func TestRow13_WhoWaitsForRoomGetsTheReason(t *testing.T) {
	for _, test := range []struct {
		name  string
		end   func(*session)
		words []string
	}{
		{"closed", func(s *session) { s.Close() }, []string{"closed by this side"}},
		{"broken", func(s *session) { mem(s).Cut() }, []string{"network", "reset"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(cfg *PeerConfig) { cfg.WriteBound = 10_000 }, func(t *testing.T, w *world) {
				c, _ := w.pair()
				mem(c).Freeze()
				var chs []<-chan outcome[*Rerror]
				for range 10 {
					chs = append(chs, begin(func() *Rerror {
						return c.Push("/note", strings.Repeat("x", 9000), WithContext(t.Context()))
					}))
				}
				wantWaiting(t, chs[9])
				test.end(c)
				wantRerror(t, ended(t, chs[9]).v, CodeConnClosed, test.words...)
			})
		})
	}
}

// Row 13: callers that wait for room when the session is cut off are counted too.
func TestCutOffCountsThoseWithoutRoom(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.WriteBound = 10_000 }, func(t *testing.T, w *world) {
		c, _ := w.pair()
		mem(c).Freeze()
		var chs []<-chan outcome[CallCmd]
		for range 10 {
			chs = append(chs, call(c, "/stuck", strings.Repeat("x", 9000)))
		}
		wantWaiting(t, chs[9])
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		l := c.link
		l.mu.Lock() // the contexts of handlers are ended while it is held, so this delays the end
		drained := make(chan error, 1)
		n := c.pending.Len() // before Drain, which may be faster than this goroutine
		go func() { drained <- c.Drain(ctx) }()
		time.Sleep(quietLimit) // it waits so long for the write under way
		for c.pending.Len() == n {
			runtime.Gosched()
		}
		for range 1000 { // let the woken callers take their calls away
			runtime.Gosched()
		}
		l.mu.Unlock()
		if err := <-drained; err == nil || !strings.Contains(err.Error(), "10 calls cut off") {
			t.Errorf("Drain: %v; want 10 calls cut off", err)
		}
		for _, ch := range chs {
			wantRerror(t, ended(t, ch).v.Rerror(), CodeConnClosed, "closed by this side")
		}
		w.release()
	})
}
