package tp

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestNotRun(t *testing.T) {
	t.Run("refused by draining", func(t *testing.T) {
		inWorld(t, nil, func(t *testing.T, w *world) {
			c, s := w.pair()
			call(c, "/block", "x")
			begin(func() error { return s.Drain(t.Context()) })
			r := c.Call("/echo", "y", new(string)).Rerror()
			wantRerror(t, r, CodeConnClosed, "draining")
			wantNotRun(t, r, true)
			w.release()
		})
	})
	t.Run("a handler passes on what its own call was answered", func(t *testing.T) {
		inWorld(t, redials(-1), func(t *testing.T, w *world) {
			HandleCall(w.server, "/nested", func(_ CallCtx, arg *string) (string, error) {
				w.log.add("ran")
				return "", NewRerror(CodeConnClosed, "Connection Closed", "draining").Err()
			})
			r := w.dial().Call("/nested", "y", new(string)).Rerror()
			wantRerror(t, r, CodeConnClosed, "draining")
			wantNotRun(t, r, false)
			w.log.want(t, "ran")
		})
	})
	t.Run("busy", func(t *testing.T) {
		inWorld(t, func(cfg *PeerConfig) { cfg.MaxHandlers, cfg.RedialTimes = 1, -1 }, func(t *testing.T, w *world) {
			c, _ := w.pair()
			call(c, "/block", "x")
			r := c.Call("/echo", "y", new(string)).Rerror()
			wantRerror(t, r, CodeBusy)
			wantNotRun(t, r, true)
			w.release()
		})
	})
	t.Run("closed before", func(t *testing.T) {
		inWorld(t, nil, func(t *testing.T, w *world) {
			c, _ := w.pair()
			c.Close()
			wantNotRun(t, c.Call("/echo", "y", new(string)).Rerror(), true)
			cmd := c.AsyncCall("/echo", "y", new(string), nil)
			<-cmd.Done()
			wantNotRun(t, cmd.Rerror(), true)
		})
	})
	t.Run("no new connection in time", func(t *testing.T) {
		inWorld(t, redials(-1), func(t *testing.T, w *world) {
			c, _ := w.pair()
			w.net.Refuse(w.addr, -1)
			mem(c).Cut()
			synctest.Wait()
			ch := call(c, "/echo", "y")
			pass(time.Hour)
			r := ended(t, ch).v.Rerror()
			wantRerror(t, r, CodeConnClosed, "redial_wait")
			wantNotRun(t, r, true)
		})
	})
	t.Run("cut off", func(t *testing.T) {
		inWorld(t, nil, func(t *testing.T, w *world) {
			c, _ := w.pair()
			ch := call(c, "/block", "y")
			mem(c).Cut()
			r := ended(t, ch).v.Rerror()
			wantRerror(t, r, CodeConnClosed)
			wantNotRun(t, r, false)
			w.release()
		})
	})
	t.Run("never written", func(t *testing.T) {
		inWorld(t, nil, func(t *testing.T, w *world) {
			c, _ := w.pair()
			mem(c).Freeze()
			big := call(c, "/echo", strings.Repeat("x", 100_000)) // the network takes a part of it
			small := call(c, "/echo", "y")
			mem(c).Cut()
			wantNotRun(t, ended(t, big).v.Rerror(), false)
			wantNotRun(t, ended(t, small).v.Rerror(), true)
		})
	})
	t.Run("the context ends first", func(t *testing.T) {
		inWorld(t, redials(-1), func(t *testing.T, w *world) {
			c, s := w.pair()
			call(c, "/block", "x")
			begin(func() error { return s.Drain(t.Context()) })
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			ch := call(c, "/echo", "y", WithContext(ctx))
			wantWaiting(t, ch)
			pass(time.Second)
			r := ended(t, ch).v.Rerror()
			wantRerror(t, r, CodeHandleTimeout)
			wantNotRun(t, r, true)
			w.release()
		})
	})
	t.Run("RedialWait is over first", func(t *testing.T) {
		inWorld(t, redials(-1), func(t *testing.T, w *world) {
			c, s := w.pair()
			call(c, "/block", "x")
			begin(func() error { return s.Drain(t.Context()) })
			ch := call(c, "/echo", "y")
			pass(c.env.cfg.RedialWait - time.Second)
			wantWaiting(t, ch)
			pass(2 * time.Second)
			o := ended(t, ch)
			wantRerror(t, o.v.Rerror(), CodeConnClosed, "draining")
			wantNotRun(t, o.v.Rerror(), true)
			w.release()
		})
	})
}
