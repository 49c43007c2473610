// Package event provides a channel that is closed once and made on demand.
package event

import "sync/atomic"

// Event is something that happens once. Its channel is made only when a goroutine waits
// for it, which is rare for the events of a session. The zero value is ready for use. All
// methods may be called concurrently.
type Event struct{ ch atomic.Pointer[chan struct{}] }

var (
	closed   = func() chan struct{} { c := make(chan struct{}); close(c); return c }()
	happened = &closed
)

// Done returns a channel that is closed when the event happens.
func (e *Event) Done() <-chan struct{} {
	if ch := e.ch.Load(); ch != nil {
		return *ch
	}
	made := make(chan struct{})
	if e.ch.CompareAndSwap(nil, &made) {
		return made
	}
	return *e.ch.Load() // another goroutine has made it, or the event has happened
}

// Fire makes the event happen. Later calls do nothing.
func (e *Event) Fire() {
	if ch := e.ch.Swap(happened); ch != nil && ch != happened {
		close(*ch)
	}
}
