package tp

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/inlining"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/internal/watchdog"
	"github.com/teleport-go/teleport/core/socket"
)

// With TELEPORT_INLINE=always the reader runs every handler that it may run, and
// another goroutine steals the reading at once: then all tests of the package test
// that too.
func init() { inlining.Always = os.Getenv("TELEPORT_INLINE") == "always" }

// allow makes the readers of p run these handlers.
func allow(p *peer, methods ...string) {
	for _, m := range methods {
		h := p.env.router.lookup(kindCall, m)
		if h == nil {
			h = p.env.router.lookup(kindPush, m)
		}
		for range 100 {
			h.inlining.Sample(p.env.sweeper.Now(), 0)
		}
	}
	p.env.watchdog.Wake()
}

// banned reports whether the readers do not run the handler any more.
func banned(p *peer, method string) bool {
	return !p.env.router.lookup(kindCall, method).inlining.Allowed()
}

// A handler that does not return holds up the next messages, also those that have
// arrived already, only for a moment, and only once.
func TestInlineWatchdog(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, s := w.pair()
		allow(w.server, "/stuck", "/echo")
		mem(c).Freeze() // so that all of it arrives at once
		stuck := call(c, "/stuck", "a")
		var after []<-chan outcome[CallCmd]
		for i := range 20 {
			after = append(after, call(c, "/echo", fmt.Sprint(i)))
		}
		mem(c).Thaw()
		if wait := (watchdog.Checks+1)*watchdog.Period + time.Microsecond; !inlining.Always {
			if synctest.Wait(); !s.link.inHandler() {
				t.Fatal("the reader does not run the handler")
			}
			pass(wait)
		}
		for i, b := range after {
			wantReply(t, ended(t, b).v, fmt.Sprint(i))
		}
		wantWaiting(t, stuck)
		w.release()
		wantReply(t, ended(t, stuck).v, "a")
		if !inlining.Always && !banned(w.server, "/stuck") {
			t.Error("the reader still runs a handler that did not return")
		}
		if !inlining.Always && banned(w.server, "/echo") {
			t.Error("the wrong handler was banned from the reader")
		}
		next := call(c, "/stuck", "b") // the gate is open now
		wantReply(t, ended(t, next).v, "b")
		wantReady(t, s)
	})
}

// A call that a handler makes on its own session gets its reply without waiting
// for the watchdog.
func TestInlineCallsBack(t *testing.T) {
	for _, test := range []struct {
		name string
		back func(c CallCtx) (string, *Rerror)
	}{
		{"Call", func(c CallCtx) (string, *Rerror) {
			var reply string
			return "", c.Session().Call("/echo", "back", &reply).Rerror()
		}},
		{"Call through the peer", func(c CallCtx) (string, *Rerror) {
			var reply string
			s, _ := c.Peer().GetSession(c.Session().ID())
			return reply, s.Call("/echo", "back", &reply).Rerror()
		}},
		{"Invoke", func(c CallCtx) (string, *Rerror) {
			reply, err := Invoke[string](c.Context(), c.Session(), "/echo", "back")
			return reply, ToRerror(err)
		}},
		{"AsyncCall", func(c CallCtx) (string, *Rerror) {
			cmd := c.Session().AsyncCall("/echo", "back", new(string), nil)
			<-cmd.Done()
			return "", cmd.Rerror()
		}},
		{"on a goroutine of its own", func(c CallCtx) (string, *Rerror) {
			s, done := c.Session(), make(chan *Rerror)
			go func() { done <- s.Call("/echo", "back", new(string)).Rerror() }()
			return "", <-done
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				HandleCall(w.server, "/back", func(c CallCtx, _ *string) (string, error) {
					_, r := test.back(c)
					return "called", r.Err()
				})
				c, s := w.pair()
				allow(w.server, "/back", "/echo")
				back := ended(t, call(c, "/back", ""))
				wantReply(t, back.v, "called")
				if back.took != 0 {
					t.Errorf("it took %v; want no wait for the watchdog", back.took)
				}
				wantReply(t, ended(t, call(c, "/echo", "after")).v, "after")
				wantReady(t, s)
			})
		})
	}
}

// Whatever a handler does on the reader's goroutine, the session goes on, or ends as it
// should.
func TestInlineHandlers(t *testing.T) {
	for _, test := range []struct {
		name   string
		handle func(c CallCtx) error
		words  string // of the error; "": a reply
		ends   bool
	}{
		{"returns", func(CallCtx) error { return nil }, "", false},
		{"fails", func(CallCtx) error { return NewRerror(1001, "mine", "why").Err() }, "mine", false},
		{"panics", func(CallCtx) error { panic("aside") }, "aside", false},
		{"ends its goroutine", func(CallCtx) error { runtime.Goexit(); return nil }, "runtime.Goexit", false},
		{"ends its goroutine when the reading was stolen", func(c CallCtx) error {
			c.Session().Call("/echo", "", new(string))
			runtime.Goexit()
			return nil
		}, "runtime.Goexit", false},
		{"waits for its context", func(c CallCtx) error {
			select {
			case <-c.Context().Done():
			case <-time.After(time.Second):
			}
			return nil
		}, "", false},
		{"closes its session", func(c CallCtx) error { c.Session().(Session).Close(); return nil }, "", true},
		{"sends more than there is room for", func(c CallCtx) error {
			for range 100 {
				if r := c.Session().Push("/note", strings.Repeat("x", 10<<10)); r != nil {
					return r.Err()
				}
			}
			return nil
		}, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(c *PeerConfig) { c.WriteBound = 64 << 10 }, func(t *testing.T, w *world) {
				HandleCall(w.server, "/do", func(c CallCtx, _ *string) (string, error) { return "done", test.handle(c) })
				c, s := w.pair()
				allow(w.server, "/do", "/echo")
				for range 3 {
					do := call(c, "/do", "")
					pass(3 * time.Second)
					cmd := ended(t, do).v
					if test.words != "" {
						if r := cmd.Rerror(); r == nil || !strings.Contains(r.String(), test.words) {
							t.Fatalf("error is %s; want the words %q", r, test.words)
						}
					} else {
						wantReply(t, cmd, "done")
					}
					if test.ends {
						wantState(t, s, closed)
						return
					}
					allow(w.server, "/do", "/echo")
					wantReply(t, ended(t, call(c, "/echo", "after")).v, "after")
					wantReady(t, s)
				}
			})
		})
	}
}

// Replies of a reader that finds no room are sent when there is room, and another
// goroutine reads meanwhile.
func TestInlineRepliesWaitForRoom(t *testing.T) {
	inWorld(t, func(c *PeerConfig) { c.WriteBound = 64 << 10 }, func(t *testing.T, w *world) {
		allow(w.server, "/echo", "/note")
		conn, err := w.net.Dial(t.Context(), w.addr)
		if err != nil {
			t.Fatal(err)
		}
		sock := socket.NewSocket(conn, testwire.New)
		defer sock.Close()
		big := strings.Repeat("x", 20<<10)
		const calls = 40
		for i := range calls + 1 {
			m := socket.NewMessage(socket.WithServiceMethod("/echo"), socket.WithBody(big), socket.WithBodyCodec(testwire.TextCodec{}.ID()))
			m.SetMtype(TypeCall)
			m.SetSeq(int32(i + 1))
			if i == calls {
				m.SetMtype(TypePush)
				m.SetServiceMethod("/note")
				m.SetBody("after them")
			}
			if err := sock.WriteMessage(m); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait() // without the watchdog
		w.log.want(t, "note after them")
		for _, s := range w.server.env.hub.all() {
			if _, bytes := s.Queued(); bytes == 0 || bytes > 2*64<<10 {
				t.Errorf("%d bytes wait to be written, with a bound of 64 KiB", bytes)
			}
		}
		for range calls {
			m := socket.NewMessage(socket.WithNewBody(func(socket.Header) any { return new(string) }))
			if err := sock.ReadMessage(m); err != nil {
				t.Fatal(err)
			}
			if got := *m.Body().(*string); got != big {
				t.Errorf("a reply of %d bytes, want %d", len(got), len(big))
			}
		}
	})
}

// exitHook ends the goroutine that sends the first reply.
type exitHook struct{ passed int }

func (*exitHook) Name() string { return "exit" }

func (h *exitHook) PostWriteReply(WriteCtx) *Rerror {
	if h.passed++; h.passed == 1 {
		runtime.Goexit()
	}
	return nil
}

// A hook that ends the reader's goroutine does not end the reading.
func TestInlineHookEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.open(nil, &exitHook{})
		c, s := w.pair()
		allow(w.server, "/echo")
		for i := range 3 {
			wantReply(t, ended(t, call(c, "/echo", fmt.Sprint(i))).v, fmt.Sprint(i))
		}
		wantReady(t, s)
		if err := w.server.Close(); err != nil {
			t.Errorf("Close of the peer: %v", err)
		}
		wantState(t, s, closed)
	})
}

// where makes p serve "/where", which replies whether the reader runs it.
func where(p *peer) {
	HandleCall(p, "/where", func(c CallCtx, _ *string) (string, error) {
		if c.(*handlerCtx).inReader() {
			return "reader", nil
		}
		return "another goroutine", nil
	})
}

// After a pause in which the watchdog sleeps, the reader runs the same handlers again.
func TestInlineAfterAPause(t *testing.T) {
	if inlining.Always {
		return // the reader runs all handlers
	}
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, _ := w.pair()
		where(w.server)
		allow(w.server, "/where")
		calls := func() (inline int) {
			for range 200 {
				if reply, _ := ended(t, call(c, "/where", "")).v.Reply(); *reply.(*string) == "reader" {
					inline++
				}
			}
			return inline
		}
		if got := calls(); got != 200 {
			t.Errorf("the reader ran %d of 200 handlers", got)
		}
		pass(2 * watchdog.IdleChecks * watchdog.Period)
		if got := calls(); got < 100 {
			t.Errorf("after a pause the reader ran %d of 200 handlers", got)
		}
	})
}

// A connection that fails after a handler leaves no slot of the watchdog in use.
func TestInlineSlotOfABadFrame(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		allow(w.server, "/echo")
		conn, err := w.net.Dial(t.Context(), w.addr)
		if err != nil {
			t.Fatal(err)
		}
		rec := &recorder{Conn: conn}
		sock := socket.NewSocket(rec, testwire.New)
		m := socket.NewMessage(socket.WithServiceMethod("/echo"), socket.WithBody("x"), socket.WithBodyCodec(testwire.TextCodec{}.ID()))
		m.SetMtype(TypeCall)
		m.SetSeq(1)
		if err := sock.WriteMessage(m); err != nil {
			t.Fatal(err)
		}
		conn.Write(append(rec.written, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4)) // in one piece
		pass(time.Second)
		watch := &w.server.env.watchdog
		if n := watch.Taken(); n != 0 {
			t.Errorf("a dead connection has %d slots", n)
		}
		if !inlining.Always && watch.Awake() {
			t.Error("the watchdog is awake")
		}
		conn.Close()
	})
}

// recorder keeps what is written.
type recorder struct {
	net.Conn
	written []byte
}

func (r *recorder) Write(p []byte) (int, error) {
	r.written = append(r.written, p...)
	return len(p), nil
}

// While no reader runs handlers, the watchdog sleeps.
func TestInlineWatchdogSleeps(t *testing.T) {
	if inlining.Always {
		return // it never sleeps
	}
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, _ := w.pair()
		where(w.server)
		allow(w.server, "/where")
		for range 100 {
			wantReply(t, ended(t, call(c, "/where", "")).v, "reader")
			pass(watchdog.Period)
		}
		if !w.server.env.watchdog.Awake() {
			t.Error("asleep while it is needed")
		}
		pass((watchdog.IdleChecks + 2) * watchdog.Period)
		if w.server.env.watchdog.Awake() {
			t.Error("awake with nothing to watch")
		}
		wantReply(t, ended(t, call(c, "/where", "")).v, "another goroutine") // since no watchdog would watch it
		allow(w.server, "/where")
		wantReply(t, ended(t, call(c, "/where", "")).v, "reader")
	})
}
