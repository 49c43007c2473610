// Package watchdog watches over handlers that are run by the goroutine that reads their
// connection. From one that does not return it takes the reading away.
package watchdog

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Period is how often the watchdog looks.
	Period = 2 * time.Millisecond
	// Looks is how often it has to see one and the same handler: a busy system takes
	// the processor away from any goroutine for a few milliseconds.
	Looks = 4
	// Rest is how many periods without a handler it goes on for.
	Rest = 20
)

// Reader is a *T that runs handlers.
type Reader[T any] interface {
	*T
	// Handler returns the number of the handler that runs now, 0 if none does. No
	// number comes twice.
	Handler() uint64
	// Steal lets another goroutine read, unless that handler has returned. It does not
	// block.
	Steal(handler uint64)
}

// Watchdog watches Readers that have a slot. It has a goroutine while it is awake, which
// is only while handlers run. Its methods may be called concurrently.
type Watchdog[T any, R Reader[T]] struct {
	awake atomic.Bool
	used  atomic.Bool // since the last look
	slots []Slot[T]

	mu      sync.Mutex // guards the fields below
	closing chan struct{}
	closed  bool
	always  bool
	wg      sync.WaitGroup
}

// Slot is where the watchdog sees one Reader.
type Slot[T any] struct {
	reader atomic.Pointer[T]

	// What the watchdog saw last: which handler of which reader, and how often.
	seen    *T
	handler uint64
	looks   int

	_ [32]byte // slots do not share a cache line
}

// Init makes the zero value ready. always says that it never sleeps.
func (w *Watchdog[T, R]) Init(always bool) {
	w.slots = make([]Slot[T], min(16*runtime.GOMAXPROCS(0), 256))
	w.closing, w.always = make(chan struct{}), always
	if always {
		w.Wake()
	}
}

// Awake reports whether readers that have a slot may run handlers.
func (w *Watchdog[T, R]) Awake() bool { return w.awake.Load() }

// Acquire returns a slot for r. It is nil if the watchdog sleeps, or if another one has
// the slot that n stands for.
func (w *Watchdog[T, R]) Acquire(n uint32, r R) *Slot[T] {
	if !w.awake.Load() {
		return nil
	}
	s := &w.slots[n%uint32(len(w.slots))]
	if !s.reader.CompareAndSwap(nil, r) {
		return nil
	}
	if !w.awake.Load() { // it fell asleep, perhaps before it could see this
		s.Release()
		return nil
	}
	w.Use()
	return s
}

// Use says that a handler is about to run in a slot. It keeps the watchdog awake.
func (w *Watchdog[T, R]) Use() {
	if !w.used.Load() {
		w.used.Store(true)
	}
}

// Release gives the slot back.
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
		if w.look() || w.used.Load() || w.always {
			idle = 0
			w.used.Store(false)
		} else if idle++; idle >= Rest && w.sleep() {
			return
		}
	}
}

// look steals the reading from each handler that it has seen at its last looks already.
// It reports whether a slot is taken.
func (w *Watchdog[T, R]) look() (any bool) {
	for i := range w.slots {
		s := &w.slots[i]
		r, handler := R(s.reader.Load()), uint64(0)
		if r != nil {
			any = true
			handler = r.Handler()
		}
		if handler == 0 || r != R(s.seen) || handler != s.handler {
			s.seen, s.handler, s.looks = r, handler, 1
		} else if s.looks++; s.looks >= Looks {
			r.Steal(handler)
			s.seen = nil
		}
	}
	return any
}

// sleep reports whether the watchdog may end: no slot is taken.
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
