package kcp

import (
	"net"
	"time"
)

// CloseWrite ends this side's direction: the other side reads io.EOF after the bytes
// written before. It ends a Write that waits.
func (c *recordConn) CloseWrite() error {
	if !c.finish() {
		return net.ErrClosed
	}
	return c.say(recordEnd)
}

// recordConn is a Conn with records, which can end one direction.
type recordConn struct{ *Conn }

// Close ends both directions. The bytes written before still arrive, for at most 2
// seconds: after a CloseWrite Close waits until they have, else that goes on in the
// background.
func (c *Conn) Close() error {
	c.mu.Lock()
	if isClosed(c.closing) {
		c.mu.Unlock()
		return net.ErrClosed
	}
	close(c.closing)
	c.mu.Unlock()
	wait := !c.finish()
	go c.end(!wait)
	if wait {
		<-c.ended
	}
	return nil
}

// end waits until each side has read everything, at most until the grace is over, and
// ends the session. say says that the other side does not know yet that this direction
// has ended.
func (c *Conn) end(say bool) {
	wait := grace
	if c.o.v7 {
		wait = graceV7
	}
	c.mu.Lock()
	limit := time.NewTimer(time.Until(c.finished.Add(wait)))
	c.mu.Unlock()
	defer limit.Stop()
	switch {
	case c.o.v7:
		c.linger(limit.C, nil) // nobody says when the last bytes have arrived
	default:
		if say {
			c.say(recordEnd)
		}
		readAll := c.peerReadAll
		if !c.dialled {
			readAll = nil // the dialling side ends the session
		}
		c.linger(limit.C, readAll)
		for range 3 { // one may be lost
			c.wire.tellGone(c.sess.GetConv(), c.addr)
		}
	}
	c.sess.Close()
	<-c.pumped
	c.wire.forget(c.addr, c.sess.GetConv())
	c.wire.release()
	c.mu.Lock()
	close(c.ended)
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
}

// linger waits for readAll and the end of the other direction, for the end of the session,
// or for the limit.
func (c *Conn) linger(limit <-chan time.Time, readAll <-chan struct{}) {
	for _, step := range []<-chan struct{}{readAll, c.peerEnded} {
		select {
		case <-step:
		case <-c.gone:
			return
		case <-c.pumped:
			return
		case <-limit:
			return
		}
	}
}
