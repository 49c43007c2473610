package outbox

import "context"

// A waiter is one goroutine that waits for room, or for the bytes up to a mark
// to have been written.
type waiter struct {
	n          int    // bytes wanted; 0 when not known yet
	mark       uint64 // bytes that have to be written
	wake       chan struct{}
	prev, next *waiter
}

// A waitList holds waiters in order of arrival. Its methods are called with
// the Writer's lock.
type waitList struct {
	first, last *waiter
	free        *waiter // used ones, while there is a crowd
}

// push adds a waiter at the end.
func (l *waitList) push(n int, mark uint64) *waiter {
	t := l.free
	if t == nil {
		t = &waiter{wake: make(chan struct{}, 1)}
	}
	l.free = t.next
	t.n, t.mark, t.next = n, mark, nil
	if t.prev = l.last; t.prev == nil {
		l.first = t
	} else {
		t.prev.next = t
	}
	l.last = t
	return t
}

// remove takes t out; nobody may use it any more.
func (l *waitList) remove(t *waiter) {
	if t.prev == nil {
		l.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		l.last = t.prev
	} else {
		t.next.prev = t.prev
	}
	select {
	case <-t.wake: // signalled once more, and nobody signals it from here on
	default:
	}
	t.prev, t.next = nil, l.free
	l.free = t
}

func (l *waitList) signalAll() {
	for t := l.first; t != nil; t = t.next {
		t.signal()
	}
}

// signal wakes the waiter; it looks itself whether what it waits for is so.
func (t *waiter) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// admit waits for room for n bytes, 0 if their number is not known yet. When it
// returns nil it holds the lock.
//
// The first in the queue is woken alone, and leaves the queue with the lock in
// its hand; newcomers go behind whoever is there. So room that was seen cannot be
// taken away by a later one, and each that leaves wakes the next.
func (w *Writer) admit(ctx context.Context, n int) error {
	w.mu.Lock()
	if w.err != nil {
		defer w.mu.Unlock()
		return w.err
	}
	if w.room.first == nil && w.fits(n) {
		return nil
	}
	t := w.room.push(n, 0)
	w.wake()
	w.mu.Unlock()

	for {
		err := t.wait(ctx)
		w.mu.Lock()
		if w.err != nil {
			err = w.err
		}
		if err != nil || w.room.first == t && w.fits(n) {
			w.room.remove(t)
			if err != nil {
				w.wake()
				w.mu.Unlock()
			}
			return err
		}
		w.wake() // what does not wait has come in between
		w.mu.Unlock()
	}
}

// admitNow is admit for who cannot wait.
func (w *Writer) admitNow(n int) error {
	w.mu.Lock()
	if w.err != nil {
		defer w.mu.Unlock()
		return w.err
	}
	if bound := 2 * w.cfg.Bound; w.used > 0 && (w.used >= bound || n > bound-w.used) {
		defer w.mu.Unlock()
		return slowReader(w.used, w.cfg.Bound)
	}
	return nil
}

// admitTry is admit for who would rather come again.
func (w *Writer) admitTry(n int) error {
	w.mu.Lock()
	err := w.err
	if err == nil && (w.room.first != nil || !w.fits(n)) {
		w.wake()
		err = ErrFull
	}
	if err != nil {
		w.mu.Unlock()
	}
	return err
}

// fits reports whether there is room for n bytes. Called with the lock.
func (w *Writer) fits(n int) bool {
	return w.used == 0 || w.used < w.cfg.Bound && n <= w.cfg.Bound-w.used
}

// wake wakes the first who waits for room if there is some, and sees to it that
// there will be some if there is none. Called with the lock, whenever one of the
// two may have changed.
func (w *Writer) wake() {
	switch t := w.room.first; {
	case t == nil || w.err != nil:
	case w.fits(t.n):
		t.signal()
	default:
		w.start()
	}
}

// Wait waits until everything accepted so far has been written, and sees to it
// that it will be. The error is that of Close or of the connection if there is
// one, else ctx's. A nil ctx has no end.
func (w *Writer) Wait(ctx context.Context) error {
	w.mu.Lock()
	if w.err != nil || w.used == 0 {
		defer w.mu.Unlock()
		return w.err
	}
	t := w.drained.push(0, w.written+uint64(w.used))
	w.start()
	w.mu.Unlock()

	for {
		err := t.wait(ctx)
		w.mu.Lock()
		if w.written >= t.mark {
			err = nil
		} else if w.err != nil {
			err = w.err
		}
		if err != nil || w.written >= t.mark {
			w.drained.remove(t)
			w.mu.Unlock()
			return err
		}
		w.mu.Unlock()
	}
}

// wait waits for a signal or the end of ctx, whose error it returns.
func (t *waiter) wait(ctx context.Context) error {
	if ctx == nil {
		<-t.wake
		return nil
	}
	select {
	case <-t.wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
