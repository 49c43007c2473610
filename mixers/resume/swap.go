package resume

import (
	"errors"
	"time"
)

// This file holds how a stream changes its connection, and notices that it has to.

var errPosition = errors.New("the position is not in the stream")

// attach makes k the connection of the stream. The other side has received everything up
// to the position with these low bits. The caller holds c.swap.
func (c *Conn) attach(k *carrier, low uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isOver {
		return c.writeError()
	}
	d := (low - c.sent.acked) & positionMask
	if d > c.sent.end-c.sent.acked {
		return errPosition
	}
	c.sent.drop(c.sent.acked + d)
	if c.wire = c.sent.acked; !c.flushing {
		c.shown = c.wire
	}
	if !c.lostAt.IsZero() {
		c.o.Stats.Lost.Add(-1)
		c.o.Stats.Resumed.Add(1)
		c.lostAt = time.Time{}
		c.side.found(c)
	}
	c.cur.Store(k)
	c.quiet = 0
	c.timer.Reset(c.o.KeepAlive)
	c.passReadLimit()
	if k.raw == nil {
		go c.pump(k)
	}
	signal(c.roomy)
	signal(c.arrived)
	signal(c.attached)
	c.roam()
	c.flush()
	return nil
}

// lose notes that the connection is broken.
func (c *Conn) lose(k *carrier, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loseLocked(k, err)
}

func (c *Conn) loseLocked(k *carrier, err error) {
	if c.cur.Load() != k {
		return
	}
	c.cur.Store(nil)
	k.kill()
	if c.isSettled() {
		c.end(nil)
		return
	}
	c.lostAt, c.lostErr = time.Now(), err
	c.timer.Reset(c.o.Window)
	c.o.Stats.Lost.Add(1)
	signal(c.arrived)
	signal(c.taken)
	c.sent.shrink()
	c.side.lost(c)
}

// isSettled reports whether this stream needs no other connection. The caller holds c.mu.
func (c *Conn) isSettled() bool {
	if c.peerBye || c.byeAt > 0 && c.sent.acked >= c.byeAt {
		return true
	}
	return c.peerEnd.Load() && c.finished && c.sent.acked >= c.endAt && (c.byeAt > 0 || c.cur.Load() == nil)
}

// settle ends the stream if nothing is left to be done: what is being written says that this
// side has read the other's end, or that it has closed. The caller holds c.mu.
func (c *Conn) settle() {
	if c.isSettled() && !c.flushing {
		c.end(nil)
	}
}

// fail ends the stream because of err.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(err)
}

// end ends the stream; err is nil if it has come to its end. The caller holds c.mu.
func (c *Conn) end(err error) {
	if c.isOver {
		return
	}
	c.isOver, c.err = true, err
	if k := c.cur.Swap(nil); k != nil {
		k.kill()
	}
	if !c.lostAt.IsZero() {
		c.o.Stats.Lost.Add(-1)
		if errors.Is(err, ErrExpired) {
			c.o.Stats.Expired.Add(1)
		}
		c.lostAt = time.Time{}
	}
	c.timer.Stop()
	c.cancel()
	close(c.over)
	c.side.forget(c)
	signal(c.arrived)
	signal(c.taken)
	c.roam()
}

// tick runs on a timer: every KeepAlive while there is a connection, and when the Window is
// over while there is none.
func (c *Conn) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isOver {
		return
	}
	if c.frozen != nil {
		c.timer.Reset(c.o.KeepAlive)
		return
	}
	if !c.lostAt.IsZero() {
		if left := c.o.Window - time.Since(c.lostAt); left > 0 {
			c.timer.Reset(left)
			return
		}
		c.end(&ended{ErrExpired, c.lostErr})
		return
	}
	defer func() {
		if !c.isOver && c.lostAt.IsZero() {
			c.timer.Reset(c.o.KeepAlive)
		}
	}()
	k := c.cur.Load()
	if k == nil {
		return // a connection takes the place of another one
	}
	if c.quiet += c.o.KeepAlive; c.heard.Swap(false) {
		c.quiet = 0
	}
	if c.quiet >= c.o.IdleTimeout && !c.hasUnread(k) {
		c.loseLocked(k, errIdle)
		return
	}
	if !c.wrote {
		c.ack()
		c.flush()
	}
	c.wrote = false
	c.sent.shrink()
}

// hasUnread reports whether something has arrived that nobody has read yet. The caller
// holds c.mu.
func (c *Conn) hasUnread(k *carrier) bool {
	if k.raw != nil {
		return k.raw.readable()
	}
	return c.stuffed.Load()
}
