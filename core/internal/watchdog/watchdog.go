// Package watchdog watches handlers that run on the goroutine that reads their
// connection. If a handler does not return, the watchdog lets another goroutine read.
package watchdog

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Period is the time between two checks.
	Period = 2 * time.Millisecond
	// Checks is how many checks in a row must see the same handler: a busy system
	// takes the processor away from any goroutine for a few milliseconds.
	Checks = 4
	// IdleChecks is after how many checks without a handler the watchdog sleeps.
	IdleChecks = 20
)

// Reader is a *T that runs handlers.
type Reader[T any] interface {
	*T
	// Handler returns a number that identifies the run of a handler, 0 if none runs.
	// No number is used twice.
	Handler() uint64
	// Steal lets another goroutine read, unless the handler has returned. It does not
	// block.
	Steal(handler uint64)
}

// Watchdog watches the Readers that have a slot. It has a goroutine while it is awake,
// which is only while handlers run. All methods may be called concurrently.
type Watchdog[T any, R Reader[T]] struct {
	awake atomic.Bool
	used  atomic.Bool // Use was called since the last check
	slots []Slot[T]

	mu      sync.Mutex // guards the fields below
	closing chan struct{}
	closed  bool
	wg      sync.WaitGroup
}

// Slot holds the Reader that the watchdog watches in it.
type Slot[T any] struct {
	reader atomic.Pointer[T]

	// What the watchdog saw last: which handler of which reader, in how many checks.
	seen    *T
	handler uint64
	checks  int

	_ [32]byte // slots share no cache line
}

// Init makes the zero value ready for use. idle says that no handler needs to be watched,
// since each loses the reading at once: then the watchdog counts as awake, without a
// goroutine.
func (w *Watchdog[T, R]) Init(idle bool) {
	w.slots = make([]Slot[T], min(16*runtime.GOMAXPROCS(0), 256))
	w.closing = make(chan struct{})
	w.awake.Store(idle)
}

// Awake reports whether readers that have a slot may run handlers.
func (w *Watchdog[T, R]) Awake() bool { return w.awake.Load() }

// Acquire returns a slot for r. It is nil if the watchdog sleeps, or if another Reader
// has the slot of the number n.
func (w *Watchdog[T, R]) Acquire(n uint32, r R) *Slot[T] {
	if !w.awake.Load() {
		return nil
	}
	s := &w.slots[n%uint32(len(w.slots))]
	if !s.reader.CompareAndSwap(nil, r) {
		return nil
	}
	if !w.awake.Load() { // it has gone to sleep, perhaps before it could see r
		s.Release()
		return nil
	}
	w.Use()
	return s
}

// Use must be called before a handler runs in a slot. It keeps the watchdog awake.
func (w *Watchdog[T, R]) Use() {
	if !w.used.Load() {
		w.used.Store(true)
	}
}

// Release frees the slot.
func (s *Slot[T]) Release() { s.reader.Store(nil) }

// Wake starts the watchdog, unless it is awake or closed.
func (w *Watchdog[T, R]) Wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.awake.Load() {
		return
	}
	w.awake.Store(true)
	w.wg.Go(w.run)
}

// Close ends the watchdog. No handler may run in a slot any more.
func (w *Watchdog[T, R]) Close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.closing)
		w.awake.Store(false)
	}
	w.mu.Unlock()
	w.wg.Wait()
}

func (w *Watchdog[T, R]) run() {
	tick := time.NewTicker(Period)
	defer tick.Stop()
	for idle := 0; ; {
		select {
		case <-tick.C:
		case <-w.closing:
			w.awake.Store(false)
			return
		}
		if w.check() || w.used.Load() {
			idle = 0
			w.used.Store(false)
		} else if idle++; idle >= IdleChecks && w.sleep() {
			return
		}
	}
}

// check steals the reading from each handler that the last checks have seen too. It
// reports whether a slot is taken.
func (w *Watchdog[T, R]) check() (taken bool) {
	for i := range w.slots {
		s := &w.slots[i]
		r, handler := R(s.reader.Load()), uint64(0)
		if r != nil {
			taken = true
			handler = r.Handler()
		}
		if handler == 0 || r != R(s.seen) || handler != s.handler {
			s.seen, s.handler, s.checks = r, handler, 1
		} else if s.checks++; s.checks >= Checks {
			r.Steal(handler)
			s.seen = nil
		}
	}
	return taken
}

// sleep puts the watchdog to sleep, and returns true, if no slot is taken.
func (w *Watchdog[T, R]) sleep() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.awake.Store(false)
	for i := range w.slots {
		if w.slots[i].reader.Load() != nil {
			w.awake.Store(true) // taken meanwhile
			return false
		}
	}
	return true
}

// Taken returns how many slots are taken.
func (w *Watchdog[T, R]) Taken() (n int) {
	for i := range w.slots {
		if w.slots[i].reader.Load() != nil {
			n++
		}
	}
	return n
}
