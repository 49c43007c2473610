package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// Conn is a stream. It is safe for concurrent use.
//
// What a connection reads is taken from it by the goroutine that calls Read, where that is
// possible, else by one of the stream's own (pump).
type Conn struct {
	o             *Options
	side          side
	token         token
	identity      identity
	owner         map[any]any          // see Streams.Accept; not changed
	local, remote net.Addr             // of the first connection
	secure        *tls.ConnectionState // of the first connection; nil: it had no TLS

	reading    sync.Mutex            // held by a Read
	read       readCall              // guarded by reading
	readOn     func(fd uintptr) bool // made once: a closure for each Read would allocate
	writing    sync.Mutex            // held by a Write
	readLimit  deadline
	writeLimit deadline
	arrived    chan struct{} // has a value if a Read may go on
	roomy      chan struct{} // has a value if a Write may go on
	taken      chan struct{} // has a value if pump may go on
	attached   chan struct{} // has a value if there is a connection again
	closing    chan struct{} // closed by Close
	over       chan struct{} // closed when the stream has ended
	ctx        context.Context
	cancel     context.CancelFunc // called with over

	swap   sync.Mutex    // held while a connection takes the place of another one, and from Save or Restore to Settle
	frozen chan struct{} // closed by Settle; nil: the stream is not being handed over. Changed with rmu and mu
	still  chan struct{} // has a value if flushing has become false since frozen was set

	heard   atomic.Bool   // something has arrived since the last tick
	starved atomic.Bool   // a Write waits for room
	stuffed atomic.Bool   // pump waits for a Read
	stocked atomic.Bool   // inbound is not empty
	drained atomic.Bool   // see Drained
	ackable atomic.Uint64 // position that the other side may forget
	ackSent atomic.Uint64 // the last one that was sent to it; changed with mu
	peerEnd atomic.Bool   // the other side's direction has ended; changed with mu

	rmu      sync.Mutex // guards the fields below, and reading from a raw connection
	records  records
	received uint64 // position
	inbound  []byte // bytes of the stream that have arrived and were not read: inbound[off:]
	off      int

	mu       sync.Mutex // guards the fields below; taken after rmu
	cur      atomic.Pointer[carrier]
	sent     sent
	wire     uint64 // position up to which cur has been written
	flushing bool   // a goroutine writes
	shown    uint64 // position up to which a connection may have been written
	wrote    bool   // something was written since the last tick
	ackAt    uint64 // where the last ack is in sent
	finished bool   // this side's direction has ended
	endAt    uint64 // position behind the record of that
	byeAt    uint64 // position behind the last record; 0: none yet
	peerBye  bool
	lostAt   time.Time
	lostErr  error
	quiet    time.Duration // since something was heard
	timer    *time.Timer
	roamed   func()   // see Watch; may be nil
	watched  *carrier // at the last Watch
	err      error    // why the stream has ended; nil: in order
	isOver   bool
	away     bool // another process has the stream
}

// side is the side of the stream that connects it again.
type side interface {
	// lost notes that the stream has no connection; grown, that it holds n bytes more since;
	// found, that it has one again; and forget, that it has ended. They are called with the
	// lock of the stream.
	lost(*Conn)
	grown(c *Conn, n int)
	found(*Conn)
	forget(*Conn)
}

// ackEvery is how many bytes may arrive before this side acknowledges them, if it sends
// nothing else.
const ackEvery = 32 << 10

// slack is the room that Options.Buffer does not count: for acks and the end.
const slack = 4 << 10

// noAck is the place of an ack that is not there.
const noAck = ^uint64(0)

func newConn(o *Options, s side, t token, id identity, conn net.Conn) *Conn {
	c := &Conn{o: o, side: s, token: t, identity: id, local: conn.LocalAddr(), remote: conn.RemoteAddr()}
	if t, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := t.ConnectionState()
		c.secure = &state
	}
	c.init()
	o.Stats.Streams.Add(1)
	return c
}

// init makes what every stream has.
func (c *Conn) init() {
	c.arrived, c.roomy, c.taken = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	c.attached, c.closing, c.over = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	c.ackAt = noAck
	c.sent.max = c.o.Buffer + slack
	c.readOn = c.tryOn
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.mu.Lock()
	c.timer = time.AfterFunc(c.o.KeepAlive, c.tick)
	c.mu.Unlock()
}

// asNet returns the stream as what a network makes: with the TLS state of its first
// connection, if there is one.
func (c *Conn) asNet() tp.HandOverConn {
	if c.secure != nil {
		return &secureConn{c}
	}
	return c
}

// secureConn is a Conn over TLS.
type secureConn struct{ *Conn }

// ConnectionState returns the TLS state of the first connection.
func (c *secureConn) ConnectionState() tls.ConnectionState { return *c.secure }

// LocalAddr returns the address of this side of the first connection.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the other side of the first connection, so that a
// session keeps its id.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline of Reads, the present one included.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readLimit.set(t)
	c.passReadLimit()
	return nil
}

// passReadLimit sets the deadline of the connection, if Read waits with that. The caller
// holds c.mu.
func (c *Conn) passReadLimit() {
	if k := c.cur.Load(); k != nil && k.raw != nil && !c.onlyAcks() {
		k.conn.SetReadDeadline(c.readLimit.get())
	}
}

// SetWriteDeadline sets the deadline of Writes, the present one included.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeLimit.set(t)
	return nil
}

// Read reads what has arrived. While the stream has no connection, it waits.
func (c *Conn) Read(p []byte) (n int, err error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for {
		switch {
		case isClosed(c.closing):
			return 0, net.ErrClosed
		case c.readLimit.passed():
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		}
		k := c.cur.Load()
		if k == nil || k.raw == nil || c.onlyAcks() {
			if n, err = c.TryRead(p); err != errAgain {
				return n, err
			}
			c.readLimit.wait(0, c.arrived, c.closing)
			continue
		}
		c.read = readCall{k: k, p: p, err: errAgain}
		failed := k.raw.waitRead(c.readOn)
		n, err = c.read.n, c.read.err
		if c.read = (readCall{}); err != errAgain {
			return n, err
		}
		if failed != nil && !errors.Is(failed, os.ErrDeadlineExceeded) {
			c.lose(k, failed)
		}
	}
}

// readCall is the arguments and results of tryOn.
type readCall struct {
	k   *carrier
	p   []byte
	n   int
	err error
}

// tryOn is called when something has arrived for a Read. It reports whether that ends, or
// has to look for another connection.
func (c *Conn) tryOn(uintptr) (done bool) {
	r := &c.read
	r.n, r.err = c.TryRead(r.p)
	return r.err != errAgain || c.cur.Load() != r.k
}

// TryRead reads what has arrived without a wait, for the engine: the error is
// socket.ErrAgain if that is nothing.
func (c *Conn) TryRead(p []byte) (n int, err error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if c.frozen != nil {
		return 0, errAgain
	}
	if n := c.takeInbound(p); n > 0 {
		c.drained.Store(false)
		return n, nil
	}
	for {
		if c.records.ended {
			return 0, io.EOF
		}
		k := c.cur.Load()
		switch {
		case k == nil:
			return 0, c.readError()
		case k.raw == nil:
			return 0, errAgain
		}
		n, err := k.raw.read(p)
		if err == errAgain {
			return 0, err
		}
		if err != nil {
			c.lose(k, err)
			continue
		}
		if drained := n < len(p); drained != c.drained.Load() {
			c.drained.Store(drained)
		}
		if n, err = c.take(p[:n], false); n > 0 || err != nil {
			return n, err
		}
	}
}

// readError is the error of a stream that has ended, errAgain if it has not.
func (c *Conn) readError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return c.err
	case c.isOver:
		return net.ErrClosed
	}
	return errAgain
}

// takeInbound moves bytes that have arrived to p. The caller holds c.rmu.
func (c *Conn) takeInbound(p []byte) int {
	n := copy(p, c.inbound[c.off:])
	if n == 0 {
		return 0
	}
	if c.off += n; c.off == len(c.inbound) {
		c.off, c.inbound = 0, c.inbound[:0]
		c.stocked.Store(false)
		if cap(c.inbound) > inboundKept {
			c.inbound = nil
		}
	}
	c.noteReceived(news{})
	signal(c.taken)
	return n
}

// inboundKept is the largest buffer for what has arrived that an empty stream keeps.
const inboundKept = 16 << 10

// take takes what a connection has read. It returns how many bytes of the stream are at the
// front of b, or, if keep is true, appends them to those that have arrived. The caller
// holds c.rmu.
func (c *Conn) take(b []byte, keep bool) (n int, err error) {
	n, w, err := c.records.feed(b)
	c.received += uint64(len(b))
	c.heard.Store(true)
	if keep && n > 0 && !isClosed(c.closing) {
		if c.off > 0 && len(c.inbound)+n > cap(c.inbound) {
			c.inbound, c.off = c.inbound[:copy(c.inbound, c.inbound[c.off:])], 0
		}
		c.inbound = append(c.inbound, b[:n]...)
		c.stocked.Store(true)
		signal(c.arrived)
	}
	if err == nil {
		err = c.noteReceived(w)
	}
	if err != nil {
		err = &ended{errProtocol, err}
		c.fail(err)
		return 0, err
	}
	return n, nil
}

// noteReceived acknowledges what was received, if it is time to, and notes what the records
// said. The caller holds c.rmu.
func (c *Conn) noteReceived(w news) error {
	ackable := c.received
	if !c.records.ended { // the other side sends at most its Buffer beyond what was read
		ackable -= uint64(len(c.inbound) - c.off)
	}
	c.ackable.Store(ackable)
	if w == (news{}) && ackable-c.ackSent.Load() < ackEvery {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.learn(w)
}
