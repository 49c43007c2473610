package inherit

import "syscall"

// refuseNew lets the kernel drop the first packet of each new TCP connection to a listening
// socket. Connections that are being made, and those that wait to be accepted, are not
// affected; a client whose packet was dropped sends it again after a second. A kernel
// that does not allow it goes on as before, and the result is false.
func refuseNew(c syscall.RawConn) (done bool) {
	const (
		flags = 13 // offset in the TCP header
		syn   = 2
	)
	filter := []syscall.SockFilter{
		{Code: syscall.BPF_LD | syscall.BPF_B | syscall.BPF_ABS, K: flags},
		{Code: syscall.BPF_JMP | syscall.BPF_JSET | syscall.BPF_K, Jt: 0, Jf: 1, K: syn},
		{Code: syscall.BPF_RET | syscall.BPF_K, K: 0},
		{Code: syscall.BPF_RET | syscall.BPF_K, K: 1<<32 - 1},
	}
	_ = c.Control(func(fd uintptr) {
		//lint:ignore SA1019 what is to replace it is not in the standard library
		done = syscall.AttachLsf(int(fd), filter) == nil
	})
	return done
}

// acceptNew ends what refuseNew has begun: another process may have the socket too, such as
// the parent of a child that does not get ready.
func acceptNew(c syscall.RawConn) (done bool) {
	_ = c.Control(func(fd uintptr) {
		//lint:ignore SA1019 what is to replace it is not in the standard library
		done = syscall.DetachLsf(int(fd)) == nil
	})
	return done
}

// hasWaiting reports whether a connection waits to be accepted. It does not wait.
func hasWaiting(c syscall.RawConn) (has bool) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return false
	}
	defer syscall.Close(epoll)
	_ = c.Control(func(fd uintptr) {
		var got [1]syscall.EpollEvent
		if syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, int(fd), &syscall.EpollEvent{Events: syscall.EPOLLIN}) != nil {
			return
		}
		n, err := syscall.EpollWait(epoll, got[:], 0)
		has = err == nil && n > 0 && got[0].Events&syscall.EPOLLIN != 0
	})
	return has
}
