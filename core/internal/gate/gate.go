// Package gate bounds how many goroutines do heavy work at once.
package gate

import "time"

// Gate lets a number of goroutines work, and the others wait in the order in which they
// came. Every wait ends: a goroutine that works for longer than the lease loses its
// place, as one may that waits for another goroutine at the same gate. Then one more
// than the number works.
type Gate struct {
	places chan struct{} // holds an element for each goroutine that works
	lease  time.Duration
}

// New returns a gate for n goroutines at once.
func New(n int, lease time.Duration) *Gate {
	return &Gate{make(chan struct{}, n), lease}
}

// Enter waits for a place. The function that it returns gives the place back; it must be
// called once, also if the work panics or ends the goroutine.
func (g *Gate) Enter() (leave func()) {
	g.places <- struct{}{}
	lease := time.AfterFunc(g.lease, g.free)
	return func() {
		if lease.Stop() {
			g.free()
		}
	}
}

func (g *Gate) free() { <-g.places }
