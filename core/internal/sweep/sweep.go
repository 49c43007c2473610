// Package sweep calls items whose deadlines have passed.
//
// It replaces a timer per deadline: an item, such as a session, knows its own
// deadlines, and the sweeper knows only when to call it next. Calls fall on a grid
// of 5 ms, so that many deadlines cost few wake-ups.
package sweep

import (
	"container/heap"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const grid = int64(5 * time.Millisecond)

// removed in Handle.wake is before every deadline, so no call is planned any more, and
// Touch returns on its fast path.
const removed = -1

// Item is what a Sweeper calls. A type implements it by embedding a Handle.
type Item interface {
	// Expire does what is due at now and returns when to call it again, 0 for not
	// before the next Touch. It runs on the sweeper's goroutine, one item at a time,
	// without a lock: it must not block, and may call Touch and Remove.
	Expire(now int64) (next int64)

	handle() *Handle
}

// Handle is the sweeper's part of an Item, to be embedded. The zero value is ready for
// use. A Handle must be used with one Sweeper only.
type Handle struct {
	wake atomic.Int64 // when Expire will be called; 0: not planned

	it    Item // this and index are guarded by Sweeper.mu
	index int  // place in the heap plus 1; 0: none
}

func (h *Handle) handle() *Handle { return h }

// Sweeper calls items when they are due. It has a goroutine only while a call is
// planned. All methods may be called concurrently.
type Sweeper struct {
	start time.Time
	kick  chan struct{} // wakes the goroutine before its time
	wg    sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	queue   queue
	running bool  // the goroutine exists
	planned int64 // the time until which the goroutine sleeps; 0: it is awake
	closed  bool
}

// New returns a sweeper whose clock starts now. Its owner closes it.
func New() *Sweeper {
	return &Sweeper{start: time.Now(), kick: make(chan struct{}, 1)}
}

// Now returns the nanoseconds since New. They never run backwards and are
// always above 0.
func (s *Sweeper) Now() int64 { return int64(time.Since(s.start)) + 1 }

// After returns the time that lies d behind Now. What lies behind the end of time, 292
// years after New, is that end: a long d is no limit, and never one in the past.
func (s *Sweeper) After(d time.Duration) int64 {
	now := s.Now()
	return now + min(int64(d), math.MaxInt64-now)
}

// Touch asks for it.Expire at the time at (of Now), at most about 10 ms late.
// It is one atomic load when a call no later than that is planned already. An
// at of 0 asks for nothing, one in the past for the next wake-up.
func (s *Sweeper) Touch(it Item, at int64) {
	h := it.handle()
	if w := h.wake.Load(); w != 0 && w-grid < at {
		return
	}
	if at == 0 {
		return
	}
	now := s.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan(h, it, max(at, now))
}

// Remove removes the item for ever: no Expire of it begins any more, and Touch does
// nothing. Remove does not wait for an Expire that has begun, so Expire may call it.
func (s *Sweeper) Remove(it Item) {
	h := it.handle()
	s.mu.Lock()
	defer s.mu.Unlock()
	h.wake.Store(removed)
	h.it = nil
	if h.index == 0 {
		return
	}
	heap.Remove(&s.queue, h.index-1)
	if len(s.queue) == 0 {
		s.wakeUp()
	}
}

// Close ends the sweeper and waits for an Expire that runs; none begins after
// it. Expire must not call it. Calling it again is allowed.
func (s *Sweeper) Close() {
	s.mu.Lock()
	s.closed = true
	for _, h := range s.queue {
		h.index = 0
	}
	s.queue = nil
	s.wakeUp()
	s.mu.Unlock()
	s.wg.Wait()
}

// plan puts the handle into the queue, or moves it forward. The lock is held.
func (s *Sweeper) plan(h *Handle, it Item, at int64) {
	at = ceil(at)
	w := h.wake.Load()
	if s.closed || w != 0 && w <= at {
		return
	}
	h.it = it
	h.wake.Store(at)
	if h.index == 0 {
		heap.Push(&s.queue, h)
	} else {
		heap.Fix(&s.queue, h.index-1)
	}
	if !s.running {
		s.running = true
		s.wg.Go(s.run)
	}
	if at < s.planned {
		s.wakeUp()
	}
}

// wakeUp wakes the goroutine, if it sleeps. The lock is held.
func (s *Sweeper) wakeUp() {
	if s.planned == 0 {
		return
	}
	s.planned = 0
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// run is the sweeper's goroutine. It ends when no call is planned.
func (s *Sweeper) run() {
	timer := time.NewTimer(math.MaxInt64)
	defer timer.Stop()
	over := false
	defer func() {
		if !over { // an Expire has ended the goroutine
			s.wg.Go(s.run)
		}
	}()
	for {
		it, sleep := s.pick()
		switch {
		case it != nil:
			s.call(it)
		case sleep == 0:
			over = true
			return
		default:
			timer.Reset(sleep)
			select {
			case <-timer.C:
			case <-s.kick:
			}
		}
	}
}

// pick removes an item that is due from the queue, or returns how long to sleep; if it
// returns neither, the goroutine must end. From pick on, Touch plans another call. A
// Touch that came before, and found the call planned, is served too, since Expire has
// not read the deadlines yet.
func (s *Sweeper) pick() (Item, time.Duration) {
	now := s.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.planned = 0
	if len(s.queue) == 0 {
		s.running = false
		return nil, 0
	}
	h := s.queue[0]
	if w := h.wake.Load(); w > now {
		s.planned = w
		return nil, time.Duration(w - now)
	}
	heap.Pop(&s.queue)
	h.wake.Store(0)
	it := h.it
	h.it = nil
	return it, 0
}

// call runs an Expire and plans the next one, on the grid after now at the
// earliest, so that an item that is always due does not keep the CPU busy.
func (s *Sweeper) call(it Item) {
	now := s.Now()
	next := now + 1 // if Expire ends the goroutine
	defer func() {
		if next == 0 {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.plan(it.handle(), it, max(next, now+1))
	}()
	next = it.Expire(now)
}

// ceil rounds up to the grid.
func ceil(at int64) int64 {
	if at > math.MaxInt64-grid {
		return math.MaxInt64 / grid * grid
	}
	return (at + grid - 1) / grid * grid
}

// queue is a heap of handles, the earliest first.
type queue []*Handle

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].wake.Load() < q[j].wake.Load() }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i+1, j+1
}

func (q *queue) Push(x any) {
	h := x.(*Handle)
	*q = append(*q, h)
	h.index = len(*q)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	h := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	h.index = 0
	return h
}
