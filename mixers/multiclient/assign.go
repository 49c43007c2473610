package multiclient

import (
	"context"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// This file holds which session a message uses, and how sessions come and go.

// acquire returns a session that the caller must release, or an error.
func (c *MultiClient) acquire(setting []tp.MessageSetting) (*member, *tp.Rerror) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, closedRerror()
	}
	m := c.leastLoaded()
	full := len(c.members)+c.dialing >= c.quota
	if m != nil && (m.isIdle() || full) {
		c.use(m)
		c.mu.Unlock()
		return m, nil
	}
	w := &waiter{got: make(chan assignment, 1)}
	c.waiters = append(c.waiters, w)
	if !full {
		c.dialing++
		c.routines.Go(c.dial)
	}
	c.mu.Unlock()
	ctx := contextOf(setting)
	select {
	case got := <-w.got:
		return got.member, got.rerr
	case <-ctx.Done():
	}
	if c.forget(w) {
		return nil, tp.ToRerror(context.Cause(ctx))
	}
	got := <-w.got // it was given one meanwhile
	return got.member, got.rerr
}

// contextOf returns the context that the settings give the message.
func contextOf(setting []tp.MessageSetting) context.Context {
	m := tp.GetMessage(setting...)
	defer tp.PutMessage(m)
	return m.Context()
}

// forget takes a waiter out of the queue. It returns false if it has got a session or an
// error.
func (c *MultiClient) forget(w *waiter) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.waiters {
		if c.waiters[i] == w {
			c.waiters = append(c.waiters[:i:i], c.waiters[i+1:]...)
			return true
		}
	}
	return false
}

// isIdle reports whether the session has nothing to do.
func (m *member) isIdle() bool {
	if m.doing > 0 {
		return false
	}
	_, bytes := m.sess.Queued()
	return bytes < largeQueue
}

// load is what the session has to do: messages, and bytes that have not been sent.
func (m *member) load() int64 {
	_, bytes := m.sess.Queued()
	return int64(m.doing) + int64(bytes/largeQueue)
}

// leastLoaded returns the session with the least to do, of several idle ones the one that
// was used last, so that the others become idle for long; nil if there is none. It drops
// those that have ended. The caller holds c.mu.
func (c *MultiClient) leastLoaded() (least *member) {
	var load int64
	for i := len(c.members) - 1; i >= 0; i-- {
		m := c.members[i]
		if !m.sess.Health() {
			c.remove(m)
			continue
		}
		if l := m.load(); least == nil || l < load {
			least, load = m, l
		}
		if load == 0 {
			break
		}
	}
	return least
}

// use notes that a message uses the session. The caller holds c.mu.
func (c *MultiClient) use(m *member) {
	m.doing++
	c.routines.Add(1)
	if last := len(c.members) - 1; c.members[last] != m {
		c.remove(m)
		c.members = append(c.members, m)
	}
}

// release notes that a call has its reply, or a push was accepted, and gives an idle
// session to a waiter.
func (c *MultiClient) release(m *member) {
	defer c.routines.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done++
	if m.doing--; m.doing > 0 || c.closed {
		return
	}
	m.since = time.Now()
	if !m.sess.Health() {
		c.remove(m)
		return
	}
	if len(c.waiters) > 0 {
		c.give(m)
		return
	}
	if c.timer == nil {
		c.timer = time.AfterFunc(c.maxIdle, c.closeIdle)
	}
}

// give gives the session to the oldest waiter. The caller holds c.mu.
func (c *MultiClient) give(m *member) {
	w := c.waiters[0]
	c.waiters = c.waiters[1:]
	c.use(m)
	w.got <- assignment{member: m}
}

// dial makes a session, and gives it to a waiter.
func (c *MultiClient) dial() {
	sess, rerr := c.peer.DialContext(c.ctx, c.addr, c.pf...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialing--
	switch {
	case rerr != nil:
	case c.closed:
		c.routines.Go(func() { sess.Close() })
		return
	default:
		m := &member{sess: sess, since: time.Now()}
		c.created++
		c.members = append(c.members, m)
		if len(c.waiters) > 0 {
			c.give(m)
		} else if c.timer == nil { // its waiter has got another one
			c.timer = time.AfterFunc(c.maxIdle, c.closeIdle)
		}
	}
	// Waiters for whom nobody dials take what there is.
	for len(c.waiters) > c.dialing {
		if m := c.leastLoaded(); m != nil {
			c.give(m)
			continue
		}
		if rerr == nil { // the session has ended at once
			rerr = tp.NewRerror(tp.CodeConnClosed, tp.CodeText(tp.CodeConnClosed), "the new session has ended")
		}
		w := c.waiters[0]
		c.waiters = c.waiters[1:]
		w.got <- assignment{rerr: rerr.Copy()}
	}
}

// closeIdle closes the sessions that have been idle for long, and looks again when the
// next one will have been.
func (c *MultiClient) closeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = nil
	if c.closed {
		return
	}
	now, next := time.Now(), time.Duration(-1)
	for _, m := range append([]*member(nil), c.members...) {
		left := m.since.Add(c.maxIdle).Sub(now)
		switch {
		case !m.sess.Health():
			c.remove(m)
		case !m.isIdle(): // release sets the timer
		case left <= 0:
			c.remove(m)
			c.routines.Go(func() { m.sess.Close() })
		case next < 0 || left < next:
			next = left
		}
	}
	if next >= 0 {
		c.timer = time.AfterFunc(next, c.closeIdle)
	}
}
