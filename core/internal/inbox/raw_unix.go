//go:build unix

package inbox

import (
	"io"
	"net"
	"os"
	"syscall"

	"github.com/teleport-go/teleport/core/internal/sockio"
	"github.com/teleport-go/teleport/core/internal/tlspoll"
)

// useRaw prepares reading by the descriptor instead of conn.Read, for connections where
// that changes only the time at which a buffer is needed.
func (r *Reader) useRaw() {
	var err error
	r.try = r.tryRead
	switch c := r.conn.(type) {
	case *net.TCPConn:
		r.raw, err = c.SyscallConn()
	case *net.UnixConn:
		r.raw, err = c.SyscallConn()
	case Roaming:
		r.roams = true
		r.useTryRead(nil, c.TryRead)
		return
	case Pollable:
		r.useTryRead(c.Descriptor(), c.TryRead)
	default:
		if c := tlspoll.Of(c); c != nil {
			r.useTryRead(c.Descriptor(), c.TryRead)
		}
	}
	if err != nil {
		r.raw = nil
	}
	if r.raw == nil {
		r.try = nil
	}
}

func (r *Reader) useTryRead(raw syscall.RawConn, read func([]byte) (int, error)) {
	r.raw, r.polls, r.try = raw, true, func(uintptr) { r.tryPoll(read) }
}

// readRaw reads by the descriptor. Without wait it may fail with errNothing.
func (r *Reader) readRaw(dst []byte, wait bool) (int, error) {
	if wait && r.roams {
		return r.readConn(dst)
	}
	r.dst, r.got, r.gotErr = dst[:min(len(dst), maxRead)], 0, nil
	var err error
	if wait {
		if r.tryWait == nil { // the poll loop's connections never wait
			r.tryWait = func(fd uintptr) (done bool) {
				r.try(fd)
				if r.got < 0 {
					r.ReleaseIfEmpty()
				}
				return r.got >= 0
			}
		}
		err = r.raw.Read(r.tryWait)
	} else if r.polls {
		r.try(0)
	} else {
		err = r.raw.Control(r.try) // Read would take the runtime's lock of the descriptor
	}
	r.dst = nil
	switch {
	case err != nil:
		return 0, err
	case r.got < 0:
		return 0, errNothing
	case r.polls:
		return r.got, r.gotErr
	case r.gotErr != nil:
		return 0, &net.OpError{Op: "read", Net: r.conn.LocalAddr().Network(), Source: r.conn.LocalAddr(),
			Addr: r.conn.RemoteAddr(), Err: os.NewSyscallError("read", r.gotErr)}
	case r.got == 0:
		return 0, io.EOF
	}
	return r.got, nil
}

// tryRead is called by the runtime: at first, and, in a wait, each time the descriptor
// has become readable. While the runtime waits, the Reader holds no buffer.
func (r *Reader) tryRead(fd uintptr) {
	dst := r.dst
	if dst == nil {
		dst = r.room()
	}
	n, err := sockio.Read(fd, dst)
	for err == syscall.EINTR {
		n, err = sockio.Read(fd, dst)
	}
	if err == syscall.EAGAIN {
		r.got = -1
		return
	}
	r.got, r.gotErr = max(n, 0), err
	r.short = n < len(dst)
}

// tryPoll is tryRead by the TryRead of a Pollable.
func (r *Reader) tryPoll(read func([]byte) (int, error)) {
	dst := r.dst
	if dst == nil {
		dst = r.room()
	}
	n, err := read(dst)
	switch {
	case err == ErrAgain:
		r.got = -1
		return
	case n <= 0 && err == nil:
		err = io.ErrNoProgress
	}
	r.got, r.gotErr = max(n, 0), err
	r.short = r.roams && r.conn.(Roaming).Drained() // of others it is not known how much they have read ahead
}
