// Package lot waits for many connections at once, on one goroutine: whoever has
// nothing to do until its connection can be read needs none of its own meanwhile.
package lot

import (
	"errors"
	"sync"
	"syscall"
)

// ErrClosed says that nothing can be parked any more.
var ErrClosed = errors.New("lot: closed")

// Waiter is who is told, once, that its connection can be read. It is called on
// the lot's goroutine and must not block.
type Waiter interface{ Readable() }

// Lot holds waiters. Its methods may be called concurrently. The zero value is
// ready; it has a goroutine from the first Park to Close.
type Lot[W Waiter] struct {
	mu      sync.Mutex // guards what follows
	poller  *poller
	failed  error // of making the poller
	closed  bool
	waiting map[int32]place[W]
	tickets uint32
	wg      sync.WaitGroup
}

// place is where a waiter waits.
type place[W any] struct {
	w      W
	conn   syscall.RawConn
	ticket Ticket
}

// Ticket stands for one Park. The zero value is of none.
type Ticket uint64 // a number, and in the low half the descriptor

// Park waits until c can be read or has come to its end, and then calls
// w.Readable, perhaps before Park has returned. That c was closed in this process
// it notices within a few seconds only. An error says that nothing is waited for;
// it is errors.ErrUnsupported where the system has no means.
func (l *Lot[W]) Park(c syscall.RawConn, w W) (ticket Ticket, err error) {
	l.mu.Lock()
	if err = l.open(); err != nil {
		l.mu.Unlock()
		return 0, err
	}
	p := l.poller
	l.mu.Unlock()
	// The descriptor cannot be closed, and its number be another's, inside.
	failed := c.Control(func(n uintptr) {
		fd := int32(n)
		l.mu.Lock()
		l.tickets++
		ticket = Ticket(l.tickets)<<32 | Ticket(uint32(fd))
		l.waiting[fd] = place[W]{w, c, ticket}
		l.mu.Unlock()
		if err = p.arm(fd); err != nil {
			l.Forget(ticket)
		}
	})
	if failed != nil {
		err = failed
	}
	return ticket, err
}

// Forget lets go of a waiter that is not to be told any more. It may be told all
// the same, if that has begun.
func (l *Lot[W]) Forget(t Ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if fd := int32(uint32(t)); l.waiting[fd].ticket == t {
		delete(l.waiting, fd)
	}
}

// open makes the poller at the first use. Called with the lock.
func (l *Lot[W]) open() error {
	if l.closed {
		return ErrClosed
	}
	if l.poller != nil || l.failed != nil {
		return l.failed
	}
	p, err := newPoller()
	if err != nil {
		if errors.Is(err, errors.ErrUnsupported) {
			l.failed = err // for ever
		}
		return err
	}
	l.poller, l.waiting = p, make(map[int32]place[W])
	l.wg.Go(func() { p.run(l.ready, l.look) })
	return nil
}

// look tells those whose connections were closed by somebody else: of that there
// is no event.
func (l *Lot[W]) look() {
	var dead []int32
	l.mu.Lock()
	for fd, p := range l.waiting {
		if p.conn.Control(func(uintptr) {}) != nil {
			dead = append(dead, fd)
		}
	}
	l.mu.Unlock()
	for _, fd := range dead {
		l.ready(fd)
	}
}

// ready tells the waiter of a descriptor.
func (l *Lot[W]) ready(fd int32) {
	l.mu.Lock()
	p, ok := l.waiting[fd]
	delete(l.waiting, fd)
	l.mu.Unlock()
	if ok {
		p.w.Readable()
	}
}

// Close ends the goroutine; who is parked is not told.
func (l *Lot[W]) Close() {
	l.mu.Lock()
	l.closed = true
	p := l.poller
	l.mu.Unlock()
	if p != nil {
		p.close()
		l.wg.Wait()
	}
}
