package main

import (
	"runtime"
	"syscall"
	"unsafe"
)

// ownCore locks the goroutine to its thread, and the thread to the nth core that the
// process may use. The goroutine must not unlock: its thread then ends with it.
func ownCore(nth int) {
	runtime.LockOSThread()
	var mask [1024 / 64]uint64
	_, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, 0, unsafe.Sizeof(mask), uintptr(unsafe.Pointer(&mask)))
	if errno != 0 {
		return
	}
	for cpu := range len(mask) * 64 {
		if mask[cpu/64]&(1<<(cpu%64)) == 0 {
			continue
		}
		if nth > 0 {
			nth--
			continue
		}
		clear(mask[:])
		mask[cpu/64] = 1 << (cpu % 64)
		syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(mask), uintptr(unsafe.Pointer(&mask)))
		return
	}
}
