package outbox

import (
	"syscall"
	"unsafe"
)

// queued returns how many bytes the socket has taken that the peer's has not
// acknowledged; for a Unix socket, those that were not read, and some memory beside
// them.
func queued(rc syscall.RawConn) (n int, ok bool) {
	var size int32
	err := rc.Control(func(fd uintptr) {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&size)))
		ok = errno == 0
	})
	return int(size), ok && err == nil
}
