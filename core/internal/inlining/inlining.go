// Package inlining decides which handlers are short enough to be run by the
// goroutine that reads the connection.
//
// A handler is allowed after a run of short samples, and banned after slow calls:
// the messages behind one on its connection have to wait. One slow call among many
// thousands is forgiven, as a busy machine takes the processor away from any
// goroutine, and so that the gain on the others outweighs the wait. A first ban is
// short; each that follows soon is much longer, up to a minute.
package inlining

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// short is about what it costs to hand a message to another goroutine: a
	// handler that takes longer gains little, and would use one processor where
	// there may be many.
	short = int64(3 * time.Microsecond)
	long  = int64(30 * time.Microsecond)

	enough = 64                 // points to be allowed, and at most
	hot    = int64(time.Second) // the time in which they have to come

	apart = 256 // samples between two slow calls that are forgiven

	firstBan = int64(20 * time.Millisecond)
	maxBan   = int64(time.Minute)
	growth   = 8  // of a ban over the one before
	soon     = 16 // bans; after a longer time without one they are short again
)

// Record is what is known of one handler. The zero value is ready; its methods may
// be called concurrently. Times are nanoseconds of any one clock.
type Record struct {
	allowed atomic.Bool

	mu      sync.Mutex // guards the fields below
	points  int
	begun   int64 // when the first of the points came
	until   int64 // the end of the ban
	ban     int64 // how long the last one was
	earned  int64 // when it was allowed the last time
	samples int   // since then, or since the last slow call
}

// Always allows everything from the beginning and bans nothing. It is for tests, and
// is set before there is any Record.
var Always bool

// Init makes a Record obey Always.
func (r *Record) Init() {
	if Always {
		r.allowed.Store(true)
	}
}

// Allowed reports whether the reader may run the handler.
func (r *Record) Allowed() bool { return r.allowed.Load() }

// Sample notes how long one call took, and reports whether the handler is allowed
// from now on by that. A call that meets another one drops its sample.
func (r *Record) Sample(now, took int64) (allowed bool) {
	if !r.mu.TryLock() {
		return false
	}
	defer r.mu.Unlock()
	allowed = r.allowed.Load()
	if !allowed && now < r.until {
		return false
	}
	if r.points == 0 {
		r.begun = now
	}
	r.samples++
	switch {
	case took < short:
		r.points++
	case took < long:
		r.points -= 2
	default:
		r.points -= enough / 4
	}
	switch {
	case r.points <= 0:
		r.points = 0
		if allowed {
			r.forbid(now)
		}
	case r.points >= enough:
		r.points = enough
		if allowed {
			return false
		}
		if now-r.begun > hot {
			r.points = 0 // too rare for it to matter
			return false
		}
		r.earned, r.samples = now, 0
		r.allowed.Store(true)
		return true
	}
	return false
}

// Slow notes a call that took long. It bans the handler if the one before is near, if
// it came soon after the handler was allowed, or if strict.
func (r *Record) Slow(now int64, strict bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	near := strict || r.samples < apart
	r.samples = 0
	if near && r.allowed.Load() {
		r.forbid(now)
	}
}

func (r *Record) forbid(now int64) {
	if Always {
		return
	}
	r.allowed.Store(false)
	r.points = 0
	if now-r.earned > soon*r.ban {
		r.ban = 0
	}
	r.ban = min(max(growth*r.ban, firstBan), maxBan)
	r.until = now + r.ban
}
