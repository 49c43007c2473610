package tp

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/teleport-go/teleport/core/internal/lot"
	"github.com/teleport-go/teleport/core/internal/pace"
)

// A session over which nothing comes has no goroutine. Its connection is parked:
// one of the peer's lots waits for many such connections at once. When something
// comes, the lot's keeper visits the session: it reads what is there, and does with
// it what a reader does. So a peer with many sessions, each with a message now and
// then, pays for no goroutine that has to be woken, and no read that finds nothing.
//
// While the keeper is on a visit, no other session of the lot is looked after. So
// whoever is about to wait for anything ends the visit first: the goroutine becomes
// the session's own, which reads as long as it is worth it, and the lot gets a new
// keeper. That goes for the rest of a frame, for a session over which much comes,
// for one whose connection has ended, for a hook that has not promised to be prompt,
// and for a handler that takes its time, by the same guards as in inline.go.
//
// A session is parked when it begins, again when its own reader has waited for
// single messages for a while, and when the sweep has found it waiting in vain.
// Only connections that are read by their descriptor are (see
// socket.Conn.Descriptor); all others keep a reader.

const (
	// parkAfter is how long a reader waits in vain before its session is parked.
	parkAfter = int64(5 * time.Second)
	// crowd is how many sessions a peer has before visits are worth it: below,
	// whoever waits itself is faster.
	crowd = 16
	// maxLooks is how often a visit may find something before the session gets a
	// reader of its own.
	maxLooks = 4
	// maxLone is how many single messages a reader waits for before it gives the
	// session back.
	maxLone = 64
	// maxLots bounds the lots of a peer; it has one a processor.
	maxLots = 16
)

// Who waits for the next byte of a link.
const (
	itself  uint32 = iota // its reader; or nobody, since there is none
	parked                // a lot
	visited               // nobody: the lot's keeper reads
)

// Where a reader is, as far as the sweep may disturb it.
const (
	busy    uint32 = iota
	resting        // waiting for the first byte of a message
	roused         // the sweep has ended the wait
)

var pastTime = time.Unix(1, 0)

// crowded reports whether the peer has so many sessions that visits are worth it,
// and no hook that might wait on one.
func (s *session) crowded() bool {
	return (s.env.hub.count() >= crowd || pace.Always) && !s.env.hooks().waits
}

// lotOf is a lot, and the link whose handler its keeper runs.
type lotOf struct {
	lot.Lot[*link]
	inside atomic.Pointer[link]
	_      [64]byte
}

func (s *session) lot() *lotOf { return &s.env.lots[s.place%uint32(len(s.env.lots))] }

// wait waits for a message. It returns errHandedOver if the session was parked.
func (s *session) wait(l *link) error {
	if l.sock.Buffered() > 0 {
		return nil
	}
	if l.keeper != nil {
		if given, err := s.look(l); given || err != nil {
			return err
		}
	}
	if l.got > 1 {
		l.lone = 0
	} else if l.lone++; l.lone > maxLone && s.crowded() && !l.busy() {
		l.lone = 0
		l.unattend()
		l.pause()
		if s.park(l) {
			return errHandedOver
		}
	}
	l.got = 0
	for l.sock.Buffered() == 0 && l.sock.Descriptor() != nil {
		began := s.env.sweeper.Now()
		ok, err := s.poll(l, began)
		l.replies = 0
		if ok || err != nil {
			l.waited(s.env.sweeper.Now() - began)
			return err
		}
		l.waits.Add(1)
		l.rest.Store(resting)
		err = l.sock.Wait()
		l.waited(s.env.sweeper.Now() - began)
		if l.rest.Swap(busy) != roused {
			return err
		}
		l.mu.Lock() // until the sweep has set the deadline
		l.conn.SetReadDeadline(time.Time{})
		l.mu.Unlock()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			s.watchRest(l) // something has come meanwhile
			return err
		}
		if l.sock.Buffered() == 0 && s.park(l) {
			return errHandedOver
		}
	}
	return l.sock.Wait()
}

// look is wait on a visit. If nothing is left it parks the session again (given,
// errHandedOver); if there is too much it ends the visit and returns false.
func (s *session) look(l *link) (given bool, err error) {
	if l.sock.Descriptor() == nil { // the protocol reads ahead: it alone knows what is there
		l.endVisit()
		return false, nil
	}
	for l.sock.Buffered() == 0 {
		if l.looks > 0 && l.sock.Dry() {
			if l.goOn() {
				return true, errHandedOver
			}
		}
		if l.looks++; l.looks > maxLooks {
			l.endVisit()
			return false, nil
		}
		l.trying = true
		ok, err := l.sock.TryWait()
		l.trying = false
		switch {
		case err != nil:
			return true, err
		case !ok && l.goOn():
			return true, errHandedOver
		}
	}
	return true, nil
}

// goOn ends the keeper's work here: the lot tells it when there is more. It
// returns false if this side has closed the connection meanwhile, which the
// lot would not notice.
func (l *link) goOn() bool {
	l.pause()
	l.sock.Spare()
	k := l.keeper
	l.keeper = nil
	l.since = l.env.sweeper.Now()
	l.place.Store(parked)
	if !l.shut.Load() || !l.place.CompareAndSwap(parked, visited) {
		return true
	}
	l.keeper = k
	return false
}

// endVisit makes the goroutine the session's own, if it was the lot's. It is for
// whoever has the reading.
func (l *link) endVisit() {
	k := l.keeper
	if k == nil {
		return
	}
	l.keeper = nil
	l.place.Store(itself)
	l.sess.lot().Take(lot.Ticket(l.ticket.Load()))
	k.Leave()
	l.sess.watchRest(l)
}

// park gives the reading away until there is something to read. It is the
// reader's last act if it returns true.
func (s *session) park(l *link) bool {
	c := l.sock.Descriptor()
	if c == nil || l.sock.Buffered() > 0 {
		return false
	}
	l.looks, l.since = 0, s.env.sweeper.Now()
	l.place.Store(parked)
	err := s.lot().Park(c, l, func(t lot.Ticket) { l.ticket.Store(uint64(t)) })
	if err != nil {
		return !l.place.CompareAndSwap(parked, itself) // who has closed it may have been faster
	}
	return true
}

// Readable is called by the lot.
func (l *link) Readable(k *lot.Keeper) {
	if !l.place.CompareAndSwap(parked, visited) {
		return
	}
	l.keeper, l.looks = k, 0
	l.visited = l.env.sweeper.Now()
	l.waited(l.visited - l.since)
	if !l.sess.crowded() || l.busy() {
		l.endVisit()
	}
	l.reader.Add(1)
	l.sess.run(l)
}

// close closes the connection; the reader notices.
func (l *link) close() {
	if l.place.Load() != itself { // now: a descriptor that somebody has a copy of does not leave the lot by being closed
		l.sess.lot().Take(lot.Ticket(l.ticket.Load()))
	}
	l.mu.Lock()
	conn := l.conn // which a hook may replace
	l.mu.Unlock()
	conn.Close()
	l.shut.Store(true)
	if l.place.CompareAndSwap(parked, itself) {
		l.sess.lot().Take(lot.Ticket(l.ticket.Load()))
		l.read()
	}
}

// rouse is called by the sweep: it ends the wait of a reader that has waited since
// the last time. It returns when it wants to be called again.
func (l *link) rouse(now int64) (next int64) {
	at := l.restAt.Load()
	if at == 0 || now < at {
		return at
	}
	if l.place.Load() != itself {
		l.restAt.CompareAndSwap(at, 0)
		return l.restAt.Load()
	}
	if waits := l.waits.Load(); waits != l.restedAt {
		l.restedAt = waits
		return l.restLater(now)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.rest.CompareAndSwap(resting, roused) {
		return l.restLater(now) // in a handler, or in the middle of a message
	}
	l.restAt.Store(0)
	l.conn.SetReadDeadline(pastTime)
	return 0
}

func (l *link) restLater(now int64) int64 {
	l.restAt.Store(now + parkAfter)
	return now + parkAfter
}

// watchRest lets the sweep look at a reader that begins.
func (s *session) watchRest(l *link) {
	if l.sock.Descriptor() != nil {
		s.env.sweeper.Touch(s, l.restLater(s.env.sweeper.Now()))
	}
}
