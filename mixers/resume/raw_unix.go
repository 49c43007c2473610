//go:build unix

package resume

import (
	"io"
	"net"
	"os"
	"syscall"
)

// rawConn reads and writes a socket without waiting. One goroutine at a time reads, and one
// writes.
type rawConn struct {
	conn syscall.RawConn

	// Arguments and results of read and write, which are made once: a closure for each call
	// would allocate.
	in, out   []byte
	nIn, nOut int
	inErr     error
	outErr    error
	readOnce  func(fd uintptr)
	writeOnce func(fd uintptr)
}

// newRaw returns nil unless conn is a stream socket itself.
func newRaw(conn net.Conn) *rawConn {
	var err error
	r := new(rawConn)
	switch c := conn.(type) {
	case *net.TCPConn:
		r.conn, err = c.SyscallConn()
	case *net.UnixConn:
		if c.LocalAddr().Network() != "unix" {
			return nil
		}
		r.conn, err = c.SyscallConn()
	default:
		return nil
	}
	if err != nil {
		return nil
	}
	r.readOnce = func(fd uintptr) { r.nIn, r.inErr = again(int(fd), r.in, syscall.Read) }
	r.writeOnce = func(fd uintptr) { r.nOut, r.outErr = again(int(fd), r.out, syscall.Write) }
	return r
}

// again repeats a call that a signal has interrupted.
func again(fd int, b []byte, f func(int, []byte) (int, error)) (int, error) {
	for {
		if n, err := f(fd, b); err != syscall.EINTR {
			return n, err
		}
	}
}

// read returns errAgain if nothing has arrived.
func (r *rawConn) read(p []byte) (int, error) {
	r.in = p
	err := r.conn.Control(r.readOnce) // Read would take the runtime's lock, which waitRead holds
	r.in = nil
	return result("read", r.nIn, err, r.inErr, io.EOF)
}

// write returns errAgain if the socket takes nothing.
func (r *rawConn) write(p []byte) (int, error) {
	r.out = p
	err := r.conn.Control(r.writeOnce)
	r.out = nil
	return result("write", r.nOut, err, r.outErr, io.ErrShortWrite)
}

func result(what string, n int, closed, err, nothing error) (int, error) {
	switch {
	case closed != nil:
		return 0, closed
	case err == syscall.EAGAIN:
		return 0, errAgain
	case err != nil:
		return 0, os.NewSyscallError(what, err)
	case n <= 0:
		return 0, nothing
	}
	return n, nil
}

// descriptor returns what a poller can wait with.
func (r *rawConn) descriptor() syscall.RawConn { return r.conn }

// waitRead calls f until it returns true, at first and whenever something has arrived.
func (r *rawConn) waitRead(f func(uintptr) bool) error { return r.conn.Read(f) }

// waitWrite is waitRead for room in the socket.
func (r *rawConn) waitWrite(f func(uintptr) bool) error { return r.conn.Write(f) }

// readable reports whether something has arrived.
func (r *rawConn) readable() (some bool) {
	r.conn.Control(func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		some = err != syscall.EAGAIN
	})
	return some
}
