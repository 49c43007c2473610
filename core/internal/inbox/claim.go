package inbox

import (
	"slices"
	"time"
)

// patience is how long a claim waits before it may be granted beyond the limit.
const patience = time.Second

// Claim claims n bytes for a claimant that holds some already. It does not wait: the claim
// is granted if there is room, and else waits for it. The claimant must call Free.
func (m *Memory) Claim(p Purpose, held, n int64) *Claim {
	m.collect(n)
	c := &Claim{m: m, purpose: p, n: n, held: held}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.claims = append(m.claims, c)
	m.waiting[p] += held
	m.grant()
	return c
}

// Granted reports whether the claimant has the memory.
func (c *Claim) Granted() bool {
	if c.isGranted() {
		return true
	}
	c.m.collect(c.n) // it may be what it waits for
	return c.isGranted()
}

func (c *Claim) isGranted() bool {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	return c.granted
}

// Wait waits until the claim is granted. It returns false if done or ended was closed before;
// either may be nil.
func (c *Claim) Wait(done, ended <-chan struct{}) bool {
	if c.Granted() {
		return true
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		room := c.m.Room()
		if c.Granted() {
			return true
		}
		select {
		case <-room:
		case <-late.C:
			c.m.mu.Lock()
			c.late = true
			c.m.grant()
			c.m.mu.Unlock()
		case <-done:
			return false
		case <-ended:
			return false
		}
	}
}

// Force grants the claim now, beyond the limit if necessary.
func (c *Claim) Force() {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.granted {
		return
	}
	c.withdraw()
	c.granted = true
	c.m.drawn += c.n
	c.m.changed(c.n)
}

// Overshoots reports whether the claim was granted beyond the limit. Then the claimant need
// not wait for more.
func (c *Claim) Overshoots() bool {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	return c.m.overshoot == c
}

// Set makes a granted claim one of n bytes: more, whatever the limit is, or fewer, of which
// the others were not used.
func (c *Claim) Set(n int64) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	more := n - c.n
	c.n = n
	c.m.drawn += more
	c.m.changed(more)
}

// Take makes the memory of a granted claim the caller's, as if it had drawn that, and
// returns how much it is. The claim still has to be freed, when the memory is given back.
func (c *Claim) Take() (n int64) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	n, c.n = c.n, 0
	return n
}

// Free ends the claim: it gives the memory back, or ends the wait.
func (c *Claim) Free() {
	m := c.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.granted {
		m.drawn -= c.n
		m.waste(c.n)
		c.n = 0
		if m.overshoot == c {
			m.overshoot = nil
		}
	} else {
		c.withdraw()
	}
	m.grant()
	m.signal()
	m.changed(0)
}

// withdraw removes a claim that waits. Called with mu.
func (c *Claim) withdraw() {
	if i := slices.Index(c.m.claims, c); i >= 0 {
		c.m.forget(i)
	}
}
