//go:build linux && !386 && !race && !msan && !asan

package resume

import (
	"syscall"
	"unsafe"
)

// These system calls never wait, so the runtime is not notified of them: it would give the
// processor to another thread if one took long.

// readNow reads from a socket what has arrived.
func readNow(fd int, b []byte) (int, error) { return transfer(syscall.SYS_RECVFROM, fd, b) }

// writeNow writes to a socket what it takes.
func writeNow(fd int, b []byte) (int, error) { return transfer(syscall.SYS_SENDTO, fd, b) }

// mostNow is how many bytes one call moves: while it runs, the world cannot be stopped.
const mostNow = 256 << 10

func transfer(call uintptr, fd int, b []byte) (int, error) {
	n, _, err := syscall.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(min(len(b), mostNow)),
		syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
	if err != 0 {
		return -1, err
	}
	return int(n), nil
}
