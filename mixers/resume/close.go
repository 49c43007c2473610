package resume

import (
	"net"
	"time"
)

// grace is how long a stream that was closed waits for the other side to receive more of
// it.
const grace = 1500 * time.Millisecond

var (
	noDeadline = time.Time{}
	longAgo    = time.Unix(1, 0)
)

// CloseWrite ends this side's direction: the other side reads io.EOF behind the bytes
// written before. It ends a Write that waits.
func (c *Conn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.writeError(); err != nil {
		return err
	}
	c.finish()
	c.flush()
	return nil
}

// finish ends this side's direction. The caller holds c.mu.
func (c *Conn) finish() {
	if c.finished {
		return
	}
	c.finished = true
	c.say(recordEnd)
	c.endAt = c.sent.end
	signal(c.roomy)
}

// say appends a record without bytes. The caller holds c.mu.
func (c *Conn) say(head uint16) {
	var record [headSize]byte
	c.sent.append(appendHead(record[:0], head))
}

// Close ends both directions. What was written before still arrives: that goes on in the
// background as long as the other side receives something every 1.5 seconds, and at most for
// the Window of the options. The other side's session ends as soon as it has read that.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if isClosed(c.closing) {
		return net.ErrClosed
	}
	readAcks := !c.onlyAcks()
	close(c.closing)
	if k := c.cur.Load(); readAcks && k != nil && k.raw != nil {
		k.conn.SetReadDeadline(longAgo) // ends a Read
	}
	signal(c.arrived)
	signal(c.roomy)
	if c.isOver {
		return nil
	}
	c.finish()
	c.say(recordBye)
	c.byeAt = c.sent.end
	c.flush()
	if c.settle(); c.isOver {
		return nil
	}
	if readAcks {
		c.roam()
		go c.readAcks()
	}
	c.linger(c.sent.acked, time.Now().Add(c.o.Window))
	return nil
}

// linger ends the stream after the grace, unless the other side has received more than up to
// this position. The caller holds c.mu.
func (c *Conn) linger(acked uint64, last time.Time) {
	time.AfterFunc(grace, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case c.isOver:
		case c.frozen != nil: // nothing is sent or received meanwhile
			c.linger(acked, last)
		case c.sent.acked == acked || time.Now().After(last):
			c.end(nil)
		default:
			c.linger(c.sent.acked, last)
		}
	})
}
