// Package pending holds the calls that wait for their reply.
//
// A call gets a sequence number when it is added. The goroutine that takes that number
// first, because of the reply, the caller's context, a deadline or the end of the
// session, owns the call, and no other goroutine does.
package pending

import (
	"errors"
	"math"
	"sync"
	"weak"
)

const (
	minSize    = 4       // slots of the first ring
	keepSize   = 256     // an empty ring of up to as many slots is kept
	maxPending = 1 << 20 // calls in one table
)

var (
	// ErrFull says that 2^20 calls are pending already.
	ErrFull = errors.New("pending: too many calls wait for their reply")
	// ErrClosed says that the table takes no more calls.
	ErrClosed = errors.New("pending: closed")
)

// Table holds pending calls of type T by sequence number.
//
// Numbers count from 1 to 2^31-1 and start again at 1; the number of a call
// that is still pending is never given a second time. The zero value is an
// empty table. All methods may be called concurrently.
type Table[T any] struct {
	mu      sync.Mutex // guards the fields below
	slots   []slot[T]  // ring->slots; nil while there is no ring
	n       int        // busy slots
	held    int        // how many of them only hold their number, for a later call
	last    int32      // the number given last
	closed  bool
	nearest int64 // no deadline is before it; 0: there is no deadline

	ring  *ring[T]              // keeps alive the ring that spare points to
	spare weak.Pointer[ring[T]] // a large ring while it is empty: the garbage collector may free it
}

// slot holds a call; numbers with equal low bits share a slot.
type slot[T any] struct {
	v        T
	deadline int64
	seq      int32 // 0: free; negative: held
}

// ring is a power of two of slots. It is an allocation of its own, so that a weak
// pointer can point to it.
type ring[T any] struct{ slots []slot[T] }

// Add stores v and returns its number. From the time deadline on Expire takes the call,
// in nanoseconds of the clock that Expire is called with; 0 means never. The error is
// ErrFull or ErrClosed.
func (t *Table[T]) Add(v T, deadline int64) (seq int32, err error) {
	seq, _, err = t.AddCounting(v, deadline)
	return seq, err
}

// AddCounting is Add, and also returns how many calls are pending now.
func (t *Table[T]) AddCounting(v T, deadline int64) (seq int32, n int, err error) {
	t.mu.Lock()
	if err := t.room(); err != nil {
		t.mu.Unlock()
		return 0, 0, err
	}
	seq = t.advance()
	t.n++
	t.put(seq, v, deadline)
	n = t.n - t.held
	t.mu.Unlock()
	return seq, n, nil
}

// Hold returns the next number and holds it: no other call gets it until AddHeld adds a
// call with it, or Release frees it.
func (t *Table[T]) Hold() (seq int32, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.room(); err != nil {
		return 0, err
	}
	seq = t.advance()
	t.at(seq).seq = -seq
	t.n++
	t.held++
	return seq, nil
}

// AddHeld is AddCounting with a number that is held. On an error it frees the number.
func (t *Table[T]) AddHeld(seq int32, v T, deadline int64) (n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		t.release(seq)
		return 0, ErrClosed
	}
	t.held--
	t.put(seq, v, deadline)
	return t.n - t.held, nil
}

// Release frees a number that is held.
func (t *Table[T]) Release(seq int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.release(seq)
}

// HoldAgain is Hold with a number that was given before, of a call that was taken. The
// error is ErrFull if it cannot be held, because too many calls are pending.
func (t *Table[T]) HoldAgain(seq int32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.room(); err != nil {
		return err
	}
	for t.at(seq).seq != 0 {
		if other := t.at(seq).seq; other == seq || other == -seq || len(t.slots) >= 2*maxPending {
			return ErrFull
		}
		t.grow()
	}
	t.at(seq).seq = -seq
	t.n++
	t.held++
	return nil
}

// Next returns the next number, for a message that awaits no reply. It works
// on a closed table too.
func (t *Table[T]) Next() int32 {
	t.mu.Lock()
	seq := t.advance()
	t.mu.Unlock()
	return seq
}

// Take removes the call with number seq and returns it. ok is false if there is no such
// call, or no more since another goroutine has taken it.
func (t *Table[T]) Take(seq int32) (v T, ok bool) {
	t.mu.Lock()
	if seq > 0 && t.n > 0 {
		if s := t.at(seq); s.seq == seq {
			v, ok = s.v, true
			t.free(s)
			t.releaseIfEmpty()
		}
	}
	t.mu.Unlock()
	return v, ok
}

// Has reports whether the call with number seq is pending.
func (t *Table[T]) Has(seq int32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return seq > 0 && t.n > 0 && t.at(seq).seq == seq
}

// Len returns the number of pending calls.
func (t *Table[T]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n - t.held
}

// Expire takes the calls whose deadline is not after now and hands them to f with their
// numbers, without the lock. It returns the time before which it need not be called
// again: the nearest remaining deadline (or an earlier time, if that call was
// taken meanwhile), or 0 if there is none. f may use the table; next ignores the calls
// that f adds.
func (t *Table[T]) Expire(now int64, f func(seq int32, v T)) (next int64) {
	due, next := t.expired(now)
	for _, s := range due {
		f(s.seq, s.v)
	}
	return next
}

func (t *Table[T]) expired(now int64) (due []slot[T], next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.nearest == 0 || t.nearest > now {
		return nil, t.nearest
	}
	t.nearest = 0
	for i := range t.slots {
		s := &t.slots[i]
		switch {
		case s.seq == 0 || s.deadline == 0:
		case s.deadline <= now:
			due = append(due, *s)
			t.free(s)
		case t.nearest == 0 || s.deadline < t.nearest:
			t.nearest = s.deadline
		}
	}
	t.releaseIfEmpty()
	return due, t.nearest
}

// Drain takes all calls. The table goes on working.
func (t *Table[T]) Drain() []T {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.drain()
}

// Close takes all calls; Add fails from then on.
func (t *Table[T]) Close() []T {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	return t.drain()
}

// Last returns the number that was given last, 0 if none was.
func (t *Table[T]) Last() int32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// SetNext makes seq the next number, if it is between 1 and 2^31-1: the table of a session
// that another process has begun goes on from there.
func (t *Table[T]) SetNext(seq int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if seq > 0 {
		t.last = seq - 1
	}
}

// at returns the slot of a number. It is called with the lock, as the methods below.
func (t *Table[T]) at(seq int32) *slot[T] { return &t.slots[int(seq)&(len(t.slots)-1)] }

// room makes room for one call more.
func (t *Table[T]) room() error {
	switch {
	case t.closed:
		return ErrClosed
	case t.n == maxPending:
		return ErrFull
	case t.n >= len(t.slots)/2:
		t.grow()
	}
	return nil
}

// put stores v in a slot that is counted already.
func (t *Table[T]) put(seq int32, v T, deadline int64) {
	*t.at(seq) = slot[T]{v, deadline, seq}
	if deadline != 0 && (t.nearest == 0 || deadline < t.nearest) {
		t.nearest = deadline
	}
}

func (t *Table[T]) release(seq int32) {
	t.held--
	t.free(t.at(seq))
	t.releaseIfEmpty()
}

// advance returns the next number whose slot is free. There always is one, since at
// most half of the slots are busy.
func (t *Table[T]) advance() int32 {
	for {
		if t.last == math.MaxInt32 {
			t.last = 0
		}
		t.last++
		if t.n == 0 || t.at(t.last).seq == 0 {
			return t.last
		}
	}
}

// grow makes the first ring, or doubles it. Numbers that differ in their low bits also
// differ with one bit more, so each finds its new slot free.
func (t *Table[T]) grow() {
	if t.slots == nil {
		if r := t.spare.Value(); r != nil {
			t.ring, t.slots = r, r.slots
			return
		}
	}
	old := t.slots
	t.slots = make([]slot[T], max(minSize, 2*len(old)))
	t.ring, t.spare = nil, weak.Pointer[ring[T]]{}
	if len(t.slots) > keepSize {
		t.ring = &ring[T]{t.slots}
		t.spare = weak.Make(t.ring)
	}
	for i := range old {
		if s := &old[i]; s.seq != 0 {
			*t.at(max(s.seq, -s.seq)) = *s
		}
	}
}

// free empties a slot.
func (t *Table[T]) free(s *slot[T]) {
	*s = slot[T]{}
	t.n--
}

// releaseIfEmpty releases what an empty table does not need: the nearest deadline and a
// large ring. Add takes the ring back unless the garbage collector has freed it, so a
// table that is empty for a moment costs next to nothing.
func (t *Table[T]) releaseIfEmpty() {
	if t.n > 0 {
		return
	}
	t.nearest = 0
	if len(t.slots) > keepSize {
		t.ring, t.slots = nil, nil
	}
}

func (t *Table[T]) drain() []T {
	if t.n == t.held {
		return nil
	}
	all := make([]T, 0, t.n-t.held)
	for i := range t.slots {
		if s := &t.slots[i]; s.seq > 0 {
			all = append(all, s.v)
			t.free(s)
		}
	}
	t.releaseIfEmpty()
	return all
}
