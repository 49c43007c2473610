package tp

import (
	"context"
	"testing"
	"time"
)

// Asynchronous calls that have not run are made again as those of Call are.
func TestAsyncCallsAgain(t *testing.T) {
	type async struct {
		*testing.T
		w    *world
		c    *session
		cmds chan CallCmd
	}
	start := func(x async, set ...MessageSetting) {
		arg := "x"
		x.c.AsyncCall("/echo", &arg, new(string), x.cmds, set...)
		arg = "changed"
	}
	done := func(x async) CallCmd {
		x.Helper()
		select {
		case cmd := <-x.cmds:
			return cmd
		default:
			x.Fatal("the call has not ended")
			return nil
		}
	}
	for _, test := range []struct {
		name string
		do   func(async)
	}{
		{"on the next connection", func(x async) {
			start(x)
			pass(time.Second)
			x.w.release()
			pass(time.Second)
			wantReply(x, done(x), "x")
		}},
		{"while it redials", func(x async) {
			start(x)
			pass(0)
			x.w.net.Refuse(x.w.addr, 3)
			x.w.release()
			pass(10 * time.Second)
			wantReply(x, done(x), "x")
		}},
		{"until its context ends", func(x async) {
			ctx, cancel := context.WithCancel(x.Context())
			start(x, WithContext(ctx))
			pass(time.Second)
			cancel()
			pass(0)
			r := done(x).Rerror()
			wantRerror(x, r, CodeCanceled)
			wantNotRun(x, r, true)
			x.w.release()
		}},
		{"until RedialWait is over", func(x async) {
			start(x)
			pass(x.c.env.cfg.RedialWait + time.Second)
			r := done(x).Rerror()
			wantRerror(x, r, CodeConnClosed, "draining")
			wantNotRun(x, r, true)
			x.w.release()
		}},
		{"until the session is closed", func(x async) {
			start(x)
			pass(0)
			go x.c.Close()
			x.w.release()
			pass(time.Minute)
			wantNotRun(x, done(x).Rerror(), true)
		}},
		{"with the number that a hook has seen", func(x async) {
			x.w.client.PluginContainer().AppendLeft(&PluginImpl{PluginName: "seal", OnPreWriteCall: func(c WriteCtx) *Rerror {
				x.w.log.add("%s", *c.Output().Body().(*string))
				return nil
			}})
			start(x)
			pass(0)
			x.w.release()
			pass(time.Second)
			wantReply(x, done(x), "x")
			x.w.log.want(x, "block y", "x", "free y")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, redials(-1), func(t *testing.T, w *world) {
				c, s := w.pair()
				call(c, "/block", "y")
				begin(func() error { return s.Drain(context.Background()) })
				pass(0)
				test.do(async{t, w, c, make(chan CallCmd, 1)})
				if n := c.pending.Len(); n > 1 { // block's
					t.Errorf("%d calls are pending", n)
				}
			})
		})
	}
}

// An argument that cannot be encoded is an error of the call at once, and leaves nothing
// behind.
func TestAsyncCallThatCannotBeEncoded(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		w.client.PluginContainer().AppendLeft(&PluginImpl{PluginName: "seal", OnPreWriteCall: func(WriteCtx) *Rerror { return nil }})
		c, _ := w.pair()
		cmd := c.AsyncCall("/echo", make(chan int), new(string), nil)
		wantRerror(t, cmd.Rerror(), CodeWriteFailed)
		if n := c.pending.Len(); n != 0 {
			t.Errorf("%d calls are pending; want none", n)
		}
		wantReply(t, c.Call("/echo", "x", new(string)), "x")
	})
}
