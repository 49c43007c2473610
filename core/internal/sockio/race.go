//go:build race

package sockio

import "sync/atomic"

// What is written to a socket happens before it is read from one: the race
// detector is told so by hand, as package syscall does, and that the bytes are
// looked at, or changed.

var sent atomic.Uint64

func sending(b []byte) {
	for seen := [512]byte{}; len(b) > 0; {
		b = b[copy(seen[:], b):]
	}
	sent.Add(1)
}

func received(b []byte) {
	sent.Load()
	copy(b, b)
}
