package tp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// redials is the configuration of a client that redials n times.
func redials(n int32) func(*PeerConfig) {
	return func(cfg *PeerConfig) { cfg.RedialTimes = n }
}

func TestRow15_NetworkBreaks(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.server.PluginContainer().AppendRight(&hook{"s", new(journal), nil})
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
				if frame := callFrame(int32(i+1), m); !isClosed(s.done) {
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

// callFrame is a CALL as testwire writes it.
func callFrame(seq int32, method string) []byte {
	m := socket.NewMessage(socket.WithSeq(seq), WithMtype(TypeCall), WithServiceMethod(method))
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

func TestRow16_EpochAndBackoff(t *testing.T) {
	inWorld(t, redials(8), func(t *testing.T, w *world) {
		var tries []time.Time
		w.client.PluginContainer().AppendLeft(&preDial{func() { tries = append(tries, time.Now()) }})
		c, _ := w.pair()
		w.net.Refuse(w.addr, 7)
		tries = nil
		last := time.Now()
		mem(c).Cut()
		pass(time.Minute)
		wantReady(t, c)
		if got := c.currentLink().epoch; got != 2 {
			t.Errorf("epoch %d; want 2", got)
		}
		if len(tries) != 8 {
			t.Fatalf("%d attempts; want 8", len(tries))
		}
		spread := false
		for n, at := range tries {
			want := 100 * time.Millisecond << n
			if got := at.Sub(last); got < want/2 || got > want*3/2 {
				t.Errorf("pause %d was %v; want %v ± 50%%", n, got, want)
			} else {
				spread = spread || got != want
			}
			last = at
		}
		if !spread {
			t.Error("the pauses are not spread by chance")
		}
	})
}

type preDial struct{ f func() }

func (*preDial) Name() string                       { return "predial" }
func (p *preDial) PreDial(net.Addr, string) *Rerror { p.f(); return nil }

func TestRow16_BackoffIsCapped(t *testing.T) {
	for _, test := range []struct {
		interval time.Duration
		n        int32
		want     time.Duration
	}{
		{100 * time.Millisecond, 0, 100 * time.Millisecond},
		{100 * time.Millisecond, 3, 800 * time.Millisecond},
		{time.Second, 100, 30 * time.Second},
		{time.Minute, 0, time.Minute},
		{time.Minute, 1 << 30, time.Minute},
	} {
		for range 100 {
			if got := backoff(test.interval, test.n); got < test.want/2 || got > test.want*3/2 {
				t.Errorf("backoff(%v, %d) = %v; want %v ± 50%%", test.interval, test.n, got, test.want)
			}
		}
	}
}

func TestRow17_NotRedialable(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		w.server.PluginContainer().AppendRight(&hook{"s", &w.log, nil})
		_, s := w.pair() // an accepted session never redials
		mem(s).Cut()
		wantState(t, s, closed)
		wantReason(t, s, SideNetwork, "reset")
		w.log.want(t, "s accept", "s disconnect: "+s.CloseReason().String())
	})
}

func TestRow18_HooksOnTheNewConnection(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		w.client.PluginContainer().AppendRight(&hook{"a", &w.log, nil}, &reHook{hook{"b", &w.log, func(moment string, ps PreSession) *Rerror {
			if moment == "redial" {
				s := ps.(*session)
				if st := s.getState(); st != redialing || s.currentLink().epoch != 2 {
					t.Errorf("state %v, epoch %d; want redialing, 2", st, s.currentLink().epoch)
				}
				ch := call(s, "/echo", "waits") // calls of users wait meanwhile
				wantWaiting(t, ch)
				go func() { wantReply(t, (<-ch).v, "waits"); w.log.add("waited") }()
				time.Sleep(time.Second)
				w.log.add("hook done")
				return ps.RawPush("/note", "from the hook")
			}
			return nil
		}}})
		c, _ := w.pair()
		mem(c).Cut()
		pass(time.Minute)
		wantReady(t, c)
		w.log.want(t, "a dial", "b dial", "a dial", "b redial", "hook done", "note from the hook", "waited")
		c.Close()
		synctest.Wait()
		w.log.want(t, "b disconnect: closed by this side", "a disconnect: closed by this side")
	})
}

func TestRow19_RejoinKeepsAndRenews(t *testing.T) {
	for _, custom := range []bool{false, true} {
		t.Run(fmt.Sprint("custom id ", custom), func(t *testing.T) {
			inWorld(t, redials(-1), func(t *testing.T, w *world) {
				c, _ := w.pair()
				if custom {
					c.SetID("mine")
				}
				c.Swap().Store("k", "v")
				c.SetSessionAge(time.Hour)
				before := c.LocalAddr().String()
				pass(50 * time.Minute)
				mem(c).Cut()
				synctest.Wait()
				var chs []<-chan outcome[*Rerror]
				for i := range 20 {
					chs = append(chs, begin(func() *Rerror { return c.Push("/ordered", fmt.Sprint(i)) }))
				}
				for _, ch := range chs {
					wantWaiting(t, ch)
				}
				if n, b := c.Queued(); n != 20 || b < 20 {
					t.Errorf("Queued = %d, %d; want 20 messages", n, b)
				}
				pass(time.Second)
				var want []string
				for i, ch := range chs {
					wantRerror(t, ended(t, ch).v, 0)
					want = append(want, fmt.Sprint("ordered ", i))
				}
				w.log.want(t, want...)
				wantReady(t, c)
				now := c.LocalAddr().String()
				if id := c.ID(); now == before || custom && id != "mine" || !custom && id != now {
					t.Errorf("id %q, address %s before and %s now; want the custom id or the new address", id, before, now)
				}
				if v, _ := c.Swap().Load("k"); v != "v" {
					t.Errorf("swap has %v; want v", v)
				}
				pass(50 * time.Minute) // the age counts from the new connection
				wantReady(t, c)
				pass(10 * time.Minute)
				wantReason(t, c, SideLocal, "session age")
			})
		})
	}
}

func TestRow19_DefaultIDNeverTakesOver(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		c, squatter := w.dial(), w.dial()
		squatter.SetID("mem:client:3") // what the redialled connection will be called
		mem(c).Cut()
		pass(time.Second)
		wantReady(t, squatter)
		wantReady(t, c)
		if !strings.HasPrefix(c.ID(), "mem:client:3#") {
			t.Errorf("id %q; want one behind mem:client:3#", c.ID())
		}
	})
}

func TestRow20_AttemptsGoOnUnless401Or403(t *testing.T) {
	for _, test := range []struct {
		code  int32
		tries int
	}{{500, 3}, {CodeUnauthorized, 1}, {403, 1}} {
		t.Run(fmt.Sprint(test.code), func(t *testing.T) {
			inWorld(t, redials(3), func(t *testing.T, w *world) {
				w.client.PluginContainer().AppendRight(&hook{"a", &w.log, nil}, &reHook{hook{"b", &w.log, func(moment string, _ PreSession) *Rerror {
					if moment == "redial" {
						return NewRerror(test.code, "no", "go away")
					}
					return nil
				}}})
				c, _ := w.pair()
				mem(c).Cut()
				synctest.Wait()
				ch := call(c, "/echo", "x")
				pass(time.Minute)
				wantState(t, c, closed)
				wantRerror(t, ended(t, ch).v.Rerror(), CodeConnClosed, "go away")
				wantReason(t, c, SideNetwork, "go away")
				want := []string{"a dial", "b dial"}
				for range test.tries {
					want = append(want, "a dial", "b redial")
				}
				why := c.CloseReason().String()
				w.log.want(t, append(want, "b disconnect: "+why, "a disconnect: "+why)...)
			})
		})
	}
}

func TestRow21_AttemptsUsedUp(t *testing.T) {
	inWorld(t, redials(3), func(t *testing.T, w *world) {
		w.client.PluginContainer().AppendRight(&hook{"a", &w.log, nil})
		c, _ := w.pair()
		w.net.Refuse(w.addr, -1)
		mem(c).Cut()
		synctest.Wait()
		a := call(c, "/echo", "x")
		b := begin(func() *Rerror { return c.Push("/note", "x") })
		async := c.AsyncCall("/echo", "x", new(string), nil)
		wantLive(t, c)
		pass(time.Minute)
		wantRerror(t, ended(t, a).v.Rerror(), CodeConnClosed, "refused")
		wantRerror(t, ended(t, b).v, CodeConnClosed, "refused")
		wantRerror(t, async.Rerror(), CodeConnClosed, "refused")
		wantState(t, c, closed)
		wantReason(t, c, SideNetwork, "refused")
		if !errors.Is(c.CloseReason(), memnet.ErrRefused) {
			t.Errorf("%v does not wrap the last dial's error", c.CloseReason())
		}
		w.log.want(t, "a dial", "a disconnect: "+c.CloseReason().String())
	})
}

func TestRow22_WaitsAreBounded(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		c, _ := w.pair()
		w.net.Refuse(w.addr, -1)
		mem(c).Cut()
		synctest.Wait()
		for _, test := range []struct {
			code int32
			took time.Duration
		}{
			{CodeHandleTimeout, time.Second},
			{CodeCanceled, 2 * time.Second},
			{CodeConnClosed, 30 * time.Second}, // RedialWait: without deadline
			{CodeHandleTimeout, time.Minute},   // longer: the caller's own business
		} {
			start := time.Now()
			ctx, cancel := context.WithCancel(t.Context())
			switch test.code {
			case CodeHandleTimeout:
				ctx, cancel = context.WithTimeout(t.Context(), test.took)
			case CodeCanceled:
				time.AfterFunc(test.took, cancel)
			}
			defer cancel()
			push := begin(func() *Rerror { return c.Push("/note", "x", WithContext(ctx)) })
			result := "untouched"
			done := make(chan CallCmd, 1)
			c.AsyncCall("/echo", "x", &result, done, WithContext(ctx)) // returns
			if took := time.Since(start); took != 0 {
				t.Errorf("AsyncCall took %v; want it to return", took)
			}
			go func() {
				cmd := <-done
				late := time.Since(start) - test.took
				if late < 0 || late > 10*time.Millisecond {
					t.Errorf("AsyncCall ended after %v; want %v", time.Since(start), test.took)
				}
				wantRerror(t, cmd.Rerror(), test.code)
			}()
			cmd := c.Call("/echo", "x", &result, WithContext(ctx))
			wantRerror(t, cmd.Rerror(), test.code)
			o := ended(t, push)
			wantRerror(t, o.v, test.code)
			if late := o.took - test.took; late < 0 || late > 10*time.Millisecond {
				t.Errorf("Push took %v; want %v", o.took, test.took)
			}
			if n, b := c.Queued(); n != 0 || b != 0 {
				t.Errorf("Queued = %d, %d; want nothing: nobody waits any more", n, b)
			}
			pass(time.Until(start.Add(test.took)) + 10*time.Millisecond)
		}
		w.net.Refuse(w.addr, 0)
		pass(time.Minute)
		wantReady(t, c)
		w.log.want(t)
		if n := c.pending.Len(); n != 0 {
			t.Errorf("%d calls are pending; want none", n)
		}
	})
}

func TestRow22_EncodedAtOnceAndBoundedInBytes(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.RedialTimes, cfg.WriteBound = -1, 50_000 }, func(t *testing.T, w *world) {
		c, _ := w.pair()
		w.net.Refuse(w.addr, 1)
		mem(c).Cut()
		synctest.Wait()
		arg, result := strings.Repeat("x", 20_000), ""
		done := make(chan CallCmd, 1)
		c.AsyncCall("/echo", &arg, &result, done)
		arg = "changed"
		second := call(c, "/echo", strings.Repeat("y", 20_000))
		over := call(c, "/echo", strings.Repeat("z", 20_000))
		o := ended(t, over)
		wantRerror(t, o.v.Rerror(), CodeConnClosed, "too much waits")
		wantRerror(t, c.Push("/note", strings.Repeat("z", 20_000)), CodeConnClosed, "too much waits")
		if o.took != 0 {
			t.Errorf("took %v; want the refusal at once", o.took)
		}
		wantRerror(t, c.Call("/echo", 1, nil).Rerror(), CodeWriteFailed) // cannot be encoded
		pass(time.Second)
		wantReply(t, ended(t, second).v, strings.Repeat("y", 20_000))
		wantRerror(t, (<-done).Rerror(), 0)
		if result != strings.Repeat("x", 20_000) {
			t.Errorf("reply has %d bytes; want what arg was when AsyncCall was called", len(result))
		}
	})
}

func TestRow23_CloseWhileRedialing(t *testing.T) {
	for _, test := range []struct {
		name string
		wait time.Duration // the first attempt is made after 50 to 150 ms, a dial takes 1 s
		end  func(*session) error
	}{
		{"Close in a pause", 0, (*session).Close},
		{"Close in a dial", 500 * time.Millisecond, (*session).Close},
		{"Close in a hook", 1500 * time.Millisecond, (*session).Close},
		{"Drain in a pause", 0, func(s *session) error { return s.Drain(context.Background()) }},
		{"Drain in a dial", 500 * time.Millisecond, func(s *session) error { return s.Drain(context.Background()) }},
		{"Drain in a hook", 1500 * time.Millisecond, func(s *session) error { return s.Drain(context.Background()) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, memnet.Latency(500*time.Millisecond))
				w.open(redials(-1))
				w.client.PluginContainer().AppendRight(&reHook{hook{"a", &w.log, func(moment string, s PreSession) *Rerror {
					if moment == "redial" {
						return s.PreReceive(nil).Rerror()
					}
					return nil
				}}})
				c, _ := w.pair()
				mem(c).Cut()
				synctest.Wait()
				ch := call(c, "/echo", "x")
				pass(test.wait)
				wantWaiting(t, ch)
				start := time.Now()
				if err := test.end(c); err != nil || time.Since(start) != 0 {
					t.Errorf("= %v after %v; want nil at once", err, time.Since(start))
				}
				wantRerror(t, ended(t, ch).v.Rerror(), CodeConnClosed, "closed by this side")
				wantState(t, c, closed)
				wantReason(t, c, SideLocal, "closed by this side")
				pass(time.Minute)
				if n := w.net.Conns(); n != 0 {
					t.Errorf("%d ends are open; want none", n)
				}
			})
		})
	}
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
		// The client serves: it is the one that has epochs.
		c, s := w.pair()
		ch := call(s, "/stuck", "old")
		mem(c).Cut()
		pass(time.Second)
		wantReady(t, c)
		wantRerror(t, ended(t, ch).v.Rerror(), CodeConnClosed)
		fresh := w.other(c)
		fresh.pending.SetNext(1) // the number of the lost call again
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
		if n := c.running.Load(); n != 0 {
			t.Errorf("%d handlers run; want none", n)
		}
	})
}
