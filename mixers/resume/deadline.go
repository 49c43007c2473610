package resume

import (
	"sync"
	"time"
)

// deadline is a point in time that can be moved while others wait for it. The zero value
// is never.
type deadline struct {
	mu      sync.Mutex // guards the fields below
	at      time.Time
	changed chan struct{} // closed when the deadline is moved; nil: nobody waits
}

// set moves the deadline; the zero time is never.
func (d *deadline) set(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = at
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

// get returns the deadline.
func (d *deadline) get() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at
}

// passed reports whether the deadline has passed.
func (d *deadline) passed() bool {
	at := d.get()
	return !at.IsZero() && !at.After(time.Now())
}

// wait waits for one of the channels, for the deadline, for another one, or for at most
// limit, if that is positive.
func (d *deadline) wait(limit time.Duration, a, b <-chan struct{}) {
	d.mu.Lock()
	at := d.at
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	changed := d.changed
	d.mu.Unlock()
	if left := time.Until(at); !at.IsZero() && (limit <= 0 || left < limit) {
		limit = max(left, 1)
	}
	var timer <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-a:
	case <-b:
	case <-changed:
	case <-timer:
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
