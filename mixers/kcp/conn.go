package kcp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	kcpgo "github.com/xtaci/kcp-go/v5"
)

// Conn is the connection of a session: a session of KCP. It is safe for concurrent use.
//
// A goroutine of its own, pump, reads what arrives into a buffer: kcp-go has deadlines
// that must not be moved while a Read waits, and the records of the other side must be
// read also while nobody reads the connection.
type Conn struct {
	sess    *kcpgo.UDPSession
	wire    *wire
	addr    netip.AddrPort // of the other side
	o       *Options
	dialled bool

	reading     sync.Mutex // held by a Read
	writing     sync.Mutex // held by a write to sess
	record      []byte     // guarded by writing: room for a record
	readLimit   *deadline
	writeLimit  *deadline
	arrived     chan struct{} // has a value if a Read may go on
	room        chan struct{} // has a value if pump may go on
	closing     chan struct{} // closed by Close
	peerEnded   chan struct{} // closed when the other side's direction has ended
	peerReadAll chan struct{} // closed when the other side has read everything
	gone        chan struct{} // closed when the other side does not have the session any more
	pumped      chan struct{} // closed when pump has returned
	ended       chan struct{} // closed when the connection has ended

	mu       sync.Mutex // guards the fields below
	buffer   []byte     // bytes that have arrived
	err      error      // why no more arrive
	finished time.Time  // when this side has ended its direction; zero: not yet
	waits    time.Time  // since when pump waits for the other side; zero: it does not
	sent     time.Time  // when this side has written last
	busy     time.Time  // when bytes of the session have been written or read last
	calm     bool       // the session of KCP looks rarely
	timer    *time.Timer
}

// bufferSize is how many bytes that nobody has read pump buffers.
const bufferSize = 64 << 10

func newConn(n *network, sess *kcpgo.UDPSession, w *wire, addr netip.AddrPort) *Conn {
	c := &Conn{
		sess: sess, wire: w, addr: addr, o: &n.o, dialled: w.remote.IsValid(),
		readLimit: newDeadline(), writeLimit: newDeadline(),
		arrived: make(chan struct{}, 1), room: make(chan struct{}, 1),
		closing: make(chan struct{}), peerEnded: make(chan struct{}), peerReadAll: make(chan struct{}),
		gone: make(chan struct{}), pumped: make(chan struct{}), ended: make(chan struct{}),
		sent: time.Now(),
	}
	return c
}

// start begins to read. It is called once the handshake is complete.
func (c *Conn) start() {
	go c.pump()
	if !c.o.v7 {
		c.mu.Lock()
		c.timer = time.AfterFunc(c.look(), c.watch)
		c.mu.Unlock()
	}
}

// LocalAddr returns the address of the UDP socket.
func (c *Conn) LocalAddr() net.Addr { return c.sess.LocalAddr() }

// RemoteAddr returns the address of the other side.
func (c *Conn) RemoteAddr() net.Addr { return c.sess.RemoteAddr() }

// pump reads the records of the other side until the session has ended.
func (c *Conn) pump() {
	defer close(c.pumped)
	var records recordReader
	chunk := make([]byte, 4<<10)
	for {
		c.mu.Lock()
		c.waits = time.Now()
		c.mu.Unlock()
		n, err := c.sess.Read(chunk)
		c.mu.Lock()
		c.waits = time.Time{}
		c.mu.Unlock()
		if err != nil {
			c.fail(err)
			return
		}
		if n > headSize { // not only a sign of life
			c.wake()
		}
		b := chunk[:n]
		if c.o.v7 {
			c.add(b)
			continue
		}
		for {
			head, data, rest, ok, err := records.next(b)
			switch {
			case err != nil:
				c.fail(err)
				return
			case !ok:
			case len(data) > 0 && isClosed(c.peerEnded):
				c.fail(errors.New("kcp: the other side sends bytes after its end"))
				return
			case len(data) > 0:
				c.add(data)
			case head == recordEnd && !isClosed(c.peerEnded):
				c.fail(io.EOF)
				close(c.peerEnded)
				c.say(recordReadAll)
			case head == recordReadAll && !isClosed(c.peerReadAll):
				close(c.peerReadAll)
			}
			if b = rest; !ok {
				break
			}
		}
	}
}

// add appends bytes for Read, and waits while it has too many. After Close it drops them.
func (c *Conn) add(b []byte) {
	for {
		c.mu.Lock()
		closed := isClosed(c.closing)
		full := len(c.buffer) > 0 && len(c.buffer)+len(b) > bufferSize
		if !closed && !full {
			c.buffer = append(c.buffer, b...)
		}
		c.mu.Unlock()
		if closed {
			return
		}
		if !full {
			signal(c.arrived)
			return
		}
		select {
		case <-c.room:
		case <-c.closing:
		case <-c.gone:
			// The other side has nothing more to say, so what it has said fits in memory.
			c.mu.Lock()
			c.buffer = append(c.buffer, b...)
			c.mu.Unlock()
			signal(c.arrived)
			return
		}
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// fail notes why no more bytes arrive; the first reason stays.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	signal(c.arrived)
}

// lose notes that the other side does not have the session any more. The caller may hold
// the lock of the wire.
func (c *Conn) lose() {
	c.mu.Lock()
	first := !isClosed(c.gone)
	if first {
		close(c.gone)
		if c.err == nil {
			c.err = connError{errGone}
		}
	}
	c.mu.Unlock()
	if first {
		signal(c.arrived)
		go c.sess.Close() // ends pump, and a Write
	}
}

// connError is an error of the network.
type connError struct{ error }

func (e connError) Unwrap() []error { return []error{e.error, net.ErrClosed} }

var (
	errGone = errors.New("the other side does not have this session any more")
	errIdle = errors.New("nothing has come from the other side for the idle timeout")
)

// Read reads what has arrived.
func (c *Conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for {
		passed, changed := c.readLimit.wait()
		switch {
		case isClosed(c.closing):
			return 0, net.ErrClosed
		case isClosed(passed):
			return 0, os.ErrDeadlineExceeded
		}
		c.mu.Lock()
		n := copy(p, c.buffer)
		c.buffer = c.buffer[:copy(c.buffer, c.buffer[n:])]
		empty, err := len(c.buffer) == 0, c.err
		if empty && cap(c.buffer) > bufferSize/4 {
			c.buffer = nil // idle sessions keep none
		}
		c.mu.Unlock()
		switch {
		case n > 0:
			signal(c.room)
			return n, nil
		case len(p) == 0:
			return 0, nil
		case err != nil:
			signal(c.arrived)
			return 0, err
		}
		select {
		case <-c.arrived:
		case <-c.closing:
		case <-passed:
		case <-changed:
		}
	}
}

// moveWrite is how often a Write that waits looks whether its deadline was moved.
const moveWrite = 50 * time.Millisecond

// Write sends p in records. Writes are sent one after the other.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.wake()
	for {
		b := p[n:min(n+recordSize, len(p))]
		if c.isFinished() {
			return n, net.ErrClosed
		}
		c.record = c.record[:0]
		if c.o.v7 {
			c.record = append(c.record, b...)
		} else if len(b) > 0 {
			c.record = appendRecord(c.record, b)
		}
		if err := c.write(c.record, c.writeLimit, c.isFinished); err != nil {
			return n, err
		}
		if n += len(b); n == len(p) {
			if cap(c.record) > recordSize/4 {
				c.record = nil
			}
			return n, nil
		}
	}
}

// write writes to the session of KCP, once its window has room, until the deadline has
// passed or stop reports true. The caller holds c.writing.
func (c *Conn) write(b []byte, limit *deadline, stop func() bool) error {
	for {
		at, now := limit.time(), time.Now()
		switch {
		case !at.IsZero() && !at.After(now):
			return os.ErrDeadlineExceeded
		case stop():
			return net.ErrClosed
		case isClosed(c.gone):
			return c.writeError(errGone)
		}
		next := now.Add(moveWrite)
		if !at.IsZero() && at.Before(next) {
			next = at
		}
		c.sess.SetWriteDeadline(next)
		_, err := c.sess.Write(b)
		if err == nil {
			c.mu.Lock()
			c.sent = now
			c.mu.Unlock()
			return nil
		}
		var ne net.Error
		if !errors.As(err, &ne) || !ne.Timeout() {
			return c.writeError(err)
		}
	}
}

// writeError explains why the session takes no more bytes.
func (c *Conn) writeError(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil && c.err != io.EOF {
		return c.err
	}
	return fmt.Errorf("kcp: %w: %w", net.ErrClosed, err)
}

// say writes the head of a record without bytes.
func (c *Conn) say(head uint16) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	limit := newDeadline()
	limit.at = time.Now().Add(grace) // nobody waits for it to pass
	return c.write([]byte{byte(head >> 8), byte(head)}, limit, func() bool { return false })
}

// look returns how often watch looks.
func (c *Conn) look() time.Duration { return min(c.o.KeepAlive, c.o.IdleTimeout) / 4 }

// watch ends a connection whose other side has vanished, and says that this one has not.
func (c *Conn) watch() {
	c.mu.Lock()
	now := time.Now()
	idle := !c.waits.IsZero() && now.Sub(c.waits) > c.o.IdleTimeout
	quiet := now.Sub(c.sent) >= c.o.KeepAlive-c.look()/2
	if !c.calm && now.Sub(c.busy) > calmAfter {
		c.calm = true
		calm(c.sess)
	}
	if idle && c.err == nil {
		c.err = connError{errIdle}
	}
	c.mu.Unlock()
	switch {
	case isClosed(c.ended):
		return
	case idle:
		signal(c.arrived)
		c.sess.Close()
		return
	case quiet && c.writing.TryLock(): // a Write that waits has bytes under way
		at := newDeadline()
		at.at = now.Add(moveWrite)
		c.write([]byte{recordAlive >> 8, recordAlive & 0xff}, at, func() bool { return false })
		c.writing.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !isClosed(c.ended) {
		c.timer.Reset(c.look())
	}
}

// wake notes that the session is in use.
func (c *Conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = time.Now()
	if c.calm {
		c.calm = false
		hurry(c.sess)
	}
}

func (c *Conn) isFinished() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.finished.IsZero()
}

// finish ends this side's direction, and reports whether it was open.
func (c *Conn) finish() (open bool) {
	c.mu.Lock()
	open = c.finished.IsZero()
	if open {
		c.finished = time.Now()
	}
	c.mu.Unlock()
	return open
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	c.readLimit.set(t)
	c.writeLimit.set(t)
	return nil
}

// SetReadDeadline sets the deadline of Reads, the present one included.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readLimit.set(t)
	return nil
}

// SetWriteDeadline sets the deadline of Writes. One that waits notices within 50ms.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeLimit.set(t)
	return nil
}
