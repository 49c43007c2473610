//go:build linux || darwin

package outbox

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/teleport-go/teleport/core/internal/sockio"
)

// A rawWriter writes to a socket, with or without waiting for it. A write that does not
// wait allocates nothing: its function for RawConn is made once.
type rawWriter struct {
	rc  syscall.RawConn // nil: the connection has to be written through its Write
	now func(fd uintptr)

	// Argument and results of once, used by the flusher only.
	b   []byte
	n   int
	err error
}

func (r *rawWriter) usable() bool { return r.rc != nil }

// init returns false unless conn is exactly a TCP or Unix socket. A type that
// embeds one has its SyscallConn too, but may have a Write of its own, which must
// not be bypassed.
func (r *rawWriter) init(conn net.Conn) bool {
	var rc syscall.RawConn
	var err error
	switch c := conn.(type) {
	case *net.TCPConn:
		rc, err = c.SyscallConn()
	case *net.UnixConn:
		rc, err = c.SyscallConn()
	default:
		return false
	}
	if err != nil {
		return false
	}
	r.rc, r.now = rc, r.once
	return true
}

// once tries one write.
func (r *rawWriter) once(fd uintptr) {
	for {
		r.n, r.err = sockio.Write(fd, r.b)
		if r.err != syscall.EINTR {
			return
		}
	}
}

// write writes a part of b to conn, at least one byte unless it fails. If the socket
// takes none, it waits, up to the write deadline, or without wait returns errAgain.
func (r *rawWriter) write(conn net.Conn, b []byte, wait bool) (int, error) {
	r.b, r.n, r.err = b, 0, nil
	var err error
	if wait {
		err = r.rc.Write(func(fd uintptr) (done bool) {
			r.once(fd)
			return r.err != syscall.EAGAIN
		})
	} else {
		err = r.rc.Control(r.now) // Write would take the runtime's lock of the descriptor
	}
	r.b = nil
	switch {
	case !wait && errors.Is(err, os.ErrDeadlineExceeded):
		return 0, errAgain // a deadline that others have set; a call that waits sets its own
	case err != nil:
		return 0, err
	case r.err == syscall.EAGAIN:
		return 0, errAgain
	case r.err != nil:
		return 0, &net.OpError{Op: "write", Net: conn.LocalAddr().Network(), Source: conn.LocalAddr(),
			Addr: conn.RemoteAddr(), Err: os.NewSyscallError("write", r.err)}
	case r.n <= 0:
		return 0, io.ErrShortWrite
	}
	return r.n, nil
}
