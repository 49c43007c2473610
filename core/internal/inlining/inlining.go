// Package inlining decides which handlers are short enough to be run by the
// goroutine that reads the connection.
//
// A handler is allowed after a run of short samples, and banned after slow calls, which
// hold up the next messages of their connection. One slow call among many thousands
// does not ban a handler: a busy machine takes the processor away from any goroutine,
// and the gain on the other calls outweighs the wait. The first ban is short; each
// further one that follows soon is much longer, up to a minute.
package inlining

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// short is about the cost of handing a message to another goroutine: a handler
	// that takes longer gains little, and would use only one processor.
	short = int64(3 * time.Microsecond)
	long  = int64(30 * time.Microsecond)

	enough = 64                 // points to be allowed, and the most points
	hot    = int64(time.Second) // the time in which a handler must get them

	apart = 256 // samples between two slow calls that do not ban

	firstBan = int64(20 * time.Millisecond)
	maxBan   = int64(time.Minute)
	growth   = 8  // how much longer each ban is than the last
	soon     = 16 // so many times the last ban without a ban, and the next is short again
)

// Record holds the samples of one handler. The zero value is ready for use. All methods
// may be called concurrently. Times are nanoseconds of any one clock.
type Record struct {
	allowed atomic.Bool

	mu        sync.Mutex // guards the fields below
	points    int
	begun     int64 // when it got the first of the points
	until     int64 // the end of the ban
	ban       int64 // how long the last one was
	allowedAt int64 // when it was last allowed
	samples   int   // since allowedAt, or since the last slow call
}

// Always allows all handlers from the beginning and bans none. It is for tests, and is
// set before there is any Record.
var Always bool

// Init makes a Record obey Always.
func (r *Record) Init() {
	if Always {
		r.allowed.Store(true)
	}
}

// Allowed reports whether the reader may run the handler.
func (r *Record) Allowed() bool { return r.allowed.Load() }

// Sample records how long one call took, and reports whether that makes the handler
// allowed. If another Sample runs at the same time, this one is dropped.
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
			r.points = 0 // called too rarely to gain anything
			return false
		}
		r.allowedAt, r.samples = now, 0
		r.allowed.Store(true)
		return true
	}
	return false
}

// Slow records a call that took long. It bans the handler if there were few samples
// since the last slow call, or since the handler was allowed, or if strict.
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
	if now-r.allowedAt > soon*r.ban {
		r.ban = 0
	}
	r.ban = min(max(growth*r.ban, firstBan), maxBan)
	r.until = now + r.ban
}
