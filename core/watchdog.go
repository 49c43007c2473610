package tp

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/teleport-go/teleport/core/internal/inlining"
)

const (
	watchPeriod = 2 * time.Millisecond
	watchLooks  = 4  // at one and the same handler: a busy system takes the processor away for a few milliseconds
	watchRest   = 20 // periods without a handler after which the watchdog sleeps
)

// watchdog watches the handlers that readers run. From one that does not return it
// takes the reading away. It is awake only while there are such handlers.
type watchdog struct {
	awake atomic.Bool
	used  atomic.Bool // a slot was asked for since the last look
	slots []slot

	mu      sync.Mutex // guards what follows
	closing chan struct{}
	closed  bool
	wg      sync.WaitGroup
}

// slot is where a reader is watched while it may run handlers.
type slot struct {
	link atomic.Pointer[link]

	// What the watchdog saw when it looked last: which handler of which reader, and
	// how often.
	seen     *link
	seenTurn uint64
	looks    int

	_ [32]byte // slots do not share a cache line
}

func (w *watchdog) init() {
	w.slots = make([]slot, min(16*runtime.GOMAXPROCS(0), 256))
	w.closing = make(chan struct{})
	if inlining.Always {
		w.wake()
	}
}

// acquireSlot makes sure that the reader is watched. It returns false if that cannot
// be: then another goroutine has to run the handler. The reader calls it.
func (l *link) acquireSlot() bool {
	w := &l.env.watchdog
	if !w.awake.Load() {
		return false
	}
	if l.slot == nil {
		slot := &w.slots[l.sess.serial%uint32(len(w.slots))]
		if !slot.link.CompareAndSwap(nil, l) {
			return false // another session's
		}
		if !w.awake.Load() { // it fell asleep, perhaps before it could see this
			slot.link.Store(nil)
			return false
		}
		l.slot = slot
	}
	if !w.used.Load() {
		w.used.Store(true)
	}
	return true
}

// releaseSlot ends that. The reader calls it, or the goroutine that has stolen the
// reading.
func (l *link) releaseSlot() {
	if l.slot != nil {
		l.slot.link.Store(nil)
		l.slot = nil
	}
}

// wake starts the watchdog, and lets readers run handlers.
func (w *watchdog) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.awake.Load() {
		return
	}
	w.awake.Store(true)
	w.wg.Go(w.run)
}

// close ends the watchdog. Readers must not run handlers any more.
func (w *watchdog) close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.closing)
	}
	w.mu.Unlock()
	w.wg.Wait()
}

func (w *watchdog) run() {
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	for idle := 0; ; {
		select {
		case <-tick.C:
		case <-w.closing:
			w.awake.Store(false)
			return
		}
		if w.look() || w.used.Load() || inlining.Always {
			idle = 0
			w.used.Store(false)
		} else if idle++; idle >= watchRest && w.sleep() {
			return
		}
	}
}

// look steals the reading from each handler that it has seen at its last looks
// already. It reports whether a slot is taken.
func (w *watchdog) look() (any bool) {
	for i := range w.slots {
		s := &w.slots[i]
		l, turn := s.link.Load(), uint64(0)
		if l != nil {
			any = true
			turn, _ = l.state.handler()
		}
		if turn == 0 || l != s.seen || turn != s.seenTurn {
			s.seen, s.seenTurn, s.looks = l, turn, 1
		} else if s.looks++; s.looks >= watchLooks {
			l.steal(turn)
			s.seen = nil
		}
	}
	return any
}

// sleep reports whether the watchdog may end: no slot is taken.
func (w *watchdog) sleep() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.awake.Store(false)
	for i := range w.slots {
		if w.slots[i].link.Load() != nil {
			w.awake.Store(true) // taken meanwhile
			return false
		}
	}
	return true
}
