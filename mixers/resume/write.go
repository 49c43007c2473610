package resume

import (
	"errors"
	"net"
	"os"
	"time"
)

// This file holds what a stream sends: records go into sent, and from there to the present
// connection.

// helpAfter is how long a Write waits for room before it reads what has arrived, since
// acknowledgements may be among that, and perhaps nobody else reads.
const helpAfter = 20 * time.Millisecond

// Write takes p, to be sent by the present connection and those that follow it. It waits
// while the other side has not acknowledged as much as Options.Buffer.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for {
		if c.writeLimit.passed() {
			return n, os.ErrDeadlineExceeded
		}
		m, err := c.TryWrite(p[n:])
		if n += m; n == len(p) || err != nil && err != errAgain {
			return n, err
		}
		c.starved.Store(true)
		c.writeLimit.wait(helpAfter, c.roomy, c.over)
		c.help()
		c.starved.Store(false)
	}
}

// TryWrite takes a part of p without a wait, for the engine: the error is socket.ErrAgain if
// there is no room.
func (c *Conn) TryWrite(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.writeError(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if c.frozen != nil {
		return 0, errAgain
	}
	memory := len(c.sent.ring)
	if c.ackable.Load() != c.ackSent.Load() {
		c.ack()
	}
	for n < len(p) {
		room := c.sent.room() - slack - headSize
		if room <= 0 {
			break
		}
		b := p[n:min(len(p), n+room, n+recordSize)]
		var head [headSize]byte
		c.sent.append(appendHead(head[:0], uint16(len(b))))
		c.sent.append(b)
		n += len(b)
	}
	if n == 0 {
		return 0, errAgain
	}
	if !c.lostAt.IsZero() {
		c.side.grown(c, len(c.sent.ring)-memory)
	}
	c.flush()
	return n, nil
}

// writeError is why nothing can be written. The caller holds c.mu.
func (c *Conn) writeError() error {
	switch {
	case c.finished:
		return net.ErrClosed
	case c.err != nil:
		return c.err
	case c.peerBye:
		return &ended{errPeerClosed, nil}
	case c.isOver:
		return net.ErrClosed
	}
	return nil
}

// ack tells the other side what it may forget. The caller holds c.mu, and flushes.
func (c *Conn) ack() {
	p := c.ackable.Load()
	var record [ackSize]byte
	appendAck(record[:0], p)
	switch {
	case c.ackAt != noAck && c.ackAt >= c.shown:
		c.sent.write(c.ackAt, record[:]) // the last one is not under way yet
	case c.sent.room() < ackSize+2*headSize:
		return // the other side acknowledges nothing itself
	default:
		c.ackAt = c.sent.end
		c.sent.append(record[:])
	}
	c.ackSent.Store(p)
}

// learn notes what the other side's records said, and acknowledges. The caller holds c.mu.
func (c *Conn) learn(w news) error {
	if w.acked {
		if err := c.acked(w.position); err != nil {
			return err
		}
	}
	if w.end {
		readAcks := !c.isOver && !c.onlyAcks()
		c.peerEnd.Store(true)
		signal(c.arrived)
		if readAcks {
			c.roam()
			go c.readAcks()
		}
	}
	c.peerBye = c.peerBye || w.bye
	if w.end || w.bye || c.ackable.Load()-c.ackSent.Load() >= ackEvery {
		c.ack()
		c.flush()
	}
	c.settle()
	return nil
}

var errBadAck = errors.New("the other side acknowledges what was not sent")

// acked notes that the other side has everything up to a position, given by its low bits.
func (c *Conn) acked(low uint64) error {
	switch d := (low - c.sent.acked) & positionMask; {
	case d > positionMask/2: // an old one, sent again
		return nil
	case d > c.sent.end-c.sent.acked:
		return errBadAck
	case d > 0:
		c.sent.drop(c.sent.acked + d)
		signal(c.roomy)
	}
	return nil
}

// flush writes what is ready, without a wait. The caller holds c.mu, which flush releases
// meanwhile.
func (c *Conn) flush() {
	for !c.flushing && c.frozen == nil {
		k := c.cur.Load()
		if k == nil || c.wire == c.sent.end {
			return
		}
		c.flushing = true
		if k.raw == nil || !c.writePart(k, k.raw.write) {
			go c.flushAll()
			return
		}
		c.flushed()
	}
}

// flushed notes that nobody writes. The caller holds c.mu.
func (c *Conn) flushed() {
	c.flushing = false
	if c.frozen != nil {
		signal(c.still)
	}
}

// writePart writes a part of what is ready by f, without the lock. It returns false if f
// returns errAgain. The caller holds c.mu, and c.flushing is true.
func (c *Conn) writePart(k *carrier, f func([]byte) (int, error)) (ok bool) {
	b := c.sent.lend(c.wire)
	c.shown = max(c.shown, c.wire+uint64(len(b)))
	c.mu.Unlock()
	n, err := f(b)
	c.mu.Lock()
	c.wrote = true
	c.sent.release()
	signal(c.roomy)
	if c.cur.Load() == k {
		c.wire += uint64(n)
		c.shown = c.wire
	}
	if c.frozen != nil && errors.Is(err, os.ErrDeadlineExceeded) { // of freeze
		err = errAgain
	}
	if err != nil && err != errAgain {
		c.loseLocked(k, err)
	}
	return err != errAgain
}

// flushAll writes until nothing is left. It runs on a goroutine of its own.
func (c *Conn) flushAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		k := c.cur.Load()
		if k == nil || c.wire == c.sent.end || c.frozen != nil {
			c.flushed()
			c.settle()
			return
		}
		c.writePart(k, k.write)
	}
}

// write writes a part of b, and waits for the network if it must.
func (k *carrier) write(b []byte) (n int, err error) {
	if k.raw == nil {
		return k.conn.Write(b[:min(len(b), 2*recordSize)])
	}
	err = errAgain
	failed := k.raw.waitWrite(func(uintptr) bool {
		n, err = k.raw.write(b)
		return err != errAgain
	})
	if failed != nil {
		return 0, failed
	}
	return n, err
}
