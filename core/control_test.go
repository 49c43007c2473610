package tp

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
)

// wantGone checks that the context has ended since the caller has given up.
func wantGone(t testing.TB, ctx context.Context) {
	t.Helper()
	synctest.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, ErrCallerGone) {
		t.Errorf("the handler's context has ended with %v; want %v", cause, ErrCallerGone)
	}
}

// cancels is a world with a route whose handler waits for its context, and lets the
// test see it.
type cancels struct {
	*testing.T
	*world
	c, s     *session
	contexts chan context.Context
}

func inCancels(t *testing.T, change func(*PeerConfig), f func(cancels)) {
	t.Helper()
	inWorld(t, change, func(t *testing.T, w *world) {
		x := cancels{T: t, world: w, contexts: make(chan context.Context, 100)}
		for _, p := range []*peer{w.client, w.server} {
			HandleCall(p, "/wait", func(c CallCtx, arg *string) (string, error) {
				w.log.add("begin %s", *arg)
				ctx := c.Context()
				x.contexts <- ctx
				<-ctx.Done()
				w.log.add("end %s", *arg)
				return "too late", nil
			})
		}
		x.c, x.s = w.pair()
		f(x)
	})
}

// A caller that gives up ends the handler's context, whoever has dialled, and no reply
// follows.
func TestCancel(t *testing.T) {
	for _, test := range []struct {
		name string
		call func(x cancels, s *session) (giveUp func(), ended <-chan outcome[CallCmd])
		code int32
	}{
		{"Call", func(x cancels, s *session) (func(), <-chan outcome[CallCmd]) {
			ctx, cancel := context.WithCancel(x.Context())
			return cancel, call(s, "/wait", "x", WithContext(ctx))
		}, CodeCanceled},
		{"a deadline, but ended before", func(x cancels, s *session) (func(), <-chan outcome[CallCmd]) {
			ctx, cancel := context.WithTimeout(x.Context(), time.Hour)
			return cancel, call(s, "/wait", "x", WithContext(ctx))
		}, CodeCanceled},
		{"AsyncCall", func(x cancels, s *session) (func(), <-chan outcome[CallCmd]) {
			ctx, cancel := context.WithCancel(x.Context())
			cmd := s.AsyncCall("/wait", "x", new(string), nil, WithContext(ctx))
			return cancel, begin(func() CallCmd { <-cmd.Done(); return cmd })
		}, CodeCanceled},
		{"Invoke", func(x cancels, s *session) (func(), <-chan outcome[CallCmd]) {
			ctx, cancel := context.WithCancel(x.Context())
			return cancel, begin(func() CallCmd {
				_, err := Invoke[string](ctx, s, "/wait", "x")
				return NewFakeCallCmd("/wait", nil, nil, ToRerror(err))
			})
		}, CodeCanceled},
		{"DefaultCallTimeout", func(x cancels, s *session) (func(), <-chan outcome[CallCmd]) {
			ch := call(s, "/wait", "x")
			return func() { pass(2 * time.Minute) }, ch
		}, CodeHandleTimeout},
	} {
		for _, side := range []string{"client", "server"} {
			t.Run(test.name+" of the "+side, func(t *testing.T) {
				inCancels(t, func(cfg *PeerConfig) { cfg.DefaultCallTimeout = time.Minute }, func(x cancels) {
					from, to := x.c, x.s
					if side == "server" {
						from, to = x.s, x.c
					}
					giveUp, end := test.call(x, from)
					pass(0)
					ctx := <-x.contexts
					if ctx.Err() != nil {
						x.Fatalf("the handler's context has ended at once: %v", context.Cause(ctx))
					}
					giveUp()
					wantGone(x, ctx)
					wantRerror(x, ended(x, end).v.Rerror(), test.code)
					pass(time.Second)
					x.log.want(x, "begin x", "end x")
					if n := to.env.stats.canceledCalls.Load(); n != 1 {
						x.Errorf("%d calls were canceled; want 1", n)
					}
					if n := from.env.stats.droppedReplies.Load() + to.env.stats.unsentReplies.Load(); n != 0 {
						x.Errorf("%d replies were sent or counted as lost; want none", n)
					}
					wantReply(x, from.Call("/echo", "y", new(string)), "y")
				})
			})
		}
	}
}

// A peer that has not said hello gets no cancel; one that has gets one for every call.
func TestHello(t *testing.T) {
	for _, test := range []struct {
		name  string
		hello []MessageSetting // nil: none
		want  bool
	}{
		{"none", nil, false},
		{"with cancel", []MessageSetting{WithAddMeta("v", "1"), WithAddMeta("f", "cancel")}, true},
		{"with more than this side knows", []MessageSetting{WithAddMeta("v", "7"), WithAddMeta("f", "dance,cancel,,x"), WithAddMeta("g", "")}, true},
		{"without it", []MessageSetting{WithAddMeta("v", "1"), WithAddMeta("f", "canceled, cancel")}, false},
		{"without anything", []MessageSetting{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				s, end := w.serveRaw(w.client)
				plain := call(s, "/plain", "x")
				if m, err := end.next(); err != nil || m.Mtype() != TypeCall {
					t.Fatalf("the first message of a call that cannot be given up is %v, %v", m, err)
				}
				for i := range 2 {
					ctx, cancel := context.WithCancel(t.Context())
					ch := call(s, "/x", "y", WithContext(ctx))
					m, err := end.next()
					if i == 0 {
						if err != nil || m.Mtype() != TypeControl || m.ServiceMethod() != "hello" || m.Seq() != 0 || m.Meta().String() != "v=1&f=cancel%2Cstream&w=16384" {
							t.Fatalf("in front of the call: %v, %v; want hello", m, err)
						}
						if m, err = end.next(); test.hello != nil {
							end.send(TypeControl, 0, "hello", "", test.hello...)
						}
					}
					if err != nil || m.Mtype() != TypeCall {
						t.Fatalf("received %v, %v; want the call, and no second hello", m, err)
					}
					cancel()
					wantRerror(t, ended(t, ch).v.Rerror(), CodeCanceled)
					if test.want {
						if c, err := end.next(); err != nil || c.Mtype() != TypeControl || c.ServiceMethod() != "cancel" || c.Seq() != m.Seq() || c.Meta().Len() != 0 {
							t.Errorf("received %v, %v; want cancel of %d", c, err, m.Seq())
						}
					}
					end.silent()
				}
				end.send(TypeReply, 1, "", "done")
				wantReply(t, ended(t, plain).v, "done")
			})
		})
	}
}

// A hello is answered once, whenever it comes.
func TestHelloIsAnsweredOnce(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		_, end := w.serveRaw(w.server)
		for range 100 {
			end.send(TypeControl, 0, "hello", "", WithAddMeta("f", "cancel"))
		}
		if m, err := end.next(); err != nil || m.ServiceMethod() != "hello" {
			t.Errorf("received %v, %v; want hello", m, err)
		}
		end.silent()
	})
	inWorld(t, nil, func(t *testing.T, w *world) { // while hooks of the connection run
		w.server.PluginContainer().AppendLeft(&connHook{"s", &w.log, func(_ string, s PreSession) *Rerror {
			_, r := s.Receive(nil)
			return r
		}})
		a, b := memnet.Pipe()
		ready := begin(func() Session { return w.server.ServeConn(a) })
		end := newRawEnd(t, b)
		end.send(TypeControl, 0, "hello", "", WithAddMeta("f", "cancel"))
		end.send(TypePush, 1, "/x", "y")
		s := ended(t, ready).v.(*session)
		ctx, cancel := context.WithCancel(t.Context())
		ch := call(s, "/x", "y", WithContext(ctx))
		if m, err := end.next(); err != nil || m.ServiceMethod() != "hello" {
			t.Errorf("received %v, %v; want hello", m, err)
		}
		m := end.receive()
		cancel()
		ended(t, ch)
		if c := end.receive(); c.ServiceMethod() != "cancel" || c.Seq() != m.Seq() {
			t.Errorf("received %v; want cancel", c)
		}
	})
}

// A deadline has gone with the call: it needs no cancel.
func TestDeadlinesAreNotCanceled(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.client)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ch := call(s, "/x", "y", WithContext(ctx))
		end.receive()
		end.send(TypeControl, 0, "hello", "", WithAddMeta("f", "cancel"))
		pass(time.Second)
		wantRerror(t, ended(t, ch).v.Rerror(), CodeHandleTimeout)
		end.silent()
	})
}

// A call that a hook of a connection should not make, since there is no session yet, may
// end before it gets its error: there is nobody to tell.
func TestCancelWhilePreparing(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		var ran bool
		w.client.PluginContainer().AppendLeft(&PluginImpl{
			PluginName: "early",
			OnPostDial: func(s PreSession) *Rerror { s.(*session).sayCancel(1); ran = true; return nil },
		})
		w.dial()
		if !ran {
			t.Error("the hook has not run to its end")
		}
	})
}
