package heartbeat

import (
	"container/heap"
	"sync"
	"time"
)

// agenda is when to look at which session: a heap, and one timer for all of them
// that runs only while there is something in it. Times are nanoseconds since the
// plugin was made.
type agenda struct {
	begin time.Time
	// visit looks at a session and returns when to do so again; 0: not before put.
	visit func(w *watched, now int64) (next int64)
	// grain is how much too early a visit may be, so that one run serves many.
	grain func() int64

	mu      sync.Mutex // guards what follows
	list    byDue
	timer   *time.Timer
	running bool
	hurried bool       // during the run
	batch   []*watched // of the run, kept for the next one
}

func (a *agenda) now() int64 { return int64(time.Since(a.begin)) }

// put makes sure that the session is visited at due, or earlier.
func (a *agenda) put(w *watched, due int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.push(w, due)
	a.arm()
}

// push is put under the lock, without arming.
func (a *agenda) push(w *watched, due int64) {
	switch {
	case w.gone:
	case w.index < 0:
		w.due = due
		heap.Push(&a.list, w)
	case due < w.due:
		w.due = due
		heap.Fix(&a.list, w.index)
	}
}

// remove forgets the session for ever.
func (a *agenda) remove(w *watched) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.gone = true
	if w.index >= 0 {
		heap.Remove(&a.list, w.index)
	}
	a.arm()
}

// hurry has all sessions visited now.
func (a *agenda) hurry() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.list {
		w.due = 0 // all are alike: it stays a heap
	}
	a.hurried = a.running
	a.arm()
}

// arm sets the timer to the first visit. It is called under the lock.
func (a *agenda) arm() {
	switch {
	case a.running: // the run will do it
	case len(a.list) == 0:
		if a.timer != nil {
			a.timer.Stop()
		}
	default:
		d := time.Duration(max(a.list[0].due-a.now(), 0))
		if a.timer == nil {
			a.timer = time.AfterFunc(d, a.run)
		} else {
			a.timer.Reset(d)
		}
	}
}

// run makes the visits that are due.
func (a *agenda) run() {
	a.mu.Lock()
	if a.running {
		a.mu.Unlock()
		return
	}
	a.running = true
	now := a.now()
	batch := a.batch[:0]
	for until := now + a.grain(); len(a.list) > 0 && a.list[0].due <= until; {
		batch = append(batch, heap.Pop(&a.list).(*watched))
	}
	a.mu.Unlock()

	next := make([]int64, len(batch))
	for i, w := range batch {
		next[i] = a.visit(w, now)
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	for i, w := range batch {
		if next[i] > 0 {
			if a.hurried {
				next[i] = now
			}
			a.push(w, next[i])
		}
		batch[i] = nil
	}
	a.batch, a.running, a.hurried = batch, false, false
	a.arm()
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
