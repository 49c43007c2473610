//go:build linux || darwin

package outbox

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/teleport-go/teleport/core/internal/sockio"
	"github.com/teleport-go/teleport/core/internal/tlspoll"
)

// A rawWriter writes to a socket, with or without waiting for it. A write that does not
// wait allocates nothing: its function for RawConn is made once.
type rawWriter struct {
	rc  syscall.RawConn  // nil: the connection has to be written through its Write
	now func(fd uintptr) // nil: TLS, or a TryWriter

	// Argument and results of once, used by the flusher only.
	b   []byte
	n   int // TLS: bytes that are encrypted and not sent
	err error
}

// maxSealed is how many bytes are encrypted before they are sent.
const maxSealed = 64 << 10

func (r *rawWriter) usable() bool { return r.rc != nil }

// init returns false unless conn is exactly a TCP or Unix socket, TLS over one by package
// tlspoll, or a TryWriter. A type that embeds one has its SyscallConn too, but may have a Write of
// its own, which must not be bypassed.
func (r *rawWriter) init(conn net.Conn) bool {
	var rc syscall.RawConn
	var err error
	switch c := conn.(type) {
	case *net.TCPConn:
		rc, err = c.SyscallConn()
	case *net.UnixConn:
		rc, err = c.SyscallConn()
	case TryWriter:
		r.rc = noDescriptor{}
		return true
	default:
		if c := tlspoll.Of(conn); c != nil {
			r.rc = c.Descriptor()
		}
		return r.rc != nil
	}
	if err != nil {
		return false
	}
	r.rc, r.now = rc, r.once
	return true
}

// noDescriptor is in place of the raw connection of a TryWriter.
type noDescriptor struct{ syscall.RawConn }

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
	if r.now == nil {
		if c := tlspoll.Of(conn); c != nil {
			return r.writeTLS(c, b, wait)
		}
		return writeTry(conn.(TryWriter), b, wait)
	}
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
	if err == nil && r.err == nil && r.n > 0 {
		return r.n, nil
	}
	return 0, r.failure(conn, err, wait)
}

// failure returns the error of a write that has failed, or got err from the RawConn.
func (r *rawWriter) failure(conn net.Conn, err error, wait bool) error {
	switch {
	case !wait && errors.Is(err, os.ErrDeadlineExceeded):
		return errAgain // a deadline that others have set; a call that waits sets its own
	case err != nil:
		return err
	case r.err == syscall.EAGAIN:
		return errAgain
	case r.err != nil:
		return &net.OpError{Op: "write", Net: conn.LocalAddr().Network(), Source: conn.LocalAddr(),
			Addr: conn.RemoteAddr(), Err: os.NewSyscallError("write", r.err)}
	}
	return io.ErrShortWrite
}

// writeTry is write for a TryWriter.
func writeTry(conn TryWriter, b []byte, wait bool) (n int, err error) {
	if wait {
		n, err = conn.Write(b)
	} else if n, err = conn.TryWrite(b); err == ErrAgain {
		err = errAgain
	}
	switch {
	case n < 0 || n > len(b):
		return 0, fmt.Errorf("outbox: %T wrote %d of %d bytes", conn, n, len(b))
	case n > 0:
		err = nil // there was progress
	case n == 0 && err == nil:
		err = io.ErrShortWrite
	}
	return n, err
}

// writeTLS is write for TLS. What is encrypted counts as written when the socket has taken
// all of it; until then the caller passes the same bytes again.
func (r *rawWriter) writeTLS(conn *tlspoll.Conn, b []byte, wait bool) (int, error) {
	if r.n == 0 {
		n := min(len(b), maxSealed)
		if err := conn.Seal(b[:n]); err != nil {
			return 0, err
		}
		r.n = n
	}
	sent, err := conn.Send(wait)
	switch {
	case !wait && errors.Is(err, os.ErrDeadlineExceeded), err == nil && !sent:
		return 0, errAgain
	case err != nil:
		return 0, err
	}
	n := r.n
	r.n = 0
	return n, nil
}

// mayTakeMore reports whether the socket may take more although a write has taken a part
// only.
func (r *rawWriter) mayTakeMore() bool { return r.now == nil }
