package heartbeat

import (
	"container/heap"
	"sync"
	"time"
)

// schedule is when to check which session: a heap, and one timer for all of them
// that runs only while there is something in it. Times are nanoseconds since the
// plugin was made.
type schedule struct {
	begin time.Time
	// check looks at a session and returns when to do so again; 0: not before put.
	check func(w *watched, now int64) (next int64)
	// grain is how much too early a check may be, so that one run serves many.
	grain func() int64

	mu      sync.Mutex // guards what follows
	list    byDue
	timer   *time.Timer
	running bool
	hurried bool       // during the run
	batch   []*watched // of the run, kept for the next one
}

func (s *schedule) now() int64 { return int64(time.Since(s.begin)) }

// put makes sure that the session is checked at due, or earlier.
func (s *schedule) put(w *watched, due int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.push(w, due)
	s.arm()
}

// push is put under the lock, without arming.
func (s *schedule) push(w *watched, due int64) {
	switch {
	case w.gone:
	case w.index < 0:
		w.due = due
		heap.Push(&s.list, w)
	case due < w.due:
		w.due = due
		heap.Fix(&s.list, w.index)
	}
}

// remove removes the session for good.
func (s *schedule) remove(w *watched) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.gone = true
	if w.index >= 0 {
		heap.Remove(&s.list, w.index)
	}
	s.arm()
}

// hurry makes all sessions due now.
func (s *schedule) hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.list {
		w.due = 0 // all are equal: it stays a heap
	}
	s.hurried = s.running
	s.arm()
}

// arm sets the timer to the first check. It is called under the lock.
func (s *schedule) arm() {
	switch {
	case s.running: // the run will do it
	case len(s.list) == 0:
		if s.timer != nil {
			s.timer.Stop()
		}
	default:
		d := time.Duration(max(s.list[0].due-s.now(), 0))
		if s.timer == nil {
			s.timer = time.AfterFunc(d, s.run)
		} else {
			s.timer.Reset(d)
		}
	}
}

// run makes the checks that are due.
func (s *schedule) run() {
	s.mu.Lock()
	if s.running {
		s.mu.Unlock()
		return
	}
	s.running = true
	now := s.now()
	batch := s.batch[:0]
	for until := now + s.grain(); len(s.list) > 0 && s.list[0].due <= until; {
		batch = append(batch, heap.Pop(&s.list).(*watched))
	}
	s.mu.Unlock()

	next := make([]int64, len(batch))
	for i, w := range batch {
		next[i] = s.check(w, now)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	for i, w := range batch {
		if next[i] > 0 {
			if s.hurried {
				next[i] = now
			}
			s.push(w, next[i])
		}
		batch[i] = nil
	}
	s.batch, s.running, s.hurried = batch, false, false
	s.arm()
}

// byDue is a heap of sessions, the next one first.
type byDue []*watched

func (h byDue) Len() int           { return len(h) }
func (h byDue) Less(i, j int) bool { return h[i].due < h[j].due }

func (h byDue) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *byDue) Push(x any) {
	w := x.(*watched)
	w.index = len(*h)
	*h = append(*h, w)
}

func (h *byDue) Pop() any {
	n := len(*h) - 1
	w := (*h)[n]
	w.index = -1
	(*h)[n] = nil
	*h = (*h)[:n]
	return w
}
