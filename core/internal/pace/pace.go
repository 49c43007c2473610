// Package pace decides which handlers are short enough to be run by the
// goroutine that reads.
//
// A handler earns that by a run of short samples, and loses it by slow calls:
// whatever is behind one on the connection has to wait. One slow call among many
// thousands is allowed, as a busy machine takes the processor away from whoever
// runs, and so that the gain on the others outweighs the wait. A first loss is
// short; each that follows soon is much longer, up to a minute.
package pace

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// short is what handing a message to another goroutine costs, about: who
	// takes longer gains little here, and would use one processor where there
	// may be many.
	short = int64(3 * time.Microsecond)
	long  = int64(30 * time.Microsecond)

	enough = 64                 // points to earn it, and at most
	hot    = int64(time.Second) // the time in which they have to come

	apart = 256 // samples between two slow calls that are forgiven

	firstBan = int64(20 * time.Millisecond)
	maxBan   = int64(time.Minute)
	growth   = 8  // of a ban over the one before
	soon     = 16 // bans; who was well for longer begins again
)

// Pace is what is known of one handler. The zero value is ready; its methods may
// be called concurrently. Times are nanoseconds of any one clock.
type Pace struct {
	here atomic.Bool

	mu     sync.Mutex // guards what follows
	points int
	begun  int64 // when the first of the points came
	until  int64 // nothing is earned before
	ban    int64 // how long it was taken away the last time
	earned int64 // when it was earned the last time
	since  int   // samples since then, or since the last slow call
}

// Always says that everything has earned it from the beginning, and never loses
// it, and that the reading is handed over at once. It is for tests, and is set
// before there is any Pace.
var Always bool

// Begin makes a Pace obey Always.
func (p *Pace) Begin() {
	if Always {
		p.here.Store(true)
	}
}

// Here reports whether the reader may run the handler.
func (p *Pace) Here() bool { return p.here.Load() }

// Sample notes that one call took so long, and reports whether by that the
// handler has earned to be run by the reader. Who collides with another sample
// is not counted.
func (p *Pace) Sample(now, took int64) (earned bool) {
	if !p.mu.TryLock() {
		return false
	}
	defer p.mu.Unlock()
	here := p.here.Load()
	if !here && now < p.until {
		return false
	}
	if p.points == 0 {
		p.begun = now
	}
	p.since++
	switch {
	case took < short:
		p.points++
	case took < long:
		p.points -= 2
	default:
		p.points -= enough / 4
	}
	switch {
	case p.points <= 0:
		p.points = 0
		if here {
			p.slow(now)
		}
	case p.points >= enough:
		p.points = enough
		if here {
			return false
		}
		if now-p.begun > hot {
			p.points = 0 // too rare for it to matter
			return false
		}
		p.earned, p.since = now, 0
		p.here.Store(true)
		return true
	}
	return false
}

// Slow notes that one call took long. Two of them too near to each other, or the
// first too soon, take away what was earned; so does each if strict.
func (p *Pace) Slow(now int64, strict bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	near := strict || p.since < apart
	p.since = 0
	if near && p.here.Load() {
		p.slow(now)
	}
}

func (p *Pace) slow(now int64) {
	if Always {
		return
	}
	p.here.Store(false)
	p.points = 0
	if now-p.earned > soon*p.ban {
		p.ban = 0
	}
	p.ban = min(max(growth*p.ban, firstBan), maxBan)
	p.until = now + p.ban
}
