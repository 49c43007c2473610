// Package poison lets tests find code that keeps borrowed memory or contexts too long:
// when it is on, memory is scribbled over after its use, and contexts are not used
// again.
package poison

import "sync/atomic"

var on atomic.Int32

// Switch turns poisoning on, and returns the function that turns it off. Calls may nest.
func Switch() (off func()) {
	on.Add(1)
	return func() { on.Add(-1) }
}

// On reports whether poisoning is on.
func On() bool { return on.Load() > 0 }

// Scribble overwrites b.
func Scribble(b []byte) {
	for i := range b {
		b[i] = 0xDB
	}
}
