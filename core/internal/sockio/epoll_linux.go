package sockio

import (
	"syscall"
	"unsafe"
)

// Events stores the present events of an epoll in events, without waiting, and returns
// how many there are.
func Events(epoll uintptr, events []syscall.EpollEvent) (n int, err error) {
	r, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, epoll, uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)),
		0, 0, 0)
	if e != 0 {
		return -1, e
	}
	return int(r), nil
}
