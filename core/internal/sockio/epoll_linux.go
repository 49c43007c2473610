package sockio

import (
	"syscall"
	"unsafe"
)

// Events fills in the events of an epoll that are there, without waiting, and
// returns how many.
func Events(epoll uintptr, events []syscall.EpollEvent) (n int, err error) {
	r, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, epoll, uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)),
		0, 0, 0)
	if e != 0 {
		return -1, e
	}
	return int(r), nil
}
