//go:build race && linux

package sockio

import "syscall"

// The race detector is told of a call of package syscall that what happened before
// a write happened before a read, and which bytes are looked at or changed. Here that
// is done by hand: by calls of that package that move nothing.

// null is where reading nothing succeeds. Where there is none, reads fail: then the
// detector sees less order than there is, and may complain for nothing.
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
