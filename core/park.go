package tp

import (
	"errors"
	"os"
	"time"

	"github.com/teleport-go/teleport/core/internal/lot"
)

// A session over which nothing comes gives its goroutine up. Its connection is
// parked: the peer's lot waits for all such connections at once, and a goroutine
// begins to read when there is something to read, or when this side closes the
// connection, since it is the reader who notices all ends. (If somebody else of
// this process closes it the lot notices, within seconds.)
//
// A session is parked when it begins, and again when the sweep has found its
// reader waiting for a while. Only connections that are read by their descriptor
// are (see socket.Conn.Descriptor); all others keep a reader.

// parkAfter is how long a reader waits in vain before its session is parked.
const parkAfter = int64(time.Minute) // longer than the usual heartbeat: waking each time costs more than it saves

// Where a reader is, as far as the sweep may disturb it.
const (
	busy    uint32 = iota
	resting        // waiting for the first byte of a message
	roused         // the sweep has ended the wait
)

var pastTime = time.Unix(1, 0)

// wait waits for a message. It returns errHandedOver if the session was parked.
func (s *session) wait(l *link) error {
	for l.sock.Buffered() == 0 && l.sock.Descriptor() != nil {
		l.waits.Add(1)
		l.rest.Store(resting)
		err := l.sock.Wait()
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

// park gives the reading away until there is something to read. It is the
// reader's last act if it returns true.
func (s *session) park(l *link) bool {
	c := l.sock.Descriptor()
	if c == nil || l.sock.Buffered() > 0 {
		return false
	}
	l.parked.Store(true)
	ticket, err := s.env.lot.Park(c, l)
	if err != nil {
		return !l.parked.CompareAndSwap(true, false) // who has closed it may have been faster
	}
	l.ticket.Store(uint64(ticket))
	if !l.parked.Load() {
		s.env.lot.Forget(ticket)
	}
	return true
}

// Readable is called by the lot.
func (l *link) Readable() { l.unpark() }

func (l *link) unpark() bool {
	if !l.parked.CompareAndSwap(true, false) {
		return false
	}
	l.read()
	return true
}

// close closes the connection; the reader notices.
func (l *link) close() {
	l.conn.Close()
	if l.unpark() {
		l.sess.env.lot.Forget(lot.Ticket(l.ticket.Load()))
	}
}

// rouse is called by the sweep: it ends the wait of a reader that has waited since
// the last time. It returns when it wants to be called again.
func (l *link) rouse(now int64) (next int64) {
	at := l.restAt.Load()
	if at == 0 || now < at {
		return at
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
