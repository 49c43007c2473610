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

// A rawWriter writes to a socket, with or without waiting for it, and does not
// allocate: the function for RawConn is made once.
type rawWriter struct {
	conn net.Conn
	rc   syscall.RawConn
	fn   func(fd uintptr) bool
	now  func(fd uintptr) // fn that does not wait

	// Arguments and results of fn, used by the flusher only.
	b    []byte
	wait bool
	n    int
	err  error
}

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
	r.conn, r.rc = conn, rc
	r.fn = r.once
	r.now = func(fd uintptr) { r.once(fd) }
	return true
}

// once tries one write. It returns false to be called again when the socket is ready.
func (r *rawWriter) once(fd uintptr) bool {
	for {
		r.n, r.err = sockio.Write(fd, r.b)
		switch r.err {
		case syscall.EINTR:
		case syscall.EAGAIN:
			return !r.wait
		default:
			return true
		}
	}
}

// write writes a part of b, at least one byte unless it fails. If the socket takes
// none, it waits, up to the write deadline, or without wait returns errAgain.
func (r *rawWriter) write(b []byte, wait bool) (int, error) {
	r.b, r.wait = b, wait
	r.n, r.err = 0, nil
	var err error
	if wait {
		err = r.rc.Write(r.fn)
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
		return 0, &net.OpError{Op: "write", Net: r.conn.LocalAddr().Network(), Source: r.conn.LocalAddr(),
			Addr: r.conn.RemoteAddr(), Err: os.NewSyscallError("write", r.err)}
	case r.n <= 0:
		return 0, io.ErrShortWrite
	}
	return r.n, nil
}
