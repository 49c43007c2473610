package tp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

func TestRow15_NetworkBreaks(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.server.PluginContainer().AppendRight(&connHook{"s", new(journal), nil})
		c, s := w.pair()
		there, back := call(c, "/block", "x"), call(s, "/stuck", "y")
		mem(c).Cut()
		for _, ch := range []<-chan outcome[CallCmd]{there, back} {
			wantRerror(t, ended(t, ch).v.Rerror(), CodeConnClosed, "network", "reset")
		}
		for _, x := range []*session{c, s} {
			wantState(t, x, closed)
			wantReason(t, x, SideNetwork, "reset")
		}
		w.log.want(t, "block x", "stuck y", fmt.Sprintf("cancelled x: %v", s.CloseReason()))
		w.release()
	})
}

func TestRow15_ReasonsOfABreak(t *testing.T) {
	for _, test := range []struct {
		name  string
		do    func(s *session, end *rawEnd)
		wait  time.Duration
		side  Side
		words []string
	}{
		{"frame that cannot be read", func(_ *session, end *rawEnd) { end.conn.Write([]byte{0, 0, 0, 1}) },
			0, SideLocal, []string{"frame of 1 bytes"}},
		{"frame over the limit", func(_ *session, end *rawEnd) { end.conn.Write([]byte{0xff, 0, 0, 0}) },
			0, SideLocal, []string{"4278190080", "2048"}},
		{"end within a frame", func(_ *session, end *rawEnd) { end.conn.Write([]byte{0, 0, 0, 99}); end.conn.Close() },
			0, SideNetwork, []string{"unexpected EOF", "reading"}},
		{"stall", func(s *session, end *rawEnd) {
			end.conn.(*memnet.Conn).Freeze()
			for range 80 {
				s.Push("/note", strings.Repeat("x", 1000), WithContext(end.t.Context()))
			}
		}, 6 * time.Second, SideNetwork, []string{"stalled", "3s", "writing"}},
		{"slow reader", func(s *session, end *rawEnd) {
			for i := range 20_000 {
				m := fmt.Sprintf("/nowhere/%d", i)
				if frame := callFrame(int32(i+1), m); !isClosed(s.done.Done()) {
					end.conn.Write(frame)
				}
			}
		}, 0, SideNetwork, []string{"slow reader", "writing"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(cfg *PeerConfig) {
				cfg.WriteTimeout, cfg.WriteBound, cfg.MessageSizeLimit = 3*time.Second, 100_000, 2048
			}, func(t *testing.T, w *world) {
				s, end := w.serveRaw(w.server)
				ch := call(s, "/x", "y")
				test.do(s, end)
				pass(test.wait)
				wantState(t, s, closed)
				wantReason(t, s, test.side, test.words[0])
				wantRerror(t, ended(t, ch).v.Rerror(), CodeConnClosed, test.words...)
			})
		})
	}
}

// callFrame returns an encoded CALL of testwire.
func callFrame(seq int32, method string, set ...MessageSetting) []byte {
	m := socket.NewMessage(socket.WithSeq(seq), WithMtype(TypeCall), WithServiceMethod(method))
	for _, s := range set {
		s(m)
	}
	b, err := testwire.New(nil).(interface {
		AppendFrame([]byte, Message) ([]byte, error)
	}).AppendFrame(nil, m)
	if err != nil {
		panic(err)
	}
	return b
}

func TestRow15_BatchIsDiscarded(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		c, _ := w.pair()
		mem(c).Freeze()
		for i := range 100 { // 64 KiB of them are in the network's buffer
			if r := c.Push("/note", fmt.Sprint(i, strings.Repeat("x", 2000)), WithContext(t.Context())); r != nil {
				t.Fatal(r)
			}
		}
		if n, b := c.Queued(); n == 0 || b == 0 {
			t.Errorf("Queued = %d, %d; want some", n, b)
		}
		mem(c).Cut()
		pass(time.Second)
		wantReady(t, c)
		w.log.want(t)
		if r := c.Push("/note", "after"); r != nil {
			t.Fatal(r)
		}
		synctest.Wait()
		w.log.want(t, "note after")
	})
}

func TestRow15_EOFIsABreakIfRedialable(t *testing.T) {
	inWorld(t, redials(3), func(t *testing.T, w *world) {
		c, s := w.pair()
		ch := call(c, "/stuck", "x")
		s.Drain(canceled())
		synctest.Wait()
		wantRerror(t, ended(t, ch).v.Rerror(), CodeConnClosed, "closed by peer")
		if got := c.getState(); got != redialing {
			t.Errorf("state is %v; want redialing", got)
		}
		wantLive(t, c) // CloseNotify never closes for a repaired break
		pass(time.Second)
		wantReady(t, c)
		wantReply(t, c.Call("/echo", "again", new(string)), "again")
		w.release()
	})
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestRow17_NotRedialable(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		w.server.PluginContainer().AppendRight(&connHook{"s", &w.log, nil})
		_, s := w.pair() // an accepted session never redials
		mem(s).Cut()
		wantState(t, s, closed)
		wantReason(t, s, SideNetwork, "reset")
		w.log.want(t, "s accept", "s disconnect: "+s.CloseReason().String())
	})
}

func TestRow24_SessionAge(t *testing.T) {
	for _, test := range []struct {
		name string
		cut  bool
	}{{"ready", false}, {"redialing", true}} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, redials(-1), func(t *testing.T, w *world) {
				c, _ := w.pair()
				c.SetSessionAge(time.Minute)
				if test.cut {
					w.net.Refuse(w.addr, -1)
					mem(c).Cut()
					synctest.Wait()
				}
				ch := call(c, "/stuck", "x")
				pass(time.Minute - 1)
				wantLive(t, c)
				pass(10*time.Millisecond + 1)
				wantReason(t, c, SideLocal, "session age")
				wantRerror(t, c.Call("/echo", "y", new(string)).Rerror(), CodeConnClosed, "session age")
				if !test.cut {
					wantState(t, c, draining)
					wantWaiting(t, ch)
					pass(5 * time.Second)
				}
				wantRerror(t, ended(t, ch).v.Rerror(), CodeConnClosed)
				wantState(t, c, closed) // and no redial
				w.release()
			})
		})
	}
}

func TestRow25_TakeoverBySetID(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		old, fresh := w.dial(), w.dial()
		old.SetID("x")
		ch := call(old, "/block", "pending")
		fresh.SetID("x")
		if got, _ := w.client.GetSession("x"); got != Session(fresh) || w.client.CountSession() != 1 {
			t.Errorf("GetSession is the old session or %d sessions are there; want the new one alone", w.client.CountSession())
		}
		wantState(t, old, draining)
		wantReason(t, old, SideLocal, "id taken by "+fresh.RemoteAddr().String())
		wantRerror(t, old.Call("/echo", "y", new(string)).Rerror(), CodeConnClosed, "id taken by")
		w.release()
		wantReply(t, ended(t, ch).v, "pending") // as Close
		pass(time.Second)
		wantState(t, old, closed)
		wantReady(t, fresh)
		fresh.SetID("x") // its own
		wantReady(t, fresh)
	})
}

func TestRow27_LateReplyOfAnOldEpoch(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		// The client serves, since only its session has several epochs.
		c, s := w.pair()
		ch := call(s, "/stuck", "old")
		mem(c).Cut()
		pass(time.Second)
		wantReady(t, c)
		wantRerror(t, ended(t, ch).v.Rerror(), CodeConnClosed)
		fresh := w.other(c)
		fresh.pending.SetNext(1) // the number of the failed call again
		again := call(fresh, "/block", "new")
		reason := "connection reset by peer"
		w.release()
		wantReply(t, ended(t, again).v, "new") // not the old handler's reply
		synctest.Wait()
		w.log.mu.Lock()
		defer w.log.mu.Unlock()
		if !slices.ContainsFunc(w.log.lines, func(l string) bool { return strings.HasPrefix(l, "done old: ") && strings.Contains(l, reason) }) {
			t.Errorf("log is %q; want the old handler's context cancelled with the break's reason", w.log.lines)
		}
		if n := c.work.running(); n != 0 {
			t.Errorf("%d handlers run; want none", n)
		}
	})
}

func TestBreaker(t *testing.T) {
	dead := errors.New("the peer is dead")
	// wantDead checks the error of a call.
	wantDead := func(t *testing.T, cmd CallCmd) {
		t.Helper()
		wantRerror(t, cmd.Rerror(), CodeConnClosed, "network: the peer is dead")
		if k := (*CloseReason)(nil); !errors.Is(cmd.Rerror().Err(), dead) || !errors.As(cmd.Rerror().Err(), &k) {
			t.Errorf("the call's error does not wrap the cause: %#v", cmd.Rerror().Err())
		}
	}
	wantBreak := func(t *testing.T, s Breaker, want bool) {
		t.Helper()
		if got := s.Break(dead); got != want {
			t.Errorf("Break = %t; want %t", got, want)
		}
	}
	t.Run("an accepted session ends", func(t *testing.T) {
		inWorld(t, redials(-1), func(t *testing.T, w *world) {
			w.server.PluginContainer().AppendRight(&connHook{"s", &w.log, nil})
			c, s := w.pair()
			mem(c).Freeze()
			pending := call(s, "/echo", "x")
			wantBreak(t, s, true)
			wantBreak(t, s, false)
			wantDead(t, ended(t, pending).v)
			wantState(t, s, closed)
			wantBreak(t, s, false)
			if r := s.CloseReason(); r == nil || r.Side != SideNetwork || !errors.Is(r, dead) {
				t.Errorf("close reason is %+v; want the network's side with the cause", r)
			}
			w.log.want(t, "s accept", "s disconnect: network: the peer is dead while reading")
		})
	})
	t.Run("a dialled session redials", func(t *testing.T) {
		inWorld(t, redials(-1), func(t *testing.T, w *world) {
			var hooked []bool
			w.client.PluginContainer().AppendRight(&connHook{"c", new(journal), func(_ string, s PreSession) *Rerror {
				hooked = append(hooked, s.(Breaker).Break(dead))
				return nil
			}})
			c, s := w.pair()
			there, back := call(c, "/stuck", "x"), call(s, "/block", "y")
			wantBreak(t, c, true)
			wantDead(t, ended(t, there).v)
			ended(t, back)
			w.log.want(t, "stuck x", "block y", "cancelled y: network: the peer is dead while reading")
			wantBreak(t, c, false) // it redials
			pass(time.Second)
			wantReady(t, c)
			if c.CloseReason() != nil || !slices.Equal(hooked, []bool{false, false}) {
				t.Errorf("close reason is %v, Break in the hooks %v; want none, and nothing done", c.CloseReason(), hooked)
			}
			wantReply(t, c.Call("/echo", "again", new(string)), "again")
			wantBreak(t, c, true) // the new connection
			w.release()
		})
	})
	t.Run("a session that closes has its reason", func(t *testing.T) {
		inWorld(t, redials(-1), func(t *testing.T, w *world) {
			c, _ := w.pair()
			pending, closing := call(c, "/stuck", "x"), begin(c.Close)
			wantState(t, c, draining)
			wantBreak(t, c, true)
			wantDead(t, ended(t, pending).v)
			if err := ended(t, closing).v; err == nil || !strings.Contains(err.Error(), "1 calls cut off") {
				t.Errorf("Close = %v; want one call cut off", err)
			}
			wantState(t, c, closed)
			wantReason(t, c, SideLocal, "closed by this side")
			w.release()
		})
	})
	t.Run("a connection that is gone already", func(t *testing.T) {
		inWorld(t, redials(-1), func(t *testing.T, w *world) {
			c, s := w.pair()
			w.net.Refuse(w.addr, -1)
			mem(c).Cut()
			wantState(t, s, closed)
			if got := c.getState(); got != redialing {
				t.Errorf("state is %v; want redialing", got)
			}
			wantBreak(t, c, false)
			wantBreak(t, s, false)
			wantReason(t, s, SideNetwork, "reset")
		})
	})
	t.Run("without a cause", func(t *testing.T) {
		inWorld(t, nil, func(t *testing.T, w *world) {
			c, _ := w.pair()
			c.Break(nil)
			wantState(t, c, closed)
			wantReason(t, c, SideNetwork, "given up by this side")
		})
	})
}
