package tp

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// readyPlugin records when a session is ready, and then runs a function of the test.
func readyPlugin(w *world, then func(Session)) *PluginImpl {
	return &PluginImpl{PluginName: "ready", OnPostReady: func(s Session) {
		found, ok := s.Peer().GetSession(s.ID())
		w.log.add("ready, found %v, healthy %v", ok && found == s, s.Health())
		if then != nil {
			then(s)
		}
	}}
}

func TestPostReady(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		w.client.PluginContainer().AppendLeft(readyPlugin(w, func(s Session) {
			var got string
			r := s.Call("/echo", "subscribe", &got).Rerror()
			w.log.add("%s %v", got, r.HasError())
		}))
		c := w.dial()
		w.log.want(t, "ready, found true, healthy true", "subscribe false") // before Dial has returned
		for range 2 {
			mem(c).Cut()
			pass(time.Second)
			w.log.want(t, "ready, found true, healthy true", "subscribe false")
		}
		c.Close()
		synctest.Wait()
		w.log.want(t)
	})
}

func TestPostReadyOfAnAcceptedSession(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.server.PluginContainer().AppendLeft(readyPlugin(w, func(s Session) {
			w.log.add("%v", s.Push("/note", "welcome").HasError())
		}))
		w.dial()
		synctest.Wait()
		w.log.wantAnyOrder(t, "ready, found true, healthy true", "false", "note welcome")
	})
}

// A session that redials while the hook runs is announced again, but not twice at a time.
func TestPostReadyRunsOneAtATime(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		running := 0
		w.client.PluginContainer().AppendLeft(readyPlugin(w, func(Session) {
			if running++; running > 1 {
				t.Errorf("%d runs at a time; want 1", running)
			}
			time.Sleep(10 * time.Second) // of the bubble
			running--
		}))
		c := w.dial()
		w.log.want(t, "ready, found true, healthy true")
		mem(c).Cut()
		pass(time.Second)
		for range 3 { // while the hook runs
			mem(c).Cut()
			pass(2 * time.Second)
		}
		pass(30 * time.Second)
		w.log.want(t, "ready, found true, healthy true", "ready, found true, healthy true")
		wantReady(t, c)
	})
}

func TestPostReadyThatFails(t *testing.T) {
	for name, fail := range map[string]func(){
		"panics":              func() { panic("no") },
		"ends its goroutine":  runtime.Goexit,
		"returns as it ought": func() {},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, redials(-1), func(t *testing.T, w *world) {
				w.client.PluginContainer().AppendLeft(readyPlugin(w, func(Session) { fail() }))
				c := w.dial()
				mem(c).Cut()
				pass(time.Second)
				w.log.want(t, "ready, found true, healthy true", "ready, found true, healthy true")
				wantReply(t, c.Call("/echo", "x", new(string)), "x")
			})
		})
	}
}

// Dial ends with its context although the hook has not returned; nothing is left.
func TestPostReadyThatHangs(t *testing.T) {
	for _, end := range []string{"context", "peer"} {
		t.Run(end, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				cli := w.peer(nil, readyPlugin(w, func(s Session) {
					r := s.Call("/block", "hook", nil).Rerror() // ends with the session
					w.log.add("%d", r.Code)
				}))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if end == "peer" {
					ctx = t.Context()
					time.AfterFunc(time.Second, func() { cli.Close() })
				}
				start := time.Now()
				s, r := cli.DialContext(ctx, w.addr)
				if s != nil || time.Since(start) != time.Second {
					t.Errorf("Dial returns %v after %v; want no session after 1s", s, time.Since(start))
				}
				wantRerror(t, r, CodeDialFailed)
				if end == "context" && !errors.Is(r.Err(), context.DeadlineExceeded) {
					t.Errorf("Dial says %v; want the context's error", r)
				}
				pass(10 * time.Second)
				w.log.wantAnyOrder(t, "ready, found true, healthy true", "block hook", fmt.Sprint(CodeConnClosed), "cancelled hook: closed by peer")
				if n := cli.CountSession(); n != 0 {
					t.Errorf("%d sessions are left", n)
				}
			})
		})
	}
}
