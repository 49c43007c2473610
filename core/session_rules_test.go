package tp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/socket"
)

// The tests of this file and of session_caps_test.go are named after the rules of the
// session's states.

// Contexts end around the time of the reply: in real time, so that the race detector
// sees concurrent accesses.
func TestRuleOneWinner(t *testing.T) {
	w := newWorld(t)
	w.open(nil)
	var begun sync.Map // by the number of a call: a channel that says that its handler has begun
	HandleCall(w.server, "/begin", func(c CallCtx, arg *string) (string, error) {
		ch, _ := begun.Load(string(c.PeekMeta("n")))
		close(ch.(chan struct{}))
		return *arg, nil
	})
	c := w.dial()
	small, large := "small", strings.Repeat("large", 20_000) // 100 KB: decoded by the caller
	var wg sync.WaitGroup
	var mu sync.Mutex
	ends := map[bool]int{}
	for i := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 0))
			var delays [6]int // grow when the context has won, and shrink when the reply has
			for n := range 60 {
				delay := &delays[n%6]
				body := small
				if n%3 == 0 {
					body = large
				}
				ctx, cancel := context.WithCancel(t.Context())
				yields, ch := rng.IntN(*delay+2), make(chan struct{})
				id := fmt.Sprint(i, ":", n)
				begun.Store(id, ch)
				go func() {
					<-ch
					for range yields {
						runtime.Gosched()
					}
					cancel()
				}()
				result := "untouched"
				var cmd CallCmd
				if n%2 == 0 {
					cmd = c.Call("/begin", body, &result, WithContext(ctx), WithSetMeta("n", id))
				} else {
					ch := make(chan CallCmd, 1)
					c.AsyncCall("/begin", body, &result, ch, WithContext(ctx), WithSetMeta("n", id))
					cmd = <-ch
				}
				r := cmd.Rerror()
				switch { // reading result races with a late write
				case r == nil && result != body:
					t.Errorf("result has %d bytes; want %d", len(result), len(body))
				case r != nil && (r.Code != CodeCanceled || result != "untouched"):
					t.Errorf("ended with %s, result has %d bytes; want 499 and it untouched", r, len(result))
				}
				result = "mine"
				if r == nil {
					*delay /= 2
				} else {
					*delay = min(2**delay+1, 1<<14)
				}
				mu.Lock()
				ends[r == nil]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if n := c.pending.Len(); n != 0 {
		t.Errorf("%d calls are pending", n)
	}
	if ends[true] == 0 || ends[false] == 0 {
		t.Errorf("the reply won %d times, the context %d times; want both", ends[true], ends[false])
	}
}

func TestRuleEpochsSequenceContinues(t *testing.T) {
	inWorld(t, redials(-1), func(t *testing.T, w *world) {
		c, _ := w.pair()
		var last int32
		for range 3 {
			cmd := c.Call("/echo", "x", new(string))
			if seq := cmd.Output().Seq(); seq <= last {
				t.Errorf("seq %d after %d; want it to go on", seq, last)
			} else {
				last = seq
			}
			mem(c).Cut()
			pass(time.Second)
		}
	})
}

func TestRuleEpochsHandlersContextHasTheReason(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		var kept, late context.Context
		HandleCall(w.server, "/keep", func(c CallCtx, _ *string) (string, error) {
			kept = c.Context() // before the break
			<-w.gate
			return "", nil
		})
		HandleCall(w.server, "/late", func(c CallCtx, _ *string) (string, error) {
			<-w.gate
			late = c.Context() // made after it
			return "", nil
		})
		c, s := w.pair()
		call(c, "/keep", "")
		call(c, "/late", "")
		if kept.Err() != nil {
			t.Error("the context has ended early")
		}
		mem(c).Cut()
		synctest.Wait()
		w.release()
		synctest.Wait()
		for name, ctx := range map[string]context.Context{"kept": kept, "late": late} {
			if cause := context.Cause(ctx); cause != error(s.CloseReason()) {
				t.Errorf("%s: cause %v; want the close reason %v", name, cause, s.CloseReason())
			}
		}
	})
}

func TestRuleSequenceNumbersLateReplyIsDropped(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		s, end := w.serveRaw(w.server)
		result := "untouched"
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantRerror(t, s.Call("/x", "y", &result, WithContext(ctx)).Rerror(), CodeHandleTimeout)
		old := end.receive().Seq()

		for range 100_000 {
			s.pending.Next() // as if so many messages had been sent
		}
		var waiting []<-chan outcome[CallCmd]
		for range 50 {
			waiting = append(waiting, call(s, "/x", "y"))
		}
		var seqs []int32
		for range waiting {
			m := end.receive()
			seqs = append(seqs, m.Seq())
			if m.Seq() == old {
				t.Errorf("seq %d was given twice", old)
			}
		}
		end.send(TypeReply, old, "", "late")
		for _, ch := range waiting {
			wantWaiting(t, ch)
		}
		for i, seq := range seqs {
			end.send(TypeReply, seq, "", fmt.Sprint(i))
		}
		for _, ch := range waiting {
			wantRerror(t, ended(t, ch).v.Rerror(), 0)
		}
		if result != "untouched" {
			t.Errorf("result is %q; want it untouched", result)
		}
		s.pending.SetNext(1<<31 - 1)
		for _, want := range []int32{1<<31 - 1, 1, 2} {
			ch := call(s, "/x", "y")
			if got := end.receive().Seq(); got != want {
				t.Errorf("seq %d; want %d", got, want)
			}
			end.send(TypeReply, want, "", "")
			ended(t, ch)
		}
	})
}

func TestRuleAdmission(t *testing.T) {
	for _, test := range []struct {
		name string
		code int32
		def  time.Duration
		set  func(ctx context.Context) (context.Context, context.CancelFunc)
	}{
		{"deadline", CodeHandleTimeout, 0, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		}},
		{"cancel", CodeCanceled, 0, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		}},
		{"DefaultCallTimeout", CodeHandleTimeout, time.Second, context.WithCancel},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(cfg *PeerConfig) {
				cfg.WriteBound, cfg.DefaultCallTimeout = 10_000, test.def
			}, func(t *testing.T, w *world) {
				c, _ := w.pair()
				mem(c).Freeze()
				full := strings.Repeat("x", 9000)
				for range 9 { // the network takes 64 KiB, the batch the rest
					if r := c.Push("/note", full, WithContext(t.Context())); r != nil {
						t.Fatal(r)
					}
				}
				ctx, cancel := test.set(t.Context())
				defer cancel()
				var chs []<-chan outcome[*Rerror]
				chs = append(chs,
					begin(func() *Rerror { return c.Call("/block", full, new(string), WithContext(ctx)).Rerror() }),
					begin(func() *Rerror {
						_, r := c.AsyncCall("/block", full, new(string), nil, WithContext(ctx)).Reply()
						return r
					}))
				if test.def == 0 {
					chs = append(chs, begin(func() *Rerror { return c.Push("/note", full+"never", WithContext(ctx)) }))
				}
				for _, ch := range chs {
					wantWaiting(t, ch)
				}
				pass(time.Second + 10*time.Millisecond)
				for _, ch := range chs {
					o := ended(t, ch)
					wantRerror(t, o.v, test.code)
					if o.took < time.Second || o.took > time.Second+10*time.Millisecond {
						t.Errorf("took %v; want 1s", o.took)
					}
				}
				mem(c).Thaw()
				synctest.Wait()
				if n := w.log.len(); n != 9 {
					t.Errorf("%d messages arrived; want the 9 that were accepted", n)
				}
				wantReply(t, c.Call("/echo", "still whole", new(string)), "still whole")
			})
		})
	}
}

func TestRuleFlushingNoDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which reports a deadlock at once
		w := newWorld(t, memnet.Buffer(4<<10))
		w.open(func(cfg *PeerConfig) { cfg.WriteBound = 64 << 10 })
		c, s := w.pair()
		var wg sync.WaitGroup
		body := strings.Repeat("x", 256<<10)
		for i := range 1000 {
			from := [2]*session{c, s}[i%2]
			wg.Go(func() {
				want := body[:len(body)>>(i%5)]
				wantReply(t, from.Call("/echo", want, new(string)), want)
			})
		}
		wg.Wait()
		wantReady(t, c)
		wantReady(t, s)
	})
}

func TestRuleFlushingOneThatDoesNotReadHarmsNobody(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.WriteTimeout, cfg.WriteBound = 10*time.Second, 100_000 }, func(t *testing.T, w *world) {
		frozen, other := w.pair()
		var rest []*session
		for range 1000 {
			rest = append(rest, w.dial())
		}
		mem(frozen).Freeze()
		var stuck []<-chan outcome[*Rerror]
		for range 30 {
			stuck = append(stuck, begin(func() *Rerror { return other.Push("/note", strings.Repeat("x", 9999)) }))
		}
		start := time.Now()
		for _, s := range rest {
			wantReply(t, s.Call("/echo", "quick", new(string)), "quick")
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("the others' calls took %v; want no time", took)
		}
		pass(20 * time.Second)
		wantState(t, other, closed)
		wantReason(t, other, SideNetwork, "stalled")
		failed := 0
		for _, ch := range stuck {
			if r := ended(t, ch).v; r != nil {
				wantRerror(t, r, CodeConnClosed, "stalled", "10s")
				failed++
			}
		}
		if failed == 0 {
			t.Error("no Push had to wait")
		}
		for _, s := range rest {
			wantReady(t, s)
		}
		mem(frozen).Thaw()
	})
}

func TestRuleCloseInAHandler(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(Session) error
	}{
		{"Close", Session.Close},
		{"Close twice", func(s Session) error { return errors.Join(s.Close(), s.Close()) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				HandleCall(w.server, "/bye", func(c CallCtx, _ *string) (string, error) {
					start := time.Now()
					if err := test.end(c.Session().(Session)); err != nil || time.Since(start) != 0 {
						t.Errorf("= %v after %v; want nil at once", err, time.Since(start))
					}
					return "bye", nil
				})
				c, s := w.pair()
				wantReply(t, c.Call("/bye", "", new(string)), "bye")
				wantState(t, s, closed)
				wantState(t, c, closed)
			})
		})
	}
}

func TestRuleDrainInAHandlerEnds(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		HandleCall(w.server, "/drain", func(c CallCtx, _ *string) (string, error) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if err := c.Session().(Session).Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Drain that waits for itself = %v; want the context's error", err)
			}
			return "", nil
		})
		c, s := w.pair()
		wantRerror(t, c.Call("/drain", "", new(string)).Rerror(), CodeConnClosed)
		wantState(t, s, closed)
	})
}

func TestRulePeerClose(t *testing.T) {
	for _, test := range []struct {
		name string
		fits bool // do the handlers end in time?
	}{{"handlers end", true}, {"handlers do not end", false}} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				w.server.PluginContainer().AppendRight(&connHook{"s", new(journal), nil})
				var chs []<-chan outcome[CallCmd]
				var all []*session
				for range 5 {
					c, s := w.pair()
					all = append(all, s)
					chs = append(chs, call(c, "/block", "x"))
				}
				closing := begin(w.server.Close)
				again := begin(w.server.Close)
				if o := ended(t, again); o.v != nil {
					t.Errorf("a second Close = %v; want nil", o.v)
				}
				if _, r := w.client.Dial(w.addr); r == nil || r.Code != CodeDialFailed {
					t.Errorf("Dial = %s; want 105, no listener", r)
				}
				want := 5 * time.Second
				if test.fits {
					want = time.Second
					time.AfterFunc(want, w.release)
				}
				pass(want)
				o := ended(t, closing)
				if o.took != want || (o.v == nil) != test.fits {
					t.Errorf("Close = %v after %v; want to wait %v for the handlers", o.v, o.took, want)
				}
				for i, ch := range chs {
					r := ended(t, ch).v.Rerror()
					if (r == nil) != test.fits {
						t.Errorf("call %d ended with %v", i, r)
					}
					wantState(t, all[i], closed)
				}
				if s := w.server.ServeConn(deadConn()); s != nil {
					t.Error("a closed peer serves a connection")
				}
			})
		})
	}
}

type postListen struct{ f func() }

func (*postListen) Name() string                { return "postlisten" }
func (p *postListen) PostListen(net.Addr) error { p.f(); return nil }

func TestRulePeerCloseInAHookEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var p *peer
		p = w.peer(nil, &postListen{func() { p.Close() }})
		start := time.Now()
		err := p.ListenAndServe()
		if took := time.Since(start); err != ErrListenClosed || took > 5*time.Second {
			t.Errorf("ListenAndServe = %v after %v; want ErrListenClosed within CloseTimeout", err, took)
		}
	})
}

func deadConn() net.Conn {
	a, b := memnet.Pipe()
	b.Close()
	return a
}

func TestRuleCodesCauseIsLocal(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, _ := w.pair()
		mine := errors.New("mine")
		ctx, cancel := context.WithCancelCause(t.Context())
		ch := call(c, "/block", "x", WithContext(ctx))
		cancel(mine)
		r := ended(t, ch).v.Rerror()
		wantRerror(t, r, CodeCanceled, "mine")
		if !errors.Is(r.Err(), mine) || !errors.Is(r.Err(), ErrCanceled) {
			t.Errorf("%s does not wrap the cause", r)
		}
		s, end := w.serveRaw(w.server)
		ch = call(s, "/x", "y")
		m := end.receive()
		end.send(TypeReply, m.Seq(), "", "", socket.WithRerror(NewRerror(CodeCanceled, "x", "y").WithCause(mine)))
		if r := ended(t, ch).v.Rerror(); r.Cause() != nil {
			t.Errorf("cause %v came from the wire", r.Cause())
		}
	})
}
