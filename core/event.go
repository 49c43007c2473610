package tp

import "sync/atomic"

// event is a channel that is closed once, and made only when somebody waits for
// it: most sessions end without that. The zero value is ready; it may be used
// concurrently.
type event struct{ ch atomic.Pointer[chan struct{}] }

var (
	closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()
	happened   = &closedChan
)

// wait returns what is closed by fire.
func (e *event) wait() <-chan struct{} {
	if ch := e.ch.Load(); ch != nil {
		return *ch
	}
	made := make(chan struct{})
	if e.ch.CompareAndSwap(nil, &made) {
		return made
	}
	return *e.ch.Load() // somebody else's, or it has happened
}

// fire lets all waits end, those to come too. Firing again does nothing.
func (e *event) fire() {
	if ch := e.ch.Swap(happened); ch != nil && ch != happened {
		close(*ch)
	}
}
