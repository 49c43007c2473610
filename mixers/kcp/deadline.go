package kcp

import (
	"sync"
	"time"
)

// deadline is a point in time that can be waited for and moved.
type deadline struct {
	mu      sync.Mutex // guards the fields below
	timer   *time.Timer
	passed  chan struct{} // closed at the deadline
	changed chan struct{} // closed when the deadline is moved
	at      time.Time
}

func newDeadline() *deadline {
	return &deadline{passed: make(chan struct{}), changed: make(chan struct{})}
}

// set moves the deadline; the zero time is never.
func (d *deadline) set(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.passed // the function of the timer has begun
	}
	d.timer, d.at = nil, at
	if isClosed(d.passed) {
		d.passed = make(chan struct{})
	}
	close(d.changed)
	d.changed = make(chan struct{})
	if at.IsZero() {
		return
	}
	passed := d.passed
	if left := time.Until(at); left > 0 {
		d.timer = time.AfterFunc(left, func() { close(passed) })
		return
	}
	close(passed)
}

// wait returns a channel that is closed when the deadline has passed, and one that is
// closed when it is moved.
func (d *deadline) wait() (passed, changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed, d.changed
}

// time returns the deadline.
func (d *deadline) time() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
