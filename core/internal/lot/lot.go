// Package lot waits for many connections at once, on one goroutine: whoever has
// nothing to do until its connection can be read needs none of its own meanwhile,
// and what is done at once then needs none at all.
package lot

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
)

// ErrClosed says that nothing can be parked any more.
var ErrClosed = errors.New("lot: closed")

// Waiter is who is told that its connection can be read.
type Waiter interface {
	// Readable is called on the lot's goroutine, the keeper k's. It reads what is
	// there, and is called again as long as there is something left. While it
	// works nobody else is told, so before it waits for anything it calls k.Leave.
	Readable(k *Keeper)
}

// keepPlaces is how many places an empty lot keeps.
const keepPlaces = 256

// Lot holds waiters. Its methods may be called concurrently. The zero value is
// ready; it has a goroutine from the first Park to Close.
type Lot[W Waiter] struct {
	mu      sync.Mutex // guards what follows
	poller  *poller
	failed  error // of making the poller
	closed  bool
	waiting map[int32]uint32 // places by descriptor; events find theirs without it
	places  []place[W]
	free    []uint32
	dead    []W // to be told: their connections were closed by somebody else
	tickets uint32
	wg      sync.WaitGroup // of the keeper, whoever that is
}

// place is where a waiter waits.
type place[W any] struct {
	w      W
	conn   syscall.RawConn
	ticket Ticket // zero: the place is free
	fd     int32
}

// Ticket stands for one Park. The zero value is of none.
type Ticket uint64 // a number, and in the low half the place

// Keeper is the role of the goroutine that waits for all.
type Keeper struct {
	left atomic.Bool
	next func() // starts another
}

// Leave gives the role to a new goroutine, if that was not done before. Whoever
// is being told then is not told any more: it has to be taken out of the lot first.
// It may be called by any goroutine.
func (k *Keeper) Leave() {
	if k.left.CompareAndSwap(false, true) {
		k.next()
	}
}

// Park tells w whenever c can be read or has come to its end, perhaps before Park
// has returned, until Take; before, it stores the ticket for that. That c was
// closed in this process it notices within a few seconds only. An error says that
// nothing is waited for; it is errors.ErrUnsupported where the system has no means.
func (l *Lot[W]) Park(c syscall.RawConn, w W, store func(Ticket)) (err error) {
	l.mu.Lock()
	if err = l.open(); err != nil {
		l.mu.Unlock()
		return err
	}
	p := l.poller
	l.mu.Unlock()
	// The descriptor cannot be closed, and its number be another's, inside.
	failed := c.Control(func(n uintptr) {
		fd := int32(n)
		l.mu.Lock()
		if l.tickets++; l.tickets == 0 {
			l.tickets = 1
		}
		at, used := l.waiting[fd]
		switch last := len(l.free) - 1; {
		case used: // the descriptor has been closed, and its number used again
			l.dead = append(l.dead, l.places[at].w)
		case last >= 0:
			at, l.free = l.free[last], l.free[:last]
		default:
			at = uint32(len(l.places))
			l.places = append(l.places, place[W]{})
		}
		ticket := Ticket(l.tickets)<<32 | Ticket(at)
		l.waiting[fd], l.places[at] = at, place[W]{w, c, ticket, fd}
		l.mu.Unlock()
		store(ticket)
		if err = p.arm(ticket, fd); err != nil {
			l.forget(ticket)
		}
	})
	if failed != nil {
		err = failed
	}
	return err
}

// Take lets go of a waiter. It may be told all the same, if that has begun.
func (l *Lot[W]) Take(t Ticket) {
	if p, ok := l.forget(t); ok {
		p.conn.Control(func(uintptr) { l.poller.disarm(p.fd) }) // who is closed has left it by that
	}
}

func (l *Lot[W]) forget(t Ticket) (p place[W], ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p, ok = l.place(t); ok {
		l.vacate(uint32(t))
	}
	return p, ok
}

// place returns what waits with the ticket. Called with the lock.
func (l *Lot[W]) place(t Ticket) (p place[W], ok bool) {
	if at := uint32(t); t != 0 && int(at) < len(l.places) {
		p = l.places[at]
	}
	return p, t != 0 && p.ticket == t
}

// vacate makes a place free. Called with the lock.
func (l *Lot[W]) vacate(at uint32) {
	delete(l.waiting, l.places[at].fd)
	l.places[at] = place[W]{}
	l.free = append(l.free, at)
	if len(l.waiting) == 0 && len(l.places) > keepPlaces {
		l.waiting, l.places, l.free = make(map[int32]uint32), nil, nil
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
	l.poller, l.waiting = p, make(map[int32]uint32)
	l.wg.Add(1)
	go l.keep()
	return nil
}

// keep is a keeper's life.
func (l *Lot[W]) keep() {
	k := &Keeper{next: func() { go l.keep() }}
	ended := false
	defer func() {
		switch {
		case k.left.Load():
		case ended:
			l.wg.Done()
		default:
			k.Leave() // the goroutine was ended by who was told
		}
	}()
	l.tellDead(k) // whom the last keeper has left
	var events events
	for !k.left.Load() {
		n, err := l.poller.wait(&events)
		switch {
		case err == errLook:
			l.look(k)
		case err != nil:
			ended = true
			return
		}
		for i := range n {
			if k.left.Load() {
				return // the others are told by the next keeper
			}
			l.tell(events.ticket(i), k)
		}
	}
}

// look tells those whose connections were closed by somebody else: of that there
// is no event.
func (l *Lot[W]) look(k *Keeper) {
	l.mu.Lock()
	for at, p := range l.places {
		if p.ticket != 0 && p.conn.Control(func(uintptr) {}) != nil {
			l.vacate(uint32(at))
			l.dead = append(l.dead, p.w)
		}
	}
	l.mu.Unlock()
	l.tellDead(k)
}

func (l *Lot[W]) tellDead(k *Keeper) {
	for !k.left.Load() {
		l.mu.Lock()
		n := len(l.dead) - 1
		if n < 0 {
			l.dead = nil
			l.mu.Unlock()
			return
		}
		w := l.dead[n]
		l.dead = l.dead[:n]
		l.mu.Unlock()
		w.Readable(k)
	}
}

func (l *Lot[W]) tell(t Ticket, k *Keeper) {
	l.mu.Lock()
	p, ok := l.place(t)
	l.mu.Unlock()
	if ok {
		p.w.Readable(k)
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
