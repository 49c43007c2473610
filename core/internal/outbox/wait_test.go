package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/bufpool"
)

func TestAdmissionOrder(t *testing.T) {
	for _, test := range []struct {
		name  string
		bound int
		sizes []int // of the frames, in turn
	}{
		{"a frame at a time", 600, []int{600}},
		{"many at a time", 2000, []int{100}},
		{"mixed", 1000, []int{900, 20, 20, 400}},
		{"over the bound", 1000, []int{50_000, 20, 2000}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := pair(t, "pipe")
				w := New(near, Config{Bound: test.bound})
				if err := put(w, nil, 0, 0, test.bound); err != nil {
					t.Fatal(err)
				}
				const frames = 40
				for i := 1; i < frames; i++ {
					go func() {
						if err := put(w, t.Context(), 0, i, test.sizes[i%len(test.sizes)]); err != nil {
							t.Error(err)
						}
						w.Flush(NoBlock)
					}()
					synctest.Wait()
				}
				if _, n := w.Queued(); n != test.bound {
					t.Errorf("%d bytes accepted, the bound is %d", n, test.bound)
				}
				for want := range frames {
					if _, n, err := readFrame(far); err != nil || n != want {
						t.Fatalf("frame %d, %v; want %d", n, err, want)
					}
				}
				synctest.Wait()
				idle(t, w)
			})
		})
	}
}

// New callers do not overtake waiting ones, even if they would fit.
func TestNewcomerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pair(t, "pipe")
		w := New(near, Config{Bound: 1000})
		for i, size := range []int{600, 600, 50} {
			go func() {
				w.Send(nil, appendFrame(bufpool.Get(size), 0, i, size))
				w.Flush(NoBlock)
			}()
			synctest.Wait()
		}
		if _, n := w.Queued(); n != 600 {
			t.Errorf("%d bytes accepted, want 600", n)
		}
		for want := range 3 {
			if _, n, err := readFrame(far); err != nil || n != want {
				t.Fatalf("frame %d, %v; want %d", n, err, want)
			}
		}
	})
}

func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pair(t, "pipe")
		w := New(near, Config{Bound: 1000})
		if err := put(w, nil, 0, 0, 1000); err != nil {
			t.Fatal(err)
		}
		cause := errors.New("a cause")
		cancelled, cancel := context.WithCancelCause(t.Context())
		expired, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		errs := make([]error, 4)
		var wg sync.WaitGroup
		for i, ctx := range []context.Context{cancelled, nil, expired, t.Context()} {
			wg.Go(func() {
				errs[i] = put(w, ctx, 0, i+1, 700)
				w.Flush(NoBlock)
			})
			synctest.Wait()
		}
		cancel(cause) // the first in the queue
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for _, want := range []int{0, 2, 4} {
			if _, n, err := readFrame(far); err != nil || n != want {
				t.Fatalf("frame %d, %v; want %d", n, err, want)
			}
		}
		wg.Wait()
		for i, want := range []error{context.Canceled, nil, context.DeadlineExceeded, nil} {
			if errs[i] != want {
				t.Errorf("waiter %d: %v, want %v", i, errs[i], want)
			}
		}
		synctest.Wait()
		idle(t, w)
	})
}

// If the first in the queue leaves, the next, which fits, must be woken.
func TestContextEndsInFront(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newGate()
		w := New(c, Config{Bound: 1000})
		w.SendNow(appendFrame(nil, 0, 0, 600))
		ctx, cancel := context.WithCancel(t.Context())
		var first, second error
		var wg sync.WaitGroup
		wg.Go(func() { _, first = w.Send(ctx, appendFrame(nil, 0, 1, 900)) })
		synctest.Wait()
		wg.Go(func() { _, second = w.Send(nil, appendFrame(nil, 0, 2, 300)) })
		synctest.Wait()
		cancel()
		wg.Wait() // nothing has been written
		if first != context.Canceled || second != nil {
			t.Errorf("Send = %v and %v, want %v and nil", first, second, context.Canceled)
		}
		c.fail(errors.New("end"))
	})
}

// A goroutine that commits without a Flush does not wait for itself.
func TestFullWithoutFlush(t *testing.T) {
	near, far := pair(t, "tcp")
	w := New(near, Config{Bound: 1000})
	go func() {
		for i := range 50 {
			if err := put(w, t.Context(), 0, i, 300); err != nil {
				t.Error(err)
			}
		}
		w.Flush(0)
	}()
	for want := range 50 {
		if _, n, err := readFrame(far); err != nil || n != want {
			t.Fatalf("frame %d, %v; want %d", n, err, want)
		}
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newGate()
		w := New(c, Config{Bound: 1000, Fail: func(err error) { t.Errorf("Fail(%v) after Close", err) }})
		for i := range 2 {
			if err := put(w, nil, 0, i, 500); err != nil {
				t.Fatal(err)
			}
		}
		w.Flush(NoBlock)
		synctest.Wait()
		c.pass(300)
		synctest.Wait()
		if msgs, n := w.Queued(); msgs != 2 || n != 1000 { // the write has not returned
			t.Errorf("Queued() = %d, %d; want 2, 1000", msgs, n)
		}
		w.SendNow(appendFrame(nil, 0, 0, 60_000)) // refused: not counted
		w.SendNow(appendFrame(nil, 0, 0, 100))
		errs := make(chan error, 10)
		for i := range 5 {
			go func() { errs <- put(w, t.Context(), 0, i, 400) }()
		}
		go func() { errs <- w.Wait(nil) }()
		synctest.Wait()

		reason := errors.New("reason")
		for range 2 {
			if lost := w.Close(reason); lost != 3 {
				t.Errorf("Close = %d, want 3", lost)
			}
		}
		w.Close(errors.New("another reason"))
		for range 6 {
			if err := <-errs; err != reason {
				t.Errorf("waiter: %v, want %v", err, reason)
			}
		}
		_, err := w.BeginNow()
		_, err2 := w.Begin(t.Context())
		_, err3 := w.Send(nil, nil)
		_, err4 := w.SendNow(appendFrame(nil, 0, 0, 100))
		for _, err := range []error{err, err2, err3, err4, w.Wait(nil)} {
			if err != reason {
				t.Errorf("after Close: %v, want %v", err, reason)
			}
		}
		if msgs, n := w.Queued(); msgs != 0 || n != 0 {
			t.Errorf("Queued() = %d, %d after Close", msgs, n)
		}
		joined := atomic.Bool{}
		go func() { w.Join(); joined.Store(true) }()
		synctest.Wait()
		if joined.Load() {
			t.Error("Join returned while a write was under way")
		}
		c.fail(errors.New("closed"))
		synctest.Wait()
		if !joined.Load() {
			t.Error("Join did not return")
		}
		idle(t, w)
	})
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newGate()
		w := New(c, Config{})
		if err := w.Wait(nil); err != nil {
			t.Errorf("Wait on an empty Writer = %v", err)
		}
		put(w, nil, 0, 1, 500)
		var first, second atomic.Value
		go func() { first.Store(fmt.Sprint(w.Wait(t.Context()))) }() // flushes by itself
		synctest.Wait()
		put(w, nil, 0, 2, 500)
		go func() { second.Store(fmt.Sprint(w.Wait(nil))) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Wait(ctx); err != context.DeadlineExceeded {
			t.Errorf("Wait = %v, want %v", err, context.DeadlineExceeded)
		}
		c.pass(500)
		synctest.Wait()
		if first.Load() != "<nil>" || second.Load() != nil {
			t.Errorf("first Wait %v, second %v after the first frame", first.Load(), second.Load())
		}
		c.open()
		synctest.Wait()
		if second.Load() != "<nil>" {
			t.Errorf("second Wait %v after the second frame", second.Load())
		}
		idle(t, w)
	})
}

// Many goroutines wait for little room, and some give up: all others are woken, and no frame is lost.
func TestNoLostWakeUp(t *testing.T) {
	for _, network := range []string{"tcp", "pipe"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			const senders, frames = 40, 150
			near, far := pair(t, network)
			w := New(near, Config{Bound: 1500})
			var sent atomic.Int64
			read := make(chan int64)
			go func() {
				n := int64(0)
				for {
					if _, _, err := readFrame(far); err != nil {
						read <- n
						return
					}
					n++
				}
			}()
			var wg sync.WaitGroup
			for s := range senders {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(s), 1))
					for n := range frames {
						ctx, cancel := t.Context(), context.CancelFunc(func() {})
						if s%2 == 0 {
							ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(300))*time.Microsecond)
						}
						var err error
						if s == 1 { // SendNow, which overtakes
							_, err = w.SendNow(appendFrame(bufpool.Get(100), s, n, 100))
						} else {
							err = put(w, ctx, s, n, frameHead+r.IntN(700))
						}
						cancel()
						switch {
						case err == nil:
							sent.Add(1)
						case s%2 != 0 && !errors.Is(err, ErrSlowReader):
							t.Errorf("sender %d: %v", s, err)
						}
						if r.IntN(3) > 0 {
							w.Flush(Mode(r.IntN(4)))
						}
					}
				})
			}
			wg.Wait()
			if err := w.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			idle(t, w)
			if w.waiting != nil && (w.waiting.room.first != nil || w.waiting.drained.first != nil) {
				t.Error("a waiter is left in a queue")
			}
			near.Close()
			if got := <-read; got != sent.Load() {
				t.Errorf("%d frames arrived, %d were accepted", got, sent.Load())
			}
		})
	}
}

// Of a frame that no write has begun with it is certain that it stays unwritten.
func TestUnwritten(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(w *Writer, c *gate)
	}{
		{"closed", func(w *Writer, c *gate) { w.Close(nil); c.fail(net.ErrClosed); w.Join() }},
		{"failed", func(w *Writer, c *gate) {
			c.fail(io.ErrClosedPipe)
			for {
				if _, err := w.TryBegin(); err != nil {
					return
				}
				w.Abort()
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newGate()
				w := New(c, Config{})
				c.pass(150)
				var at []uint64
				for i := range 2 { // of the second one, a part
					n, err := w.Send(nil, appendFrame(nil, 0, i, 100))
					if err != nil {
						t.Fatal(err)
					}
					at = append(at, n)
				}
				w.Flush(NoBlock)
				synctest.Wait() // the write has begun
				for i := range 2 {
					n, err := w.Send(nil, appendFrame(nil, 0, 2+i, 40_000*i+100))
					if err != nil {
						t.Fatal(err)
					}
					at = append(at, n)
				}
				b, err := w.Begin(nil)
				if err != nil {
					t.Fatal(err)
				}
				at = append(at, w.Commit(appendFrame(b, 0, 4, 100)))
				if w.Unwritten(at[4]) {
					t.Error("it may still be written")
				}
				test.end(w, c)
				for i, want := range []bool{false, false, true, true, true} {
					if got := w.Unwritten(at[i]); got != want {
						t.Errorf("frame %d at %d: certainly unwritten is %v; want %v", i, at[i], got, want)
					}
				}
			})
		})
	}
}

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pair(t, "pipe")
		w := New(near, Config{WriteTimeout: time.Second})
		before := w.Refused()
		if err := put(w, nil, 0, 0, 100); err != nil {
			t.Fatal(err)
		}
		w.Flush(NoBlock)
		if _, _, err := readFrame(far); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // a flush has ended, and nobody waits for the Writer
		if w.Refused() != before {
			t.Error("another channel after a flush")
		}
		select {
		case <-before:
			t.Error("closed, although the Writer is open")
		default:
		}
		w.Close(io.ErrClosedPipe)
		for name, ch := range map[string]<-chan struct{}{"before": before, "after": w.Refused()} {
			select {
			case <-ch:
			default:
				t.Errorf("the channel from %s Close is open", name)
			}
		}
		late := New(far, Config{})
		late.Close(nil)
		<-late.Refused()
	})
}

// The channel of Calm is closed when the last goroutine that waits for room has left.
func TestCalm(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(w *Writer, c *gate, cancel context.CancelFunc)
	}{
		{"there is room", func(_ *Writer, c *gate, _ context.CancelFunc) { c.open() }},
		{"its context ends", func(_ *Writer, _ *gate, cancel context.CancelFunc) { cancel() }},
		{"closed", func(w *Writer, _ *gate, _ context.CancelFunc) { w.Close(nil) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newGate()
				defer c.fail(net.ErrClosed)
				w := New(c, Config{Bound: 1000})
				w.SendNow(appendFrame(nil, 0, 0, 1000))
				calm := w.Calm()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				for i := range 2 {
					go put(w, ctx, 0, i, 700)
					synctest.Wait()
				}
				select {
				case <-calm:
					t.Error("calm, although two wait for room")
				default:
				}
				test.end(w, c, cancel)
				synctest.Wait()
				select {
				case <-calm:
				default:
					t.Error("not calm, although nobody waits any more")
				}
			})
		})
	}
}
