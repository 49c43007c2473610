package metrics_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// However a call or push ends, it is counted once, by its code.
func TestEnds(t *testing.T) {
	over := func(t *testing.T) tp.MessageSetting {
		ctx, stop := context.WithCancel(t.Context())
		stop()
		return tp.WithContext(ctx)
	}
	cut := func(w *world) {
		synctest.Wait()
		w.net.Find(w.sess.LocalAddr().String()).Cut()
		synctest.Wait()
	}
	for _, test := range []struct {
		name     string
		do       func(t *testing.T, w *world)
		now      float64 // handlers of /slow that run after it
		srv, cli map[string]float64
	}{
		{"the caller's deadline", func(t *testing.T, w *world) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
			defer cancel()
			w.sess.Call("/slow", 1, nil, tp.WithContext(ctx))
		}, 1,
			map[string]float64{"calls_total{/slow 0 in}": 1, "call_duration_seconds_sum{/slow in}": 1},
			map[string]float64{"calls_total{/slow 0 out}": 0, "calls_total{/slow 408 out}": 1, "call_duration_seconds_sum{/slow out}": 0.5},
		},
		{"cancelled", func(t *testing.T, w *world) {
			ctx, cancel := context.WithCancel(t.Context())
			cmd := w.sess.AsyncCall("/slow", 1, nil, nil, tp.WithContext(ctx))
			synctest.Wait()
			cancel()
			<-cmd.Done()
		}, 1,
			map[string]float64{"calls_total{/slow 499 in}": 1},
			map[string]float64{"calls_total{/slow 499 out}": 1, "call_duration_seconds_count{/slow out}": 1},
		},
		{"over before it began", func(t *testing.T, w *world) {
			w.sess.Call("/slow", 1, nil, over(t))
			w.sess.Push("/note", 1, over(t))
		}, 0,
			map[string]float64{"calls_total{/slow 0 in}": 0},
			map[string]float64{"calls_total{/slow 499 out}": 1, "pushes_total{/note 499 out}": 1, "call_duration_seconds_count{/slow out}": 0, "sent_bytes_total{/note out}": 0},
		},
		{"the handler's age", func(t *testing.T, w *world) {
			w.peer.RangeSession(func(s tp.Session) bool { s.SetContextAge(time.Second / 2); return true })
			w.sess.Call("/slow", 1, nil)
		}, 1,
			map[string]float64{"calls_total{/slow 0 in}": 0, "calls_total{/slow 408 in}": 1, "call_duration_seconds_sum{/slow in}": 1},
			map[string]float64{"calls_total{/slow 408 out}": 1},
		},
		{"the end of the session", func(t *testing.T, w *world) {
			cmd := w.sess.AsyncCall("/slow", 1, nil, nil)
			cut(w)
			<-cmd.Done()
			w.sess.Close()
			w.sess.Call("/ok", 1, nil)
			w.sess.Push("/note", 1)
		}, 1,
			map[string]float64{"calls_total{/slow 0 or 102 in}": 1},
			map[string]float64{"calls_total{/slow 102 out}": 1, "calls_total{/ok 102 out}": 1, "pushes_total{/note 102 out}": 1},
		},
		{"a break of the dialling side that serves", func(t *testing.T, w *world) {
			w.peer.RangeSession(func(s tp.Session) bool { s.AsyncCall("/slow", 1, nil, nil); return true })
			cut(w)
			w.sess.Call("/ok", 1, nil)
			time.Sleep(time.Second) // its handler has ended
		}, 0,
			map[string]float64{"calls_total{/slow 102 out}": 1, "calls_total{/ok 0 in}": 1},
			map[string]float64{"calls_total{/slow 0 or 102 in}": 1, "calls_total{/ok 0 out}": 1},
		},
		{"not sendable", func(t *testing.T, w *world) {
			w.sess.Call("/ok", func() {}, nil)
			w.sess.Push("/note", func() {})
		}, 0,
			nil,
			map[string]float64{"calls_total{/ok 104 out}": 1, "pushes_total{/note 104 out}": 1, "sent_bytes_total{/note out}": 0},
		},
		{"a result that does not decode", func(t *testing.T, w *world) { w.sess.Call("/ok", 1, new([]string)) }, 0,
			map[string]float64{"calls_total{/ok 0 in}": 1},
			map[string]float64{"calls_total{/ok 0 out}": 0, "calls_total{/ok 400 out}": 1},
		},
		{"pushes that fail there", func(t *testing.T, w *world) {
			w.sess.Push("/note", "no number")
			w.sess.Push("/fail", 1) // a call's
			w.sess.Push("/bad", 4001)
			w.sess.Push("/bad", 4002)
		}, 0,
			map[string]float64{"pushes_total{/note 400 in}": 1, "pushes_total{/note 0 in}": 0, "pushes_total{/fail 404 in}": 1, "pushes_total{/bad 4001 in}": 1, "pushes_total{/bad in other}": 1},
			map[string]float64{"pushes_total{/note 0 out}": 1, "pushes_total{/fail 0 out}": 1, "pushes_total{/bad 0 out}": 2},
		},
		{"called by a handler", func(t *testing.T, w *world) { w.sess.Call("/back", 1, nil) }, 0,
			map[string]float64{"calls_total{/back 0 in}": 1, "calls_total{/never 499 out}": 1, "call_duration_seconds_count{/never out}": 0, "pushes_total{/note 0 out}": 1},
			map[string]float64{"calls_total{/back 0 out}": 1, "pushes_total{/note 0 in}": 1},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				tp.HandlePush(w.peer, "/bad", func(_ tp.PushCtx, arg *int32) error { return tp.NewRerror(*arg, "", "").Err() })
				tp.HandleCall(w.peer, "/back", func(ctx tp.CallCtx, arg *int) (int, error) {
					sess := ctx.Session().(tp.Session)
					over, stop := context.WithCancel(ctx.Context())
					stop()
					sess.Call("/never", arg, nil, tp.WithContext(over))
					sess.Push("/note", arg, tp.WithContext(ctx.Context()))
					return 0, nil
				})
				synctest.Wait() // the server has its session, too
				test.do(t, w)
				synctest.Wait()
				check(t, "server, at once", read(t, w.srv), map[string]float64{"handlers_in_flight{/slow}": test.now})
				check(t, "client, at once", read(t, w.cli), test.cli)
				time.Sleep(3 * time.Second)
				for range 2 { // the second scrape changes nothing
					srv, cli := read(t, w.srv), read(t, w.cli)
					check(t, "server", srv, test.srv)
					check(t, "client", cli, test.cli)
					check(t, "server", srv, map[string]float64{"handlers_in_flight{/slow}": 0})
					check(t, "client", cli, map[string]float64{"handlers_in_flight{/slow}": 0})
				}
				w.sess.Close()
				time.Sleep(time.Minute)
				check(t, "server, after Close", read(t, w.srv), test.srv)
				check(t, "client, after Close", read(t, w.cli), test.cli)
			})
		})
	}
}

// A push that found no room was not sent, so its bytes do not count.
func TestBytesOfRefusedPushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const sentBytes = "teleport_sent_bytes_total{/note out}"
		arg := make([]int, 100_000)
		w.sess.Push("/note", arg)
		frame := read(t, w.cli)[sentBytes]
		w.net.Find(w.sess.LocalAddr().String()).Freeze()
		sent, refused := 1.0, 0.0
		for range 100 {
			ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
			if r := w.sess.Push("/note", arg, tp.WithContext(ctx)); r != nil {
				refused++
			} else {
				sent++
			}
			stop()
		}
		got := read(t, w.cli)
		check(t, "client", got, map[string]float64{"pushes_total{/note 0 out}": sent, "pushes_total{/note 408 out}": refused})
		if refused == 0 || frame == 0 || got[sentBytes] != sent*frame {
			t.Errorf("%v pushes were refused, and %v bytes sent; want some, and %v", refused, got[sentBytes], sent*frame)
		}
		w.net.Find(w.sess.LocalAddr().String()).Cut()
	})
}
