//go:build linux && !386 && !msan && !asan

package sockio

import (
	"syscall"
	"unsafe"
)

// The address of a slice may be converted to uintptr only within the arguments of a
// system call: the slice does not move until the call returns.

// Read reads from a socket. If nothing is there the error is EAGAIN, even where
// the socket is in blocking mode. At the end n is 0 without an error.
func Read(fd uintptr, b []byte) (n int, err error) {
	var r uintptr
	var e syscall.Errno
	if len(b) <= Short {
		r, _, e = syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			syscall.MSG_DONTWAIT, 0, 0)
	} else {
		r, _, e = syscall.Syscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			syscall.MSG_DONTWAIT, 0, 0)
	}
	if e != 0 {
		return -1, e
	}
	received(b[:r])
	return int(r), nil
}

// Write writes to a socket as much as it takes. If that is nothing the error is
// EAGAIN, even where the socket is in blocking mode.
func Write(fd uintptr, b []byte) (n int, err error) {
	sending(b)
	var r uintptr
	var e syscall.Errno
	if len(b) <= Short {
		r, _, e = syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
	} else {
		r, _, e = syscall.Syscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
	}
	if e != 0 {
		return -1, e
	}
	return int(r), nil
}
