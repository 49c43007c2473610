//go:build unix

package inherit

import (
	"net"
	"os"
	"syscall"
)

// sendWith sends b, or a part of it, with a descriptor at its first byte.
func sendWith(to *net.UnixConn, b []byte, fd int) (n int, err error) {
	n, _, err = to.WriteMsgUnix(b, syscall.UnixRights(fd), nil)
	return n, err
}

// receiveWith reads up to len(b) bytes, and the descriptor that came with them; nil: none
// came.
func receiveWith(from *net.UnixConn, b []byte) (f *os.File, n int, err error) {
	control := make([]byte, syscall.CmsgSpace(4*maxDescriptors))
	n, oob, _, _, err := from.ReadMsgUnix(b, control)
	var got []int
	if messages, perr := syscall.ParseSocketControlMessage(control[:oob]); perr == nil {
		for i := range messages {
			fds, perr := syscall.ParseUnixRights(&messages[i])
			if perr == nil {
				got = append(got, fds...)
			}
		}
	}
	for i, fd := range got {
		syscall.CloseOnExec(fd)
		if i > 0 {
			syscall.Close(fd) // one is right
		}
	}
	if len(got) > 0 {
		f = os.NewFile(uintptr(got[0]), "connection")
	}
	return f, n, err
}

// maxDescriptors is how many descriptors are received at once at most: one is sent.
const maxDescriptors = 4

// isOpen reports whether the other end of a connection is open, or something is unread.
func isOpen(conn *net.UnixConn) (open bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	closed := raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = n > 0 || err == syscall.EAGAIN || err == syscall.EINTR
	})
	return open && closed == nil
}
