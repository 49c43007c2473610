// Package poison lets tests find out who keeps what he was only lent: when it is
// on, used-up memory is scribbled over and used-up contexts are not used again.
package poison

import "sync/atomic"

var on atomic.Int32

// Switch turns poisoning on, and returns what turns it off again. Calls may nest.
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
