package outbox

import (
	"context"
	"time"
)

// A frame that must not wait for room, and for which there is none, becomes a waiter
// without a goroutine: it is queued, in the order of all that wait, and goes into the batch
// when it is its turn. Until then it can still be dropped.

// Policy says what Push does with a frame for which there is no room.
type Policy uint8

const (
	Fail       Policy = iota + 1 // nothing: the error is ErrFull
	DropNewest                   // it drops that frame
	DropOldest                   // it drops the oldest ones that were queued with this policy or Latest
	Latest                       // it puts it in place of the one with the same key, and else is DropOldest
)

// ready is how many bytes may wait in the batch if a frame that may be dropped is to join
// them: what is in the batch cannot be dropped, and becomes older.
const ready = 64 << 10

// besideQueued is what a queued frame takes beside its bytes, about.
const besideQueued = 192

// pushed is a frame that waits to go into the batch.
type pushed struct {
	frame  []byte
	policy Policy
	key    string
}

func (p *pushed) cost() int { return len(p.frame) + besideQueued }

func (p *pushed) droppable() bool { return p.policy >= DropOldest }

// backlog holds the frames that are queued, and when what is in the batch was accepted. It
// is guarded by the Writer's lock.
type backlog struct {
	msgs  int
	bytes int
	byKey map[string]*waiter // those with the policy Latest; nil: there was none

	outSince time.Time // when the oldest frame that is being written was accepted, about; zero: not long ago
	inSince  time.Time // the same of the batch that is filled
}

func (b *backlog) cost() int { return b.bytes + b.msgs*besideQueued }

// A waiter is one goroutine that waits for room, or for the bytes up to a mark
// to have been written; or a frame that is queued, if there is one.
type waiter struct {
	pushed
	n          int    // bytes wanted; 0 when not known yet
	mark       uint64 // bytes that have to be written
	wake       chan struct{}
	prev, next *waiter
}

// A waitList holds waiters in order of arrival. Its methods are called with
// the Writer's lock.
type waitList struct {
	first, last *waiter
	free        *waiter // removed waiters, to use again while a flush goes on
}

// waiting holds what goroutines need that wait for a Writer, which are rare.
type waiting struct {
	room    waitList      // those that wait for room, in order of arrival
	drained waitList      // those in Wait, in order of their marks
	bulk    waitList      // the one in EnterBulk
	refused chan struct{} // see Refused; nil before the first call
	calm    chan struct{} // see Calm; nil: no goroutine waits for that
	callers int           // goroutines in room
	backlog
}

// waiters returns the lists to push to. Called with the lock.
func (w *Writer) waiters() *waiting {
	if w.waiting == nil {
		w.waiting = new(waiting)
	}
	return w.waiting
}

// Refused returns a channel that is closed when nothing is accepted any more; see Err.
func (w *Writer) Refused() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.waiters()
	if p.refused == nil {
		p.refused = make(chan struct{})
		if w.err != nil && !w.sealed {
			close(p.refused)
		}
	}
	return p.refused
}

// Calm returns a channel that is closed when Crowded has changed to false, or before.
func (w *Writer) Calm() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.waiters()
	if p.calm == nil {
		p.calm = make(chan struct{})
	}
	return p.calm
}

// calmDown closes the channel of Calm. Called with the Writer's lock.
func (p *waiting) calmDown() {
	if p.calm != nil {
		close(p.calm)
		p.calm = nil
	}
}

// first returns the first waiter for room, nil if there is none. Called with the lock.
func (w *Writer) first() *waiter {
	if w.waiting == nil {
		return nil
	}
	return w.waiting.room.first
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

// remove removes t, which must not be used any more.
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
	case <-t.wake: // take a last signal: from here on no goroutine signals t
	default:
	}
	t.prev, t.next, t.pushed = nil, l.free, pushed{}
	l.free = t
}

func (l *waitList) signalAll() {
	for t := l.first; t != nil; t = t.next {
		t.signal()
	}
}

// signal wakes the waiter, which checks its condition itself.
func (t *waiter) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// admit waits for room for n bytes, 0 if their number is not known yet. When it
// returns nil it holds the lock.
func (w *Writer) admit(ctx context.Context, n int) error {
	w.mu.Lock()
	if err := w.err; err != nil {
		w.mu.Unlock()
		return err
	}
	if w.first() == nil && w.fits(n) {
		return nil
	}
	return w.waitForRoom(ctx, n)
}

// waitForRoom is admit when there is no room, or others wait for it. It is called with the
// lock.
//
// Only the first in the queue is woken, and it leaves the queue while it holds the
// lock; new waiters go to the end. So no later waiter can take the room away, and each
// waiter that leaves wakes the next.
func (w *Writer) waitForRoom(ctx context.Context, n int) error {
	t := w.waiters().room.push(n, 0)
	w.waiting.callers++
	w.crowded.Store(true)
	w.wake()
	w.mu.Unlock()

	for {
		err := t.wait(ctx)
		w.mu.Lock()
		if w.err != nil {
			err = w.err
		}
		if err != nil || w.first() == t && w.fits(n) {
			w.waiting.room.remove(t)
			if w.waiting.callers--; w.waiting.callers == 0 {
				w.crowded.Store(false)
				w.waiting.calmDown()
			}
			if err != nil {
				w.wake()
				w.mu.Unlock()
			}
			return err
		}
		w.wake() // BeginNow or SendNow has taken the room meanwhile
		w.mu.Unlock()
	}
}

// admitNow is admit for a caller that must not wait; it goes up to twice the bound.
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

// admitTry is admit, but returns ErrFull instead of waiting.
func (w *Writer) admitTry(n int) error {
	w.mu.Lock()
	err := w.err
	if err == nil && (w.first() != nil || !w.fits(n)) {
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

// wake moves the frames whose turn it is into the batch, wakes the next waiter for room if
// there is room for it, and else makes sure that a goroutine flushes. It is called with the
// lock whenever the queue or the room may have changed.
func (w *Writer) wake() {
	if w.waiting == nil {
		return
	}
	w.move()
	switch t := w.first(); {
	case t == nil || w.err != nil:
	case t.frame == nil && w.fits(t.n):
		t.signal()
	default:
		w.start()
	}
}

// Wait flushes, and waits until everything accepted so far has been written. The error
// is that of Close or of the connection if there is one, else ctx's. A nil ctx has no
// end.
func (w *Writer) Wait(ctx context.Context) error {
	w.mu.Lock()
	if w.waiting != nil && w.waiting.msgs > 0 {
		w.mu.Unlock()
		if err := w.admit(ctx, 0); err != nil { // behind the frames that are queued
			return err
		}
		w.wake()
	}
	if w.err != nil || w.used == 0 {
		defer w.mu.Unlock()
		return w.err
	}
	t := w.waiters().drained.push(0, w.written+uint64(w.used))
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
			w.waiting.drained.remove(t)
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

// Seal refuses messages with err from now on, if nothing waits to be written and no
// goroutine writes; else it does nothing and returns false. Nobody else has touched the
// connection then: it can be given away.
func (w *Writer) Seal(err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil || w.used > 0 || w.flushing.Load() || w.first() != nil {
		return false
	}
	w.err, w.begun, w.sealed = err, w.written, true
	return true
}

// Unseal ends a Seal with the same err: messages are accepted again.
func (w *Writer) Unseal(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sealed && w.err == err {
		w.err, w.begun, w.sealed = nil, 0, false
	}
}
