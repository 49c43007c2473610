package memnet

import (
	"io"
	"net"
	"os"
	"time"
)

// Conn is one end of a connection. All methods may be called concurrently;
// concurrent Writes are sent one after the other, whole, in the order of their
// calls.
//
// Reads and writes behave as those of a TCP connection, with two exceptions: bytes
// written before a Close always arrive, and a write fails as soon as the peer's Close
// has arrived, not one write later.
type Conn struct {
	link          *link
	peer          *Conn
	local, remote Addr
	in, out       *half

	// Guarded by link.mu.
	closed bool
	broken error // why reads and writes fail
}

var _ net.Conn = (*Conn)(nil)

// Read waits for bytes from the other end. It returns io.EOF when the other
// end has closed or half closed and all it wrote is read.
func (c *Conn) Read(p []byte) (int, error) {
	l, h := c.link, c.in
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if err := c.unable(h.readBy); err != nil {
			return 0, c.opError("read", err)
		}
		if len(p) == 0 {
			return 0, nil
		}
		until := h.readBy
		if !l.still() {
			if n := h.take(p); n > 0 {
				h.signal() // there is room
				return n, nil
			}
			if len(h.wire) == 0 && h.fin.here() { // the clock may have advanced since take
				return 0, c.opError("read", h.fin.err)
			}
			until = earlier(until, h.next())
		}
		l.wait(h, until)
	}
}

// Write waits until all of p is in the buffer. If it fails, n bytes of p have been
// sent.
func (c *Conn) Write(p []byte) (n int, err error) {
	l, h := c.link, c.out
	l.mu.Lock()
	defer l.mu.Unlock()
	ticket := h.join()
	defer h.leave(ticket)
	for {
		if err := c.unable(h.writeBy); err != nil {
			return n, c.opError("write", err)
		}
		if h.fin.err != nil {
			return n, c.opError("write", ErrBrokenPipe)
		}
		if !l.still() && h.gone.here() {
			return n, c.opError("write", h.gone.err)
		}
		if n == len(p) {
			return n, nil
		}
		if k := min(h.room(), len(p)-n); k > 0 && h.writers[0] == ticket {
			n += c.pass(p[n : n+k])
			if n == len(p) {
				return n, nil // even if that was the last byte before a break
			}
			continue
		}
		until := h.writeBy
		if !l.still() {
			until = earlier(until, h.gone.at)
		}
		l.wait(h, until)
	}
}

// unable returns why an operation with the deadline by cannot begin or continue, nil if
// it can. The caller holds link.mu.
func (c *Conn) unable(by time.Time) error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.broken != nil:
		return c.broken
	case expired(by):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// pass writes p, for which there is room, up to the byte where CutAfter breaks the
// connection. The caller holds link.mu.
func (c *Conn) pass(p []byte) int {
	h := c.out
	if h.cutAt >= 0 {
		p = p[:min(int64(len(p)), h.cutAt-h.written)]
	}
	h.put(p)
	if h.written == h.cutAt {
		c.sever()
	}
	h.signal()
	return len(p)
}

// sever breaks this end at once, and the other when the bytes that are on the way have
// arrived. The caller holds link.mu.
func (c *Conn) sever() {
	c.broken = ErrReset
	at := c.out.send(0)
	c.out.fin.set(ErrReset, at)
	c.in.gone.set(ErrReset, at)
	c.link.signal()
}

// CloseWrite ends this direction: the peer reads io.EOF after the data, and can
// still write. Further writes fail with ErrBrokenPipe.
func (c *Conn) CloseWrite() error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if err := c.unable(time.Time{}); err != nil {
		return c.opError("close", err)
	}
	c.out.fin.set(io.EOF, c.out.send(0))
	c.out.signal()
	return nil
}

// Close ends both directions. Written bytes still arrive, then the peer reads io.EOF;
// its writes fail with ErrBrokenPipe. Operations on this end, also waiting ones, fail
// with net.ErrClosed; so does a second Close.
func (c *Conn) Close() error {
	last, ok := c.shut()
	if !ok {
		return c.opError("close", net.ErrClosed)
	}
	if n := c.link.net; n != nil {
		n.left(c.link, last)
	}
	return nil
}

// shut closes the end. It returns whether the other end was closed before (last), and
// whether this one was open (ok).
func (c *Conn) shut() (last, ok bool) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.closed {
		return false, false
	}
	c.closed = true
	at := c.out.send(0)
	c.out.fin.set(io.EOF, at)
	c.in.gone.set(ErrBrokenPipe, at)
	c.link.signal()
	return c.peer.closed, true
}

func (c *Conn) isClosed() bool {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	return c.closed
}

// LocalAddr returns the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Peer returns the other end, also when it is not accepted or is closed.
func (c *Conn) Peer() *Conn { return c.peer }

// SetDeadline sets the deadlines of reading and of writing.
func (c *Conn) SetDeadline(t time.Time) error { return c.deadline(t, &c.in.readBy, &c.out.writeBy) }

// SetReadDeadline sets when reads, also waiting ones, fail with
// os.ErrDeadlineExceeded. The zero time removes the deadline.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.deadline(t, &c.in.readBy) }

// SetWriteDeadline is SetReadDeadline for writes. A write that fails at its deadline may
// have sent a part of its bytes.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.deadline(t, &c.out.writeBy) }

func (c *Conn) deadline(t time.Time, by ...*time.Time) error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.closed {
		return c.opError("set", net.ErrClosed)
	}
	for _, d := range by {
		*d = t
	}
	c.link.signal()
	return nil
}

// Cut breaks the connection at once, for both ends: buffered bytes are lost, and reads
// and writes fail with ErrReset. The ends must still be closed.
func (c *Conn) Cut() { c.link.cut() }

// CutAfter breaks the connection when this end has written n more bytes. The peer can
// read these, then its reads fail with ErrReset; this end fails at once. A Write that
// ends at exactly that byte succeeds. 0 breaks now; a negative n cancels an earlier
// CutAfter.
func (c *Conn) CutAfter(n int) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	h := c.out
	if n < 0 {
		h.cutAt = -1
		return
	}
	h.cutAt = h.written + int64(n)
	if n == 0 && !c.closed {
		c.sever()
	}
}

// Corrupt flips the bits of the byte that this end writes after n others; 0 is the next
// one. It can be called for several bytes. A negative n does nothing.
func (c *Conn) Corrupt(n int) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if n >= 0 {
		c.out.corrupt = append(c.out.corrupt, c.out.written+int64(n))
	}
}

// Freeze stops both directions: reads get nothing, not even an end of stream, and writes
// succeed until the buffer is full. Latency still counts: bytes that are due meanwhile
// arrive at Thaw. Deadlines, Close of the own end and Cut work.
func (c *Conn) Freeze() { c.link.freeze(true) }

// Thaw ends a Freeze.
func (c *Conn) Thaw() { c.link.freeze(false) }

// opError adds to err which end failed, as package net does. The end of a stream is not
// a failure and stays io.EOF.
func (c *Conn) opError(op string, err error) error {
	if err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}
