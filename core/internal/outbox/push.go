package outbox

import (
	"fmt"
	"slices"
	"time"
)

// BeginPush is TryBegin for a frame that has a policy: it fails also if the frame has to be
// queued first.
func (w *Writer) BeginPush(p Policy) ([]byte, error) {
	w.mu.Lock()
	err := w.err
	if err == nil && !w.joins(0, p) {
		w.wake()
		err = ErrFull
	}
	if err != nil {
		w.mu.Unlock()
		return nil, err
	}
	return w.in.grow(minFree, w.hint), nil
}

// joins reports whether a frame of n bytes with a policy goes into the batch. Called with
// the lock.
func (w *Writer) joins(n int, p Policy) bool {
	switch {
	case w.first() != nil:
		return false
	case p >= DropOldest && w.used > 0:
		return w.used+n <= min(ready, w.cfg.Bound)
	}
	return w.fits(n)
}

// Push accepts one whole frame without waiting for room: if there is none it does what the
// policy says. dropped is how many other frames it has dropped; one that takes the place of
// another with its key drops that. taken is false if it has dropped this one. Otherwise it is
// as Send. Frames that are queued and those in the batch together take Config.Bound at most.
func (w *Writer) Push(frame []byte, p Policy, key string) (taken bool, dropped int, err error) {
	w.mu.Lock()
	if w.err != nil {
		defer w.mu.Unlock()
		recycle(frame)
		return false, 0, w.err
	}
	if w.joins(len(frame), p) {
		w.accept(frame)
		return true, 0, nil
	}
	defer w.mu.Unlock()
	defer w.wake()
	n := len(frame) + besideQueued
	var same *waiter // whose place it takes
	if p == Latest {
		same = w.queue().byKey[key]
	}
	if t := same; t != nil && (n <= t.cost() || w.queues(n-t.cost())) {
		w.waiting.bytes += len(frame) - len(t.frame)
		w.count(-len(t.frame))
		recycle(t.frame)
		t.frame = w.own(frame)
		return true, 1, nil
	}
	room := 0 // that it has made itself: the batch alone may be over the bound
	if p >= DropOldest && n <= max(w.cfg.Bound-w.used, w.queue().cost()) {
		for t := same; !w.queues(n) && room < n; t = nil {
			if t == nil {
				t = w.oldest()
			}
			if t == nil {
				break
			}
			room += t.cost()
			recycle(w.unqueue(t))
			dropped++
		}
	}
	if w.queues(n) || room >= n {
		w.enqueue(pushed{w.own(frame), p, key})
		return true, dropped, nil
	}
	recycle(frame)
	if p == Fail {
		return false, 0, fmt.Errorf("%w: %d bytes wait to be written, the bound is %d", ErrFull, w.used+w.waiting.bytes, w.cfg.Bound)
	}
	return false, dropped, nil
}

// queues reports whether n bytes more may be queued.
func (w *Writer) queues(n int) bool { return w.used+w.queue().cost()+n <= w.cfg.Bound }

// own returns frame in memory that is about as large, and counts it.
func (w *Writer) own(frame []byte) []byte {
	w.count(len(frame))
	if cap(frame)-len(frame) <= len(frame)/4 {
		return frame
	}
	defer recycle(frame)
	return slices.Clone(frame)
}

func (w *Writer) enqueue(p pushed) {
	t := w.waiters().room.push(0, 0)
	t.pushed = p
	b := w.queue()
	b.msgs++
	b.bytes += len(p.frame)
	if p.policy == Latest {
		if b.byKey == nil {
			b.byKey = map[string]*waiter{}
		}
		b.byKey[p.key] = t
	}
}

// oldest returns the oldest frame that may be dropped, nil if there is none.
func (w *Writer) oldest() *waiter {
	for t := w.first(); t != nil; t = t.next {
		if t.frame != nil && t.droppable() {
			return t
		}
	}
	return nil
}

// move moves frames whose turn it is from the queue into the batch.
func (w *Writer) move() {
	for t := w.first(); t != nil && t.frame != nil && w.err == nil; t = w.first() {
		if n := len(t.frame); w.used > 0 && w.used+n > min(ready, w.cfg.Bound) {
			return
		}
		w.put(w.unqueue(t))
	}
}

// Oldest returns when the oldest frame that waits to be written was accepted; false if there
// is none that the network has not taken at once. It is not later than that of any frame
// that is queued: these are behind the batch.
func (w *Writer) Oldest() (since time.Time, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == nil {
		return time.Time{}, false
	}
	since = w.waiting.outSince
	return since, !since.IsZero()
}

// blocked notes that the frames that are being written wait for the network. The flusher
// calls it.
func (w *Writer) blocked() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.queue(); b.outSince.IsZero() {
		b.outSince = time.Now()
	}
}

// swapped notes that the batch that was filled is being written. Called while w.waiting is not nil.
func (w *Writer) swapped() {
	b := w.waiting
	b.outSince, b.inSince = b.inSince, time.Time{}
}
