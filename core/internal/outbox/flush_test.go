package outbox

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestStall(t *testing.T) {
	const timeout = 30 * time.Second
	for _, test := range []struct {
		name    string
		network string // pipe, or gate with and without deadlines
		first   int    // bytes that the peer reads before it stops
		mode    Mode
		want    time.Duration // at most
	}{
		{"from the start", "pipe", 0, NoBlock, timeout},
		{"in the caller", "pipe", 0, 0, timeout},
		{"after a part", "pipe", 5000, NoBlock, 2 * timeout}, // a plain write shows its progress only at its end
		{"no deadlines", "gate", 0, NoBlock, timeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				failed := make(chan error, 2)
				var conn net.Conn
				if test.network == "pipe" {
					near, far := pair(t, "pipe")
					conn = near
					go io.CopyN(io.Discard, far, int64(test.first))
				} else {
					c := newGate()
					c.noLimit = true
					defer c.fail(net.ErrClosed)
					conn = c
				}
				w := New(conn, Config{Fail: func(err error) { failed <- err }})
				w.SendNow(appendFrame(nil, 0, 0, 20_000))
				go w.Flush(test.mode)
				err := <-failed
				took := time.Since(begin)
				if took < timeout || took > test.want {
					t.Errorf("stalled after %v, want %v to %v", took, timeout, test.want)
				}
				left := "20000 bytes"
				if test.first > 0 {
					left = "15000 bytes"
				}
				if !errors.Is(err, ErrStalled) || !strings.Contains(err.Error(), "30s") || !strings.Contains(err.Error(), left) {
					t.Errorf("Fail(%v), want ErrStalled with the time and %s", err, left)
				}
				if _, err2 := w.Begin(nil); err2 != err {
					t.Errorf("Begin = %v, want %v", err2, err)
				}
				if lost := w.Close(net.ErrClosed); lost != 1 {
					t.Errorf("Close = %d, want 1", lost)
				}
			})
		})
	}
}

// Only the time without progress counts, not the total time.
func TestSlowButSteady(t *testing.T) {
	for _, mode := range []Mode{0, NoBlock} {
		synctest.Test(t, func(t *testing.T) {
			near, far := pair(t, "pipe")
			w := New(near, Config{Fail: func(err error) { t.Errorf("Fail(%v)", err) }})
			want := appendFrame(nil, 0, 0, 100_000)
			w.SendNow(slices.Clone(want))
			go w.Flush(mode)
			var got []byte
			buf := make([]byte, 4000)
			for len(got) < len(want) {
				time.Sleep(29 * time.Second)
				n, err := far.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, buf[:n]...)
			}
			if !bytes.Equal(got, want) {
				t.Error("other bytes arrived")
			}
			synctest.Wait()
			idle(t, w)
		})
	}
}

func TestChunks(t *testing.T) {
	const k = 1 << 10
	for _, test := range []struct {
		name string
		took time.Duration // of each write
		size int
		want []int
	}{
		{"quick", 0, 1000 * k, []int{64 * k, 128 * k, 256 * k, 256 * k, 256 * k, 40 * k}},
		{"slow", 10 * time.Second, 132 * k, []int{64 * k, 32 * k, 16 * k, 8 * k, 4 * k, 4 * k, 4 * k}},
		{"neither", 4 * time.Second, 130 * k, []int{64 * k, 64 * k, 2 * k}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newGate()
				c.open()
				c.write = func([]byte) error { time.Sleep(test.took); return nil }
				w := New(c, Config{})
				w.SendNow(appendFrame(nil, 0, 0, test.size))
				w.Flush(0)
				if !slices.Equal(c.sizes, test.want) {
					t.Errorf("chunks %v, want %v", c.sizes, test.want)
				}
				if !c.deadline.IsZero() {
					t.Error("the write deadline was left")
				}
			})
		})
	}
}

func TestWriteError(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		name string
		err  error
		want error
	}{
		{"error", broken, broken},
		{"deadline", os.ErrDeadlineExceeded, ErrStalled},
		{"connection timed out", &net.OpError{Op: "write", Err: &os.SyscallError{Syscall: "write", Err: errTimedOut}}, errTimedOut},
	} {
		t.Run(test.name, func(t *testing.T) {
			var fails atomic.Int32
			c := newGate()
			c.fail(test.err)
			var w *Writer
			failed := make(chan error, 100)
			w = New(c, Config{Bound: 2000, Fail: func(err error) {
				fails.Add(1)
				w.Join() // no goroutine writes any more
				failed <- err
			}})
			var wg sync.WaitGroup
			for s := range 20 {
				wg.Go(func() {
					for n := range 20 {
						if put(w, t.Context(), s, n, 600) != nil {
							return
						}
						w.Flush(Mode(n % 4))
					}
					t.Error("a sender was not notified")
				})
			}
			err := <-failed
			wg.Wait()
			if !errors.Is(err, test.want) || fails.Load() != 1 {
				t.Errorf("Fail(%v), %d times; want %v, once", err, fails.Load(), test.want)
			}
			if _, got := w.BeginNow(); got != err {
				t.Errorf("BeginNow = %v, want %v", got, err)
			}
			if lost := w.Close(net.ErrClosed); lost == 0 {
				t.Error("Close = 0, want what was accepted")
			}
			if _, got := w.BeginNow(); got != net.ErrClosed {
				t.Errorf("BeginNow = %v after Close, want %v", got, net.ErrClosed)
			}
			idle(t, w)
		})
	}
}

// A Flush during another one returns at once, and its frame is written after.
func TestOthersReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newGate()
		w := New(c, Config{})
		put(w, nil, 0, 1, 100)
		var caller atomic.Bool
		go func() { w.Flush(0); caller.Store(true) }()
		synctest.Wait()
		put(w, nil, 0, 2, 200)
		w.Flush(0) // would wait for the gate
		put(w, nil, 0, 4, 300)
		w.Flush(NoBlock)
		c.pass(100)
		synctest.Wait()
		if !caller.Load() {
			t.Error("the first caller writes more than there was when it came")
		}
		c.open()
		synctest.Wait()
		if want := []int{100, 500}; !slices.Equal(c.sizes, want) {
			t.Errorf("writes of %v bytes, want %v", c.sizes, want)
		}
		idle(t, w)
	})
}

func TestFlushNothing(t *testing.T) {
	c := newGate()
	w := New(c, Config{})
	for mode := range Mode(4) {
		w.Flush(mode)
	}
	w.Close(nil)
	for mode := range Mode(4) {
		w.Flush(mode)
	}
	if len(c.sizes) != 0 {
		t.Errorf("writes of %v bytes, want none", c.sizes)
	}
	idle(t, w)
}

func TestLargeBuffersAreNotKept(t *testing.T) {
	c := newGate()
	c.open()
	w := New(c, Config{})
	for range 20 {
		w.SendNow(appendFrame(nil, 0, 0, copyBelow))
	}
	b, _ := w.Begin(nil)
	w.Commit(appendFrame(append(make([]byte, 0, 2<<20), b...), 0, 0, 600))
	w.mu.Lock()
	w.swap()
	for b := w.out.next(); len(b) > 0; b = w.out.next() {
		w.out.advance(len(b))
	}
	w.out.reset()
	if c := cap(w.out.tail); c > maxKept {
		t.Errorf("a buffer of %d bytes was kept", c)
	}
	if c := cap(w.out.segs); c > 8 {
		t.Errorf("a list of %d segments was kept", c)
	}
	w.mu.Unlock()
}

func TestShortWrite(t *testing.T) {
	for _, test := range []struct {
		name string
		n    int
		want string
	}{
		{"nothing", 0, io.ErrShortWrite.Error()},
		{"negative", -1, "wrote -1 of"},
		{"more than all", 1 << 20, "wrote 1048576 of"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var failed error
			w := New(liar{newGate(), test.n}, Config{Fail: func(err error) { failed = err }})
			w.SendNow(appendFrame(nil, 0, 0, 100))
			w.Flush(0)
			if failed == nil || !strings.Contains(failed.Error(), test.want) {
				t.Errorf("Fail(%v), want %s", failed, test.want)
			}
		})
	}
}

// liar claims to have written n bytes.
type liar struct {
	*gate
	n int
}

func (l liar) Write([]byte) (int, error) { return l.n, nil }
