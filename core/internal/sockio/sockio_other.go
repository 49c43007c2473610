//go:build unix && (!linux || 386 || msan || asan)

package sockio

import "syscall"

// Read reads from a socket. If nothing is there, and the socket is not in blocking
// mode, the error is EAGAIN. At the end n is 0 without an error.
func Read(fd uintptr, b []byte) (n int, err error) { return syscall.Read(int(fd), b) }

// Write writes to a socket as much as it takes. If that is nothing, and the socket
// is not in blocking mode, the error is EAGAIN.
func Write(fd uintptr, b []byte) (n int, err error) { return syscall.Write(int(fd), b) }
