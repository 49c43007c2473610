package tlspoll

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/teleport-go/teleport/core/internal/bufpool"
	"github.com/teleport-go/teleport/core/internal/sockio"
)

// readAhead is how many bytes are read from the network at once: tls.Conn itself asks for
// little more than a record.
const readAhead = 32 << 10

// maxAnswers is how many bytes a tls.Conn may write by itself, without waiting, behind what
// the network does not take.
const maxAnswers = 16 << 10

// errUnread is the error of a connection whose peer makes tls.Conn write more than that.
var errUnread = errors.New("tlspoll: the peer asks for new keys again and again, and does not read the answers")

// Conn is the connection below a tls.Conn. One goroutine reads at a time; otherwise its
// methods may be called concurrently.
type Conn struct {
	net.Conn // *net.TCPConn or *net.UnixConn
	raw      syscall.RawConn
	tls      *tls.Conn

	trying  atomic.Bool // in TryRead
	sealing atomic.Bool // in Seal

	// The reader's.
	buf     []byte // what was read ahead: buf[r:w]; nil while that is nothing
	r, w    int
	dst     []byte // argument and results of tryRead
	n       int
	err     error
	tryRead func(fd uintptr) // made once, as is trySend: a closure for each would allocate

	mu      sync.Mutex // guards the fields below
	kept    []byte     // to be sent: kept[off:]; of bufpool
	off     int
	answers int  // bytes of kept that a tls.Conn has written by itself, behind others
	unread  bool // they were too many
	senders int  // goroutines that wait until kept is sent
	sendErr error
	trySend func(fd uintptr)
}

// Server is tls.Server.
func Server(conn net.Conn, cfg *tls.Config) *tls.Conn { return wrap(conn, cfg, tls.Server) }

// Client is tls.Client.
func Client(conn net.Conn, cfg *tls.Config) *tls.Conn { return wrap(conn, cfg, tls.Client) }

func wrap(conn net.Conn, cfg *tls.Config, side func(net.Conn, *tls.Config) *tls.Conn) *tls.Conn {
	var raw syscall.RawConn
	var err error
	switch c := conn.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		if c.LocalAddr().Network() != "unix" {
			return side(conn, cfg)
		}
		raw, err = c.SyscallConn()
	default:
		return side(conn, cfg)
	}
	if err != nil {
		return side(conn, cfg)
	}
	c := &Conn{Conn: conn, raw: raw}
	c.tryRead, c.trySend = c.readOnce, c.sendOnce
	c.tls = side(c, cfg)
	return c.tls
}

// Of returns the connection below conn, nil unless that was made by Server or Client.
func Of(conn net.Conn) *Conn {
	if t, ok := conn.(*tls.Conn); ok {
		if c, ok := t.NetConn().(*Conn); ok && c.tls == t {
			return c
		}
	}
	return nil
}

// NetConn returns the connection to the network.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// SyscallConn makes Conn a syscall.Conn, as the connection to the network is.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }

// Descriptor returns what a poller waits with.
func (c *Conn) Descriptor() syscall.RawConn { return c.raw }

// again is the error with which a tls.Conn goes on later.
type again struct{}

func (again) Error() string   { return ErrAgain.Error() }
func (again) Timeout() bool   { return false }
func (again) Temporary() bool { return true }

// TryRead reads what the peer has sent, without waiting. If that is nothing the error is
// ErrAgain: then nothing is left in memory either, and the descriptor becomes readable
// when more arrives.
func (c *Conn) TryRead(p []byte) (n int, err error) {
	c.trying.Store(true)
	n, err = c.tls.Read(p)
	c.trying.Store(false)
	switch {
	case !errors.Is(err, again{}):
	case n > 0: // a part of an alert has arrived behind it
		err = nil
	default:
		err = ErrAgain
	}
	if err != nil && err != ErrAgain {
		err = c.cause(err)
	}
	return n, err
}

// cause returns errUnread in place of what the tls.Conn makes of it.
func (c *Conn) cause(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unread {
		return errUnread
	}
	return err
}

// Read is for the tls.Conn.
func (c *Conn) Read(p []byte) (n int, err error) {
	switch {
	case c.r < c.w:
	case !c.trying.Load():
		return c.Conn.Read(p)
	case len(p) >= readAhead:
		return c.readNow(p)
	default:
		if c.buf == nil {
			c.buf = bufpool.Get(readAhead)[:readAhead]
		}
		n, err := c.readNow(c.buf)
		if err != nil {
			c.release()
			return 0, err
		}
		c.r, c.w = 0, n
	}
	n = copy(p, c.buf[c.r:c.w])
	if c.r += n; c.r == c.w {
		c.release()
	}
	return n, nil
}

func (c *Conn) release() {
	bufpool.Put(c.buf)
	c.buf, c.r, c.w = nil, 0, 0
}

// readNow reads from the network without waiting.
func (c *Conn) readNow(p []byte) (int, error) {
	c.dst = p
	err := c.raw.Control(c.tryRead) // Read would take the runtime's lock of the descriptor, which a caller may hold
	c.dst = nil
	switch {
	case err != nil:
		return 0, err
	case c.err == syscall.EAGAIN:
		return 0, again{}
	case c.err != nil:
		return 0, c.opError("read", c.err)
	case c.n == 0:
		return 0, io.EOF
	}
	return c.n, nil
}

func (c *Conn) readOnce(fd uintptr) {
	for {
		if c.n, c.err = sockio.Read(fd, c.dst); c.err != syscall.EINTR {
			return
		}
	}
}

func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: c.LocalAddr().Network(), Source: c.LocalAddr(),
		Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, err)}
}

// Seal encrypts b. It does not wait; Send sends the result. One goroutine at a time calls
// it.
func (c *Conn) Seal(b []byte) error {
	c.begin(len(b) + len(b)/32 + 64) // with the overhead of records, which may be small
	c.sealing.Store(true)
	_, err := c.tls.Write(b)
	c.sealing.Store(false)
	if err != nil {
		err = c.cause(err)
	}
	return err
}

// begin makes room for so many bytes that are to be sent, if there are none yet.
func (c *Conn) begin(room int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil {
		c.kept = bufpool.Get(room)
	}
}

// keep appends p to what is to be sent. sealing says that it is a part of what Seal encrypts,
// and not the tls.Conn's own. others reports whether another goroutine waits until all is
// sent.
func (c *Conn) keep(p []byte, sealing bool) (others bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !sealing && c.off < len(c.kept) {
		if c.answers+len(p) > maxAnswers {
			c.unread = true
			return false, errUnread
		}
		c.answers += len(p)
	}
	if c.kept == nil {
		c.kept = bufpool.Get(len(p))
	}
	c.kept = append(c.kept, p...)
	return c.senders > 0, nil
}

// Write is for the tls.Conn. It waits for the network, unless others do that already or
// must not.
func (c *Conn) Write(p []byte) (int, error) {
	sealing := c.sealing.Load()
	others, err := c.keep(p, sealing)
	if err != nil {
		return 0, err
	}
	if sealing {
		return len(p), nil
	}
	sent, err := c.Send(false)
	if err == nil && !sent && !others && !c.trying.Load() {
		_, err = c.Send(true)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Send sends what was encrypted. It reports whether nothing is left of that; if wait is
// true it waits for the network, up to the write deadline of the connection.
func (c *Conn) Send(wait bool) (sent bool, err error) {
	if wait {
		err = c.sendAll()
	} else {
		err = c.raw.Control(c.trySend) // Write would take the runtime's lock of the descriptor
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && c.sendErr != nil {
		err = c.opError("write", c.sendErr)
	}
	return c.kept == nil, err
}

// sendAll waits until all is sent.
func (c *Conn) sendAll() error {
	c.mu.Lock()
	c.senders++
	c.mu.Unlock()
	ended := false
	err := c.raw.Write(func(fd uintptr) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.send(fd)
		if ended = c.kept == nil || c.sendErr != nil; ended {
			c.senders-- // in one step with the look at kept
		}
		return ended
	})
	if !ended {
		c.mu.Lock()
		c.senders--
		c.mu.Unlock()
	}
	return err
}

func (c *Conn) sendOnce(fd uintptr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.send(fd)
}

// send sends as much as the network takes. Called with the lock.
func (c *Conn) send(fd uintptr) {
	for c.off < len(c.kept) && c.sendErr == nil {
		n, err := sockio.Write(fd, c.kept[c.off:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return
		case err != nil:
			c.sendErr = err
		default:
			c.off += n
		}
	}
	if c.kept != nil && c.off == len(c.kept) {
		bufpool.Put(c.kept)
		c.kept, c.off, c.answers = nil, 0, 0
	}
}
