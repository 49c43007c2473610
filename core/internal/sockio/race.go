//go:build race && linux

package sockio

import "syscall"

// Package syscall tells the race detector which bytes a call reads or changes, and that
// what happened before a write happened before a read. Here that is done by hand, by
// calls of package syscall that move no bytes.

// null is a descriptor from which reading nothing succeeds. If it cannot be opened, the
// detector sees less order than there is, and may report races that are none.
var null = func() int {
	fd, err := syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}()

func sending(b []byte) {
	for seen := [512]byte{}; len(b) > 0; {
		b = b[copy(seen[:], b):]
	}
	syscall.Write(-1, nil)
}

func received(b []byte) {
	syscall.Read(null, nil)
	copy(b, b)
}
