package tp

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// rawServer is a listener of the test's.
func rawServer(t testing.TB, w *world) (addr string, accept func() *rawEnd) {
	t.Helper()
	lis, err := w.net.Listen("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lis.Close() })
	return lis.Addr().String(), func() *rawEnd {
		t.Helper()
		conn, err := lis.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return newRawEnd(t, conn)
	}
}

// bye sends a farewell, and closes the sending half of the connection.
func (e *rawEnd) bye(meta ...string) {
	e.t.Helper()
	var set []MessageSetting
	for i := 0; i < len(meta); i += 2 {
		set = append(set, WithAddMeta(meta[i], meta[i+1]))
	}
	e.send(TypeControl, 0, "bye", "", set...)
	if err := e.conn.(*memnet.Conn).CloseWrite(); err != nil {
		e.t.Fatal(err)
	}
}

func wantNotRun(t testing.TB, r *Rerror, want bool) {
	t.Helper()
	if got := errors.Is(r.Err(), ErrNotRun); got != want {
		t.Errorf("%s: certainly not run is %v; want %v", r, got, want)
	}
}

func TestNumbersAboveTheFarewells(t *testing.T) {
	for _, test := range []struct {
		a, b int32
		want bool
	}{
		{1, 0, true}, {math.MaxInt32, 0, true}, {2, 1, true}, {1, 1, false}, {1, 2, false},
		{1, math.MaxInt32, true}, {100, math.MaxInt32 - 100, true}, {math.MaxInt32, 1, false},
	} {
		if got := above(test.a, test.b); got != test.want {
			t.Errorf("above(%d, %d) = %v; want %v", test.a, test.b, got, test.want)
		}
	}
}

// Calls that the peer has not run are made again on the next connection, the others fail.
func TestFarewellDividesCalls(t *testing.T) {
	for _, test := range []struct {
		name  string
		meta  []string
		again []bool // the calls 1 and 2
	}{
		{"all answered", []string{"n", "0"}, []bool{true, true}},
		{"the first was taken", []string{"n", "1"}, []bool{false, true}},
		{"both were taken", []string{"n", "2"}, []bool{false, false}},
		{"no number", nil, []bool{false, false}},
		{"no number at all", []string{"n", "-5x"}, []bool{false, false}},
		{"and with an error", []string{"n", "1", "code", "1234", "message", "full"}, []bool{false, true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, redials(-1), func(t *testing.T, w *world) {
				addr, accept := rawServer(t, w)
				c, r := w.client.Dial(addr)
				if r != nil {
					t.Fatal(r)
				}
				end := accept()
				args := []string{"one", "two"}
				calls := []<-chan outcome[CallCmd]{call(c, "/x", args[0]), call(c, "/x", args[1])}
				end.receive()
				end.receive()
				end.bye(test.meta...)
				pass(time.Second)
				next := accept()
				var want, got []string
				for i, again := range test.again {
					if !again {
						r := ended(t, calls[i]).v.Rerror()
						wantRerror(t, r, CodeConnClosed, "closed by peer")
						wantNotRun(t, r, false)
						continue
					}
					want = append(want, args[i])
					m := next.receive() // in any order
					got = append(got, string(m.RawBody()))
					next.send(TypeReply, m.Seq(), "", "done")
				}
				for i, again := range test.again {
					if again {
						wantReply(t, ended(t, calls[i]).v, "done")
					}
				}
				if slices.Sort(got); !slices.Equal(got, want) {
					t.Errorf("the next connection gets %q; want %q", got, want)
				}
				next.silent()
			})
		})
	}
}

// Hooks that have seen the number of a call, to sign it for example, see no other one.
func TestCallsAgainWithTheSameNumber(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		hook := &PluginImpl{PluginName: "seal", OnPreWriteCall: func(c WriteCtx) *Rerror {
			w.log.add("%d", c.Output().Seq())
			return nil
		}}
		w.client.PluginContainer().AppendLeft(hook)
		addr, accept := rawServer(t, w)
		c, r := w.client.Dial(addr)
		if r != nil {
			t.Fatal(r)
		}
		end := accept()
		ch := call(c, "/x", "y")
		first := end.receive().Seq()
		end.bye("n", "0")
		pass(time.Second)
		next := accept()
		if m := next.receive(); m.Seq() != first {
			t.Errorf("number %d at first, then %d; want the same", first, m.Seq())
		}
		next.send(TypeReply, first, "", "done")
		wantReply(t, ended(t, ch).v, "done")
		w.log.want(t, "1")
	})
}

// Calls of a session that redials wait while its server drains, and then go to the next.
func TestCallsGoOnElsewhere(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		c, s := w.pair()
		block := call(c, "/block", "x")
		begin(func() error { return s.Drain(t.Context()) })
		again := call(c, "/echo", "y")
		arg := "z"
		async := c.AsyncCall("/echo", &arg, new(string), nil)
		arg = "changed"
		pass(time.Second)
		wantWaiting(t, again)
		w.release()
		wantReply(t, ended(t, block).v, "x")
		pass(time.Second)
		wantReply(t, ended(t, again).v, "y")
		wantReply(t, async, "z")
		wantReady(t, c)
	})
}

func TestCloseWith(t *testing.T) {
	for _, test := range []struct {
		name  string
		rerr  *Rerror
		again bool
		code  int32
		words []string
	}{
		{"nil", nil, true, CodeUnknownError, []string{"closed by peer"}},
		{"401", NewRerror(401, "who are you", ""), false, 401, []string{"closed by peer", "401 who are you"}},
		{"403", NewRerror(403, "no", "locked"), false, 403, []string{"403 no: locked"}},
		{"409", NewRerror(409, "", ""), false, 409, []string{"409 Conflict"}},
		{"an application's", NewRerror(1234, "moved", "to another shard"), true, 1234, []string{"1234 moved: to another shard"}},
	} {
		for _, times := range []int32{0, -1} {
			t.Run(test.name, func(t *testing.T) {
				inWorld(t, redials(times), func(t *testing.T, w *world) {
					w.client.PluginContainer().AppendLeft(&connHook{"c", &w.log, nil})
					c, s := w.pair()
					ch := call(c, "/stuck", "x")
					w.log.want(t, "c dial", "stuck x")
					if err := s.CloseWith(test.rerr); err != nil {
						t.Errorf("CloseWith: %v", err)
					}
					pass(10 * time.Second)
					r := ended(t, ch).v.Rerror()
					wantRerror(t, r, CodeConnClosed, test.words...)
					wantNotRun(t, r, false)
					if test.rerr != nil && !errors.Is(r.Err(), test.rerr.Err()) {
						t.Errorf("the call's error %s is not %s", r, test.rerr)
					}
					if times != 0 && test.again {
						wantReady(t, c)
						w.log.want(t, "c dial")
					} else {
						wantState(t, c, closed)
						wantReason(t, c, SideRemote, test.words[0])
						if got := Code(c.CloseReason()); got != test.code {
							t.Errorf("the code of CloseReason is %d; want %d", got, test.code)
						}
					}
					w.release()
				})
			})
		}
	}
}

// Two sessions of one user: the later one stays, the earlier one gets 409, and stays away.
func TestTwoLoginsOfOneUser(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		var logins atomic.Int32
		w.server.PluginContainer().AppendLeft(&PluginImpl{PluginName: "login", OnPostAccept: func(s PreSession) *Rerror {
			logins.Add(1)
			s.SetID("ann")
			return nil
		}})
		first := w.dial()
		synctest.Wait()
		second := w.dial()
		pass(time.Minute)
		wantState(t, first, closed)
		wantReason(t, first, SideRemote, "409 Conflict")
		wantReady(t, second)
		if n := logins.Load(); n != 2 {
			t.Errorf("%d logins; want 2", n)
		}
	})
}

// Where the peer cannot say so, the pauses grow while sessions end soon after they began.
func TestPausesGrowWhileSessionsEndSoon(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		var tries []time.Time
		w.client.PluginContainer().AppendLeft(&preDial{func() { tries = append(tries, time.Now()) }})
		addr, accept := rawServer(t, w)
		c, r := w.client.Dial(addr)
		if r != nil {
			t.Fatal(r)
		}
		go func() {
			for range 8 {
				accept().conn.Close()
			}
		}()
		pass(2 * time.Minute)
		if len(tries) != 9 {
			t.Fatalf("%d attempts; want 9", len(tries))
		}
		for n, at := range tries[1:] {
			want := 100 * time.Millisecond << n
			if got := at.Sub(tries[n]); got < want/2 || got > want*3/2 {
				t.Errorf("pause %d was %v; want %v ± 50%%", n, got, want)
			}
		}
		wantReady(t, c.(*session))
	})
}

// What comes over the wire is not believed further than it goes.
func TestControlMessages(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server)
		end.send(TypeControl, 7, "dance", "x")
		end.send(TypeControl, 0, "bye", "", WithAddMeta("n", "99999999999"), WithAddMeta("code", "x"))
		end.send(TypeCall, 1, "/echo", "after")
		if m := end.receive(); m.Seq() != 1 || string(m.RawBody()) != "after" {
			t.Errorf("received %s of seq %d; want the reply of 1", TypeText(m.Mtype()), m.Seq())
		}
		wantReady(t, s)
		end.silent()
	})
}

// Over a protocol that does not show what the peer is there is a farewell if the peer has said
// hello.
func TestFarewellBehindAHello(t *testing.T) {
	for _, hello := range []bool{true, false} {
		t.Run(fmt.Sprint(hello), func(t *testing.T) {
			inWorld(t, func(cfg *PeerConfig) { cfg.Protocol = testwire.NewPlain }, func(t *testing.T, w *world) {
				s, end := w.serveRaw(w.server)
				if hello {
					end.send(TypeControl, 0, "hello", "", WithAddMeta("v", "1"))
				}
				closed := begin(s.Close)
				pass(time.Second)
				if hello {
					if m := end.want(TypeControl, 0, "bye"); m.Meta().String() != "n=0" {
						t.Errorf("the farewell has %s; want n=0", m.Meta())
					}
				}
				if m, err := end.read(); err != io.EOF {
					t.Errorf("received %v, %v; want the end", m, err)
				}
				ended(t, closed)
			})
		})
	}
}

// A session that is cut off names the last call it has taken, if it has refused one since.
func TestFarewellOfASessionCutOff(t *testing.T) {
	for _, test := range []struct {
		name    string
		refused bool
		want    string
	}{{"none refused", false, "code=409&message=Conflict&reason=why"}, {"one refused", true, "n=8&code=409&message=Conflict&reason=why"}} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				s, end := w.serveRaw(w.server)
				end.send(TypeCall, 8, "/stuck", "x")
				end.send(TypeCall, 3, "/stuck", "y")
				s.CloseWith(NewRerror(CodeConflict, "Conflict", "why"))
				if test.refused {
					end.send(TypeCall, 9, "/echo", "x")
					wantRerror(t, end.receive().Rerror(), CodeConnClosed, "draining")
				}
				pass(5 * time.Second)
				if m := end.receive(); m.Mtype() != TypeControl || m.ServiceMethod() != "bye" || m.Meta().String() != test.want {
					t.Errorf("received %s %q, %s; want a farewell with %s", TypeText(m.Mtype()), m.ServiceMethod(), m.Meta(), test.want)
				}
				w.release()
			})
		})
	}
}

// Hooks of a connection do not see CONTROL messages, as that of a server which closes just
// when it has accepted the connection.
func TestHooksSeeNoControl(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		addr, accept := rawServer(t, w)
		w.client.PluginContainer().AppendLeft(&connHook{"c", &w.log, func(_ string, s PreSession) *Rerror {
			m, r := s.Receive(nil)
			w.log.add("%s %s", TypeText(m.Mtype()), m.ServiceMethod())
			if r == nil {
				_, r = s.Receive(nil)
			}
			return r
		}})
		ch := begin(func() *Rerror { _, r := w.client.Dial(addr); return r })
		end := accept()
		end.send(TypeControl, 0, "bye", "", WithAddMeta("n", "0"))
		end.send(TypePush, 1, "/note", "x")
		end.bye("n", "0")
		wantRerror(t, ended(t, ch).v, CodeConnClosed)
		w.log.want(t, "c dial", "PUSH /note")
	})
}

// The ends of a peer's sessions are spread over the first half of the time that there is.
func TestDrainPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			within time.Duration
			n      int
			want   time.Duration
		}{
			{5 * time.Second, 1, slowestDrain},
			{5 * time.Second, 10_000, slowestDrain},
			{5 * time.Second, 100_000, 25 * time.Microsecond},
			{0, 100, 0},
			{-1, 100, slowestDrain},
			{5 * time.Second, 0, slowestDrain},
		} {
			ctx, cancel := withTimeout(t.Context(), test.within)
			if got := drainPace(ctx, test.n); got != test.want {
				t.Errorf("%d sessions within %v: %v; want %v", test.n, test.within, got, test.want)
			}
			cancel()
		}
	})
}

func TestSessionsOfAPeerEndOneByOne(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		for range 20 {
			w.dial()
		}
		synctest.Wait()
		if o := <-begin(w.server.Close); o.v != nil || o.took > time.Millisecond {
			t.Errorf("Close with 20 sessions: %v after %v; want nil at once", o.v, o.took)
		}
	})
	inWorld(t, nil, func(t *testing.T, w *world) {
		const n = 200
		for range n {
			w.dial()
		}
		synctest.Wait()
		o := <-begin(w.server.Close)
		if least := n*slowestDrain - 2*maxAhead; o.v != nil || o.took < least || o.took > time.Second {
			t.Errorf("Close with %d sessions: %v after %v; want nil after %v or a little more", n, o.v, o.took, least)
		}
	})
}

// Sessions whose age ends, again and again, cost no call: each runs once.
func TestAgesCostNoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memnet.Latency(3*time.Millisecond))
		w.open(func(cfg *PeerConfig) {
			cfg.RedialTimes, cfg.RedialInterval, cfg.DefaultSessionAge = -1, 10*time.Millisecond, 0
		})
		w.server.Adjust(func(l *Live) { l.DefaultSessionAge = 500 * time.Millisecond })
		var mu sync.Mutex
		ran := make(map[string]int)
		HandleCall(w.server, "/count", func(_ CallCtx, arg *string) (string, error) {
			mu.Lock()
			ran[*arg]++
			mu.Unlock()
			time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
			return *arg, nil
		})
		const callers, calls = 8, 300
		var wg sync.WaitGroup
		for i := range 2 {
			c := w.dial()
			for k := range callers {
				wg.Go(func() {
					for n := range calls {
						arg := fmt.Sprint(i, k, n)
						wantReply(t, c.Call("/count", arg, new(string)), arg)
						time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
					}
				})
			}
		}
		wg.Wait()
		for arg, n := range ran {
			if n != 1 {
				t.Errorf("call %s has run %d times", arg, n)
			}
		}
		if len(ran) != 2*callers*calls {
			t.Errorf("%d calls have run; want %d", len(ran), 2*callers*calls)
		}
		for _, s := range w.client.env.hub.all() {
			if s.currentLink().epoch < 3 {
				t.Errorf("a session has had %d connections; want some", s.currentLink().epoch)
			}
		}
	})
}
