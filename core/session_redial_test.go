package tp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
)

// redials is the configuration of a client that redials n times.
func redials(n int32) func(*PeerConfig) {
	return func(cfg *PeerConfig) { cfg.RedialTimes = n }
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
		{time.Second, 100, 20 * time.Second},
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

// A call waits for longer than any pause between two attempts, so it does not fail while
// the server can be reached.
func TestCallSeesAnAttempt(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		c, _ := w.pair()
		for i := range 50 {
			w.net.Refuse(w.addr, -1)
			mem(c).Cut()
			pass(5*time.Minute + time.Duration(i)*time.Second)
			w.net.Refuse(w.addr, 0)
			wantReply(t, c.Call("/echo", "after", new(string)), "after")
		}
	})
}

func TestRow18_HooksOnTheNewConnection(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		w.client.PluginContainer().AppendRight(&connHook{"a", &w.log, nil}, &reHook{connHook{"b", &w.log, func(moment string, ps PreSession) *Rerror {
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
				r := ps.RawPush("/note", "from the hook")
				synctest.Wait() // until the note is handled: handlers run concurrently
				return r
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
				if id := c.ID(); now == before || custom && id != "mine" || !custom && id != before {
					t.Errorf("id %q, address %s before and %s now; want the id it had", id, before, now)
				}
				if got, _ := w.client.GetSession(c.ID()); got != Session(c) {
					t.Errorf("GetSession(%q) = %v; want the session", c.ID(), got)
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

// A kept id may be the address of another session by now.
func TestRow19_DefaultIDNeverTakesOver(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		c := w.dial()
		mem(c).Cut()
		pass(time.Second)
		wantReady(t, c)
		c.SetID("mem:client:3") // as if it had been dialled from there
		next := w.dial()
		wantReady(t, c)
		wantReady(t, next)
		if got := next.LocalAddr().String(); got != c.ID() || !strings.HasPrefix(next.ID(), got+"#") {
			t.Errorf("ids %q and, from %s, %q; want one behind %s#", c.ID(), got, next.ID(), got)
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
				w.client.PluginContainer().AppendRight(&connHook{"a", &w.log, nil}, &reHook{connHook{"b", &w.log, func(moment string, _ PreSession) *Rerror {
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
		w.client.PluginContainer().AppendRight(&connHook{"a", &w.log, nil})
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
			{CodeHandleTimeout, time.Minute},   // longer: the caller has set it
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
				t.Errorf("Queued = %d, %d; want 0, 0: no call waits any more", n, b)
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
		wantRerror(t, o.v.Rerror(), CodeConnClosed, "too many messages are queued")
		wantRerror(t, c.Push("/note", strings.Repeat("z", 20_000)), CodeConnClosed, "too many messages are queued")
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
				w.client.PluginContainer().AppendRight(&reHook{connHook{"a", &w.log, func(moment string, s PreSession) *Rerror {
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
