package tp

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// The tests of this file and of session_redial_test.go go through the table of
// states row by row; a row's number is in the test's name.

func TestRow01_ConnectedHooksRunInOrderWhilePreparing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		look := func(moment string, ps PreSession) *Rerror {
			s := ps.(*session)
			if got := s.getState(); got != preparing || s.Health() {
				t.Errorf("%s: state %v, Health %v; want preparing and no health", moment, got, s.Health())
			}
			if n := s.env.hub.count(); n != 0 {
				t.Errorf("%s: %d sessions in the hub; want none", moment, n)
			}
			if l := s.currentLink(); l.epoch != 1 {
				t.Errorf("%s: epoch %d; want 1", moment, l.epoch)
			}
			want := s.LocalAddr().String()
			if moment == "accept" {
				want = s.RemoteAddr().String()
			}
			if s.ID() != want {
				t.Errorf("%s: id %q; want the default %q", moment, s.ID(), want)
			}
			return nil
		}
		w.server = w.peer(nil, &connHook{"s1", &w.log, look}, &connHook{"s2", &w.log, nil})
		w.addr = w.listen(w.server)
		w.client = w.peer(nil, &connHook{"c1", &w.log, look}, &connHook{"c2", &w.log, nil})
		c := w.dial()
		synctest.Wait()
		if got := w.log.len(); got != 4 {
			t.Errorf("%d hooks ran; want 4", got)
		}
		wantReady(t, c)
		wantReady(t, w.other(c))
	})
}

func TestRow01_ContextEndsDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memnet.Latency(time.Second))
		cause := errors.New("enough")
		for _, test := range []struct {
			name  string
			after time.Duration // 2 s is a dial's round trip, 4 s the hook's
		}{{"while it connects", time.Second}, {"while a hook waits", 3 * time.Second}} {
			p := w.peer(nil, &connHook{"c", &w.log, func(_ string, s PreSession) *Rerror {
				return s.PreReceive(nil).Rerror()
			}})
			addr := w.listen(p)
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(test.after, func() { cancel(cause) })
			start := time.Now()
			s, r := p.DialContext(ctx, addr)
			if s != nil || r == nil {
				t.Fatalf("%s: DialContext = %v, %s", test.name, s, r)
			}
			wantRerror(t, r, CodeDialFailed, addr, "enough")
			if !errors.Is(r.Err(), cause) {
				t.Errorf("%s: %s does not wrap the context's cause", test.name, r)
			}
			if took := time.Since(start); took != test.after {
				t.Errorf("%s: took %v; want %v", test.name, took, test.after)
			}
		}
		pass(time.Minute)
		if n := w.net.Conns(); n != 0 {
			t.Errorf("%d ends are open; want none", n)
		}
	})
}

func TestRow02_HooksPassedSessionIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.open(nil)
		w.client.PluginContainer().AppendLeft(&connHook{"c", &w.log, func(_ string, s PreSession) *Rerror {
			s.SetID("wanted")
			s.SetSessionAge(time.Hour)
			return nil
		}})
		c := w.dial()
		if c.ID() != "wanted" {
			t.Errorf("id %q; want the one set by the hook", c.ID())
		}
		if got, ok := w.client.GetSession("wanted"); !ok || got != Session(c) || w.client.CountSession() != 1 {
			t.Errorf("GetSession = %v, %v; want the session", got, ok)
		}
		wantReply(t, c.Call("/echo", "hi", new(string)), "hi")
		pass(time.Hour - time.Second) // the age counts from now, not from the hook
		wantReady(t, c)
		pass(time.Second + 10*time.Millisecond)
		wantReason(t, c, SideLocal, "session age")
	})
}

func TestRow03_PreparingFails(t *testing.T) {
	reject := func(s PreSession) *Rerror { return NewRerror(4711, "no", "not you") }
	for _, test := range []struct {
		name  string
		hook  func(PreSession) *Rerror
		code  int32
		words string
		took  time.Duration
	}{
		{"hook error", reject, 4711, "not you", 0},
		{"panic", func(PreSession) *Rerror { panic("ouch") }, CodeDialFailed, "ouch", 0},
		{"time-out", func(s PreSession) *Rerror {
			for { // a hook that does not give up by itself
				if r := s.PreReceive(nil).Rerror(); s.(*session).fresh().killed.Load() != nil {
					return r
				}
			}
		}, CodeDialFailed, "handshake", 10 * time.Second},
		{"connection lost", func(s PreSession) *Rerror {
			mem(s.(*session)).Cut()
			if r := s.RawPush("/note", "x"); r == nil {
				t.Error("RawPush on a lost connection succeeds")
			}
			return NewRerror(CodeDialFailed, "", "lost")
		}, CodeDialFailed, "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.server = w.peer(nil)
				w.addr = w.listen(w.server)
				var failed *session
				w.client = w.peer(nil, &connHook{"a", &w.log, nil}, &connHook{"b", &w.log, nil},
					&connHook{"c", &w.log, func(_ string, s PreSession) *Rerror { failed = s.(*session); return test.hook(s) }},
					&connHook{"d", &w.log, nil})
				start := time.Now()
				s, r := w.client.Dial(w.addr)
				if s != nil {
					t.Errorf("Dial = %v; want a nil interface", s)
				}
				wantRerror(t, r, test.code, test.words)
				if took := time.Since(start); took != test.took {
					t.Errorf("took %v; want %v", took, test.took)
				}
				wantState(t, failed, closed)
				why := failed.CloseReason()
				w.log.want(t, "a dial", "b dial", "c dial",
					"b disconnect: "+why.String(), "a disconnect: "+why.String())
				if w.client.CountSession() != 0 || w.net.Conns() != 0 {
					t.Errorf("%d sessions, %d ends left; want none", w.client.CountSession(), w.net.Conns())
				}
			})
		})
	}
}

func TestRow03_AcceptFailsServeConnIsNil(t *testing.T) {
	for _, test := range []struct {
		name string
		hook func(PreSession) *Rerror
	}{
		{"hook error", func(PreSession) *Rerror { return NewRerror(401, "no", "not you") }},
		{"panic", func(PreSession) *Rerror { panic("ouch") }},
		{"time-out", func(s PreSession) *Rerror { return s.PreReceive(nil).Rerror() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := w.peer(nil, &connHook{"a", &w.log, nil},
					&connHook{"b", &w.log, func(_ string, s PreSession) *Rerror { return test.hook(s) }})
				a, b := memnet.Pipe()
				if s := p.ServeConn(a); s != nil {
					t.Errorf("ServeConn = %v; want a nil interface", s)
				}
				if got := w.log.len(); got != 3 {
					t.Errorf("%d lines; want a accept, b accept, a disconnect", got)
				}
				if _, err := b.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("the peer reads %v; want EOF", err)
				}
				b.Close()
			})
		})
	}
}

func TestRow04_PreparingTakesNoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server = w.peer(nil)
		w.addr = w.listen(w.server)
		var s Session
		w.client = w.peer(nil, &connHook{"c", &w.log, func(_ string, ps PreSession) *Rerror {
			s = ps.(Session)
			wantRerror(t, s.Call("/echo", "x", new(string)).Rerror(), CodeInvalidOp)
			_, r := s.AsyncCall("/echo", "x", new(string), nil).Reply()
			wantRerror(t, r, CodeInvalidOp)
			wantRerror(t, s.Push("/note", "x"), CodeInvalidOp)
			return nil
		}})
		w.dial()
		w.log.want(t, "c dial")
		// And the methods of PreSession work only there.
		wantRerror(t, s.(PreSession).RawPush("/note", "x"), CodeInvalidOp)
		wantRerror(t, s.(PreSession).PreReceive(nil).Rerror(), CodeInvalidOp)
	})
}

func TestRow04_CloseWhilePreparing(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(Session) error
	}{
		{"Close", Session.Close},
		{"Drain", func(s Session) error { return s.Drain(context.Background()) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.server = w.peer(nil)
				w.addr = w.listen(w.server)
				var s *session
				w.client = w.peer(nil, &connHook{"a", &w.log, nil}, &connHook{"b", &w.log, func(_ string, ps PreSession) *Rerror {
					s = ps.(*session)
					if err := test.end(s); err != nil {
						t.Errorf("= %v; want nil", err)
					}
					return nil
				}}, &connHook{"c", &w.log, nil}) // its peer is not there any more
				got, r := w.client.Dial(w.addr)
				if got != nil {
					t.Errorf("Dial = %v; want nil", got)
				}
				wantRerror(t, r, CodeDialFailed, "closed by this side")
				wantState(t, s, closed)
				wantReason(t, s, SideLocal, "closed by this side")
				w.log.want(t, "a dial", "b dial", "b disconnect: closed by this side", "a disconnect: closed by this side")
			})
		})
	}
}

func TestRow04_CloseBetweenHooksAndReady(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.server.PluginContainer().AppendLeft(&connHook{"s", &w.log, nil})
		a, b := memnet.Pipe()
		s := newSession(w.server.env, nil)
		l := newLink(s, &Handshake{Conn: a, Proto: testwire.New}, 1)
		if r := s.prepareLink(t.Context(), l, time.Minute); r != nil {
			t.Fatal(r)
		}
		s.Close()
		_, r := s.begin(l)
		wantRerror(t, r, CodeConnClosed, "closed by this side") // 105 is for what was dialled
		wantState(t, s, closed)
		w.log.want(t, "s accept", "s disconnect: closed by this side")
		b.Close()
	})
}

func TestRow05_ReadyCallAndPush(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, s := w.pair()
		wantReply(t, c.Call("/echo", "there", new(string)), "there")
		wantReply(t, s.Call("/echo", "back", new(string)), "back")
		if r := c.Push("/note", "x"); r != nil {
			t.Errorf("Push = %s", r)
		}
		synctest.Wait()
		w.log.want(t, "note x")

		expired, cancel := context.WithTimeout(t.Context(), -1)
		defer cancel()
		gone, cancel2 := context.WithCancel(t.Context())
		cancel2()
		for ctx, code := range map[context.Context]int32{expired: CodeHandleTimeout, gone: CodeCanceled} {
			wantRerror(t, c.Call("/echo", "x", new(string), WithContext(ctx)).Rerror(), code)
			_, r := c.AsyncCall("/echo", "x", new(string), nil, WithContext(ctx)).Reply()
			wantRerror(t, r, code)
			wantRerror(t, c.Push("/note", "never", WithContext(ctx)), code)
		}
		synctest.Wait()
		w.log.want(t)
		if n, b := c.Queued(); n != 0 || b != 0 {
			t.Errorf("Queued = %d, %d; want nothing", n, b)
		}
	})
}

func TestRow06_Reply(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, _ := w.pair()
		wantReply(t, c.Call("/echo", "hi", new(string)), "hi")
		wantRerror(t, c.Call("/fail", "why", new(string)).Rerror(), 1234, "failed", "why")
		wantRerror(t, c.Call("/echo", "hi", new(int)).Rerror(), CodeBadMessage, "*int")
		wantReady(t, c)

		s, end := w.serveRaw(w.server)
		end.send(TypeReply, 77, "", "no such call") // dropped
		ch := call(s, "/x", "y")
		m := end.receive()
		end.send(TypeReply, m.Seq()+1, "", "wrong")
		wantWaiting(t, ch)
		end.send(TypeReply, m.Seq(), "", "right")
		wantReply(t, ended(t, ch).v, "right")
		end.send(TypeReply, m.Seq(), "", "twice")
		wantReady(t, s)
	})
}

func TestRow07_CallerContextEnds(t *testing.T) {
	for _, test := range []struct {
		name  string
		async bool
		code  int32
	}{
		{"deadline", false, CodeHandleTimeout}, {"cancel", false, CodeCanceled},
		{"async deadline", true, CodeHandleTimeout}, {"async cancel", true, CodeCanceled},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				c, _ := w.pair()
				launch := func(ctx context.Context, method string, v *string) <-chan outcome[CallCmd] {
					return begin(func() CallCmd {
						if !test.async {
							return c.Call(method, "x", v, WithContext(ctx))
						}
						ch := make(chan CallCmd, 1)
						c.AsyncCall(method, "x", v, ch, WithContext(ctx))
						return <-ch
					})
				}
				ctx, cancel := context.WithCancel(t.Context())
				if test.code == CodeHandleTimeout {
					ctx, cancel = context.WithTimeout(t.Context(), time.Second)
				} else {
					time.AfterFunc(time.Second, cancel)
				}
				defer cancel()
				result := "untouched"
				ch := launch(ctx, "/stuck", &result)
				closing := begin(c.Close) // draining: the same
				pass(time.Second)
				o := ended(t, ch)
				wantRerror(t, o.v.Rerror(), test.code)
				if o.took != time.Second || c.pending.Len() != 0 {
					t.Errorf("took %v, %d pending; want 1s and the slot free", o.took, c.pending.Len())
				}
				if o := ended(t, closing); o.v != nil || o.took != time.Second {
					t.Errorf("Close = %v after %v; want nil when the call has ended", o.v, o.took)
				}
				w.release()
				pass(time.Second)
				if result != "untouched" {
					t.Errorf("result is %q; want it untouched", result)
				}
			})
		})
	}
}

func TestRow08_RequestsArriveWhileDraining(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server)
		end.send(TypeCall, 1, "/block", "old")
		closing := begin(func() error { return s.Drain(t.Context()) })
		end.send(TypeCall, 2, "/block", "new")
		end.send(TypePush, 3, "/note", "push")
		w.log.want(t, "block old", "note push")
		m := end.receive()
		if m.Seq() != 2 || m.Mtype() != TypeReply {
			t.Errorf("received seq %d; want the refusal of 2", m.Seq())
		}
		wantRerror(t, m.Rerror(), CodeConnClosed, "draining")
		if !socket.IsConnRerror(m.Rerror()) {
			t.Error("it is no IsConnRerror")
		}
		wantWaiting(t, closing)
		w.release()
		if m := end.receive(); m.Seq() != 1 || m.Rerror() != nil || string(m.RawBody()) != "old" {
			t.Errorf("received seq %d, %s; want the reply of 1", m.Seq(), m.Rerror())
		}
		if m := end.receive(); m.Mtype() != TypeControl || m.ServiceMethod() != "bye" || m.Meta().String() != "n=0" {
			t.Errorf("received %s %q, %s; want a farewell that has answered all", TypeText(m.Mtype()), m.ServiceMethod(), m.Meta())
		}
		if _, err := end.read(); err != io.EOF {
			t.Errorf("the peer reads %v; want EOF", err)
		}
		end.conn.Close()
		ended(t, closing)
	})
}

func TestRow26_ClosedForEver(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, _ := w.pair()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		wantState(t, c, closed)
		id := c.ID()
		c.SetID("other")
		if c.ID() != id || w.client.CountSession() != 0 {
			t.Errorf("id %q, %d sessions; want %q and none", c.ID(), w.client.CountSession(), id)
		}
		wantRerror(t, c.Call("/echo", "y", new(string)).Rerror(), CodeConnClosed, "closed by this side")
		_, r := c.AsyncCall("/echo", "y", new(string), nil).Reply()
		wantRerror(t, r, CodeConnClosed, "closed by this side")
		wantRerror(t, c.Push("/note", "y"), CodeConnClosed, "closed by this side")
		if err := errors.Join(c.Close(), c.Drain(t.Context())); err != nil {
			t.Errorf("Close, Drain = %v; want nil", err)
		}
		if err := c.ControlFD(func(uintptr) {}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("ControlFD = %v; want net.ErrClosed", err)
		}
	})
}

func TestRow28_ContextAgeAnswers408(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server)
		s.SetContextAge(time.Second)
		end.send(TypeCall, 5, "/stuck", "x", WithXferPipe(testwire.XOR))
		end.send(TypePush, 6, "/stucknote", "y")
		start := time.Now()
		m := end.receive()
		if took := time.Since(start); took < time.Second || took > time.Second+10*time.Millisecond {
			t.Errorf("took %v; want 1s and at most 10ms", took)
		}
		if m.Seq() != 5 || m.XferPipe().Len() != 1 {
			t.Errorf("received seq %d with %d filters; want 5 with the pipe of the call", m.Seq(), m.XferPipe().Len())
		}
		wantRerror(t, m.Rerror(), CodeHandleTimeout)
		w.release()
		synctest.Wait()
		w.log.want(t, "stuck x", "done x: context deadline exceeded")
		end.silent() // the late result is dropped, and a PUSH is never answered
		if n := s.work.running(); n != 0 {
			t.Errorf("%d handlers run; want none", n)
		}
		wantReady(t, s)
	})
}
