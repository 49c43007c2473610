package resume

import (
	"cmp"
	"container/list"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// Listener accepts streams, and connections that resume them. It is the side of the streams
// that it has accepted.
type Listener struct {
	inner net.Listener
	n     *network
	tls   *tls.Config // nil: none, or the inner network runs it
	limit time.Duration
	log   tp.Logger // may be nil

	handBack func(ctx context.Context, state []byte, conn net.Conn) error // of tp.ListenConfig; nil: there is no old process
	replaced atomic.Bool                                                  // the new process hands back connections

	accepted chan net.Conn
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	tasks    sync.WaitGroup // run and its welcomes
	failed   chan error     // why the inner listener has ended

	mu      sync.Mutex // guards the fields below; taken after the lock of a stream
	streams map[tokenHash]*Conn
	gone    map[tokenHash]time.Time // streams that the new process has; see hadAt
	missing map[*Conn]*absent
	comes   map[*Conn]bool // streams without a connection that another process had: they do not count for MaxLost
	order   list.List      // of *absent: streams without a connection, those that are so for the longest first
	bytes   int64          // that they hold
	shaking list.List      // of net.Conn: handshakes, the oldest first
}

// tokenHash is what streams are found by: how long the search takes tells nothing about a
// token.
type tokenHash [sha256.Size]byte

func (t token) hash() tokenHash { return sha256.Sum256(t[:]) }

// absent is a stream without a connection.
type absent struct {
	c     *Conn
	bytes int64
	at    *list.Element
}

// maxShaking is how many handshakes of a listener go on at a time; then the oldest one is
// ended.
const maxShaking = 1024

// acceptTime is how long accepting a connection may take, after the last stream has moved
// away.
const acceptTime = 100 * time.Millisecond

// newSide returns a Listener that can be the side of streams, and accepts nothing.
func newSide(n *network) *Listener {
	return &Listener{n: n, streams: map[tokenHash]*Conn{}, missing: map[*Conn]*absent{}, comes: map[*Conn]bool{}}
}

func (n *network) newListener(ctx context.Context, lc tp.ListenConfig) (*Listener, error) {
	l := newSide(n)
	l.limit, l.log, l.handBack = handshakeTimeout(lc.HandshakeTimeout), lc.Logger, lc.HandBack
	l.accepted, l.failed = make(chan net.Conn), make(chan error, 1)
	if !n.inner.OwnTLS {
		l.tls = lc.TLS
	}
	lc.Network, lc.ReusePort = n.inner.Name, false // a connection must come to the listener that has its stream
	var err error
	if l.inner, err = n.inner.Listen(ctx, lc); err != nil {
		return nil, err
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.tasks.Go(l.run)
	return l, nil
}

// run accepts connections until the listener is closed.
func (l *Listener) run() {
	const least, most = 5 * time.Millisecond, time.Second
	for wait := least; ; {
		conn, err := acceptGuarded(l.n.inner, l.inner, l.log)
		var temporary interface{ Temporary() bool }
		switch {
		case err == nil:
			wait = least
			accepted := time.Now()
			l.tasks.Go(func() { l.welcome(conn, accepted) })
		case errors.As(err, &temporary) && temporary.Temporary():
			l.logf("resume: accept on %s: %v; trying again in %v", l.Addr(), err, wait)
			pause(l.ctx, wait)
			wait = min(2*wait, most)
		default:
			l.failed <- err
			return
		}
	}
}

func (l *Listener) logf(format string, args ...any) {
	if l.log != nil {
		l.log.Debugf(format, args...)
	}
}

// welcome makes the handshake, and gives the connection a stream.
func (l *Listener) welcome(conn net.Conn, accepted time.Time) {
	ctx, cancel := context.WithTimeout(l.ctx, l.limit)
	defer cancel()
	c, err := l.shake(ctx, conn, arrival{accepted, nil})
	if err != nil {
		if l.ctx.Err() == nil && err != errHandedBack {
			l.logf("resume: refused the connection of %s: %v", conn.RemoteAddr(), err)
		}
		conn.Close()
		return
	}
	if c == nil {
		return
	}
	select {
	case l.accepted <- c.asNet():
	case <-l.ctx.Done():
		c.fail(&ended{ErrExpired, errNoListener})
	}
}

// arrival is what is known of a connection besides what it says.
type arrival struct {
	accepted time.Time
	owner    map[any]any // of the client, besides TLS; see Streams.Accept
}

// shake makes the handshake within ctx, and gives the connection a stream. It returns the
// stream if that is a new one.
func (l *Listener) shake(ctx context.Context, conn net.Conn, a arrival) (begun *Conn, err error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(longAgo) })
	done := l.begin(conn)
	secure, question, err := l.read(ctx, conn)
	done()
	var c *Conn
	if err == nil {
		c, err = l.answer(ctx, secure, question, a)
	}
	isNew := question.token == (token{})
	if late := !stop() || l.ctx.Err() != nil; late && err == nil { // the connection has a deadline in the past, or is about to
		err = cmp.Or(context.Cause(ctx), net.ErrClosed)
		if isNew {
			c.fail(net.ErrClosed)
		} else if k := c.cur.Load(); k != nil && k.conn == secure {
			c.lose(k, err)
		}
	}
	if err != nil || !isNew {
		return nil, err
	}
	return c, nil
}

// begin notes a handshake, until done, and ends the oldest one if there are too many.
func (l *Listener) begin(conn net.Conn) (done func()) {
	l.mu.Lock()
	e := l.shaking.PushBack(conn)
	var oldest net.Conn
	if l.shaking.Len() > maxShaking {
		oldest = l.shaking.Remove(l.shaking.Front()).(net.Conn)
	}
	l.mu.Unlock()
	if oldest != nil {
		oldest.Close() // not with the lock of all streams: TLS writes then
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.shaking.Remove(e) // again: nothing
	}
}

// read reads the preamble.
func (l *Listener) read(ctx context.Context, conn net.Conn) (net.Conn, preamble, error) {
	if l.tls != nil {
		t := tls.Server(conn, l.tls)
		if err := handshakeGuarded(ctx, t, "server", l.log); err != nil {
			return nil, preamble{}, err
		}
		conn = t
	}
	var b [preambleSize]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return nil, preamble{}, err
	}
	p, err := parsePreamble(b[:])
	return conn, p, err
}

// answer answers a preamble, and attaches the connection to its stream.
func (l *Listener) answer(ctx context.Context, conn net.Conn, question preamble, a arrival) (*Conn, error) {
	if question.token == (token{}) {
		c := newConn(&l.n.o, l, newToken(), identityOf(conn), conn)
		c.owner = a.owner
		l.mu.Lock()
		l.streams[c.token.hash()] = c
		l.mu.Unlock()
		c.swap.Lock()
		defer c.swap.Unlock()
		if err := c.answer(conn, question.received); err != nil {
			c.fail(err)
			return nil, err
		}
		return c, nil
	}
	c := l.find(question.token)
	if c == nil && l.handBack != nil {
		if l.handBack(ctx, question.append(nil), conn) == nil {
			return nil, errHandedBack
		}
		c = l.find(question.token) // it may have come meanwhile
	}
	v := verdictUnknown
	switch {
	case c != nil:
		v = c.takeOver(conn, question, a.owner)
	case l.hadAt(question.token, a.accepted):
		return nil, errMoved
	}
	if v == 0 {
		return c, nil
	}
	return nil, l.refuse(conn, v)
}

// find returns the stream with the token; nil: there is none.
func (l *Listener) find(t token) *Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.streams[t.hash()]
	if c == nil || subtle.ConstantTimeCompare(c.token[:], t[:]) != 1 {
		return nil
	}
	return c
}

// hadAt reports whether the new process has a stream that this one had when it accepted a
// connection: the other side connects again, and finds the new process. Connections that are
// accepted later are here because that has ended, unless it has taken over for good.
func (l *Listener) hadAt(t token, accepted time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, gone := l.gone[t.hash()]
	return gone && (l.replaced.Load() || accepted.Before(at))
}

// refuse answers with the verdict fresh.
func (l *Listener) refuse(conn net.Conn, v verdict) error {
	l.n.o.Stats.Refused.Add(1)
	_, err := conn.Write(preamble{sent: uint64(v)}.append(nil))
	return errors.Join(errors.New(v.String()), err)
}

// takeOver gives the stream another connection. It returns why not, 0 if it does, or if
// that connection has broken meanwhile.
func (c *Conn) takeOver(conn net.Conn, question preamble, owner map[any]any) verdict {
	if id := identityOf(conn); subtle.ConstantTimeCompare(id[:], c.identity[:]) != 1 || !maps.EqualFunc(owner, c.owner, same) {
		return verdictIdentity
	}
	c.swap.Lock()
	defer c.swap.Unlock()
	if c.isAway() {
		conn.Close() // the other side tries again, and finds the process that has it
		return 0
	}
	if v := c.judge(question); v != 0 {
		return v
	}
	if k := c.cur.Load(); k != nil {
		c.lose(k, errTakenOver)
	}
	if c.answer(conn, question.received) != nil {
		conn.Close()
	}
	return 0
}

// same compares two values by ==; those that cannot be compared are not the same.
func same(a, b any) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// judge compares positions.
func (c *Conn) judge(question preamble) verdict {
	c.rmu.Lock()
	received := c.received
	c.rmu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.isOver:
		return verdictUnknown
	case (question.received-c.sent.acked)&positionMask > c.sent.end-c.sent.acked:
		return verdictPosition
	case (question.sent-received)&positionMask > positionMask/2:
		return verdictPosition
	}
	return 0
}

// answer sends the answer to a preamble, and attaches the connection. The caller holds
// c.swap, and the stream has no connection.
func (c *Conn) answer(conn net.Conn, received uint64) error {
	p := c.question()
	if _, err := conn.Write(p.append(nil)); err != nil {
		return err
	}
	conn.SetWriteDeadline(noDeadline) // of TakeBack
	return c.attach(newCarrier(conn), received)
}

// lost notes a stream without a connection, and gives up others if there are too many.
func (l *Listener) lost(c *Conn) {
	l.mu.Lock()
	a := &absent{c: c, bytes: int64(len(c.sent.ring))}
	a.at = l.order.PushBack(a)
	l.missing[c] = a
	l.bytes += a.bytes
	l.mu.Unlock()
	l.giveUp()
}

func (l *Listener) grown(c *Conn, n int) {
	l.mu.Lock()
	if a := l.missing[c]; a != nil {
		a.bytes += int64(n)
		l.bytes += int64(n)
	}
	l.mu.Unlock()
	l.giveUp()
}

// giveUp ends streams without a connection while there are too many.
func (l *Listener) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := l.order.Front(); e != nil && (len(l.missing) > l.n.o.MaxLost || l.bytes > l.n.o.MaxLostBytes || l.isClosed()); e = l.order.Front() {
		c := e.Value.(*absent).c
		l.remove(c)
		go c.fail(&ended{ErrExpired, errTooMany}) // not with the lock of another stream
	}
	if l.isClosed() {
		for c := range l.comes {
			go c.fail(&ended{ErrExpired, errNoListener})
		}
	}
}

// isClosed reports whether no stream can get another connection.
func (l *Listener) isClosed() bool { return l.ctx.Err() != nil && !l.replaced.Load() }

func (l *Listener) found(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(c)
}

// remove forgets that a stream has no connection. The caller holds l.mu.
func (l *Listener) remove(c *Conn) {
	delete(l.comes, c)
	if a := l.missing[c]; a != nil {
		l.order.Remove(a.at)
		l.bytes -= a.bytes
		delete(l.missing, c)
	}
}

func (l *Listener) forget(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(c)
	if c.away {
		if l.gone == nil {
			l.gone = make(map[tokenHash]time.Time)
		}
		l.gone[c.token.hash()] = time.Now().Add(acceptTime)
	}
	delete(l.streams, c.token.hash())
}

// Accept waits for a stream.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.ctx.Done():
	case c := <-l.accepted:
		return c, nil
	case err := <-l.failed:
		l.failed <- err
		if !errors.Is(err, net.ErrClosed) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("accept %s %s: %w", "resume+"+l.n.inner.Name, l.Addr(), net.ErrClosed)
}

// Addr returns the address of the inner listener.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Unwrap returns the inner listener, to be handed to another process.
func (l *Listener) Unwrap() net.Listener { return l.inner }

// Close ends Accept, and the streams without a connection, which nothing could resume any
// more, unless this process was Replaced. Streams with a connection stay.
func (l *Listener) Close() error {
	if l.ctx.Err() != nil {
		return net.ErrClosed
	}
	l.cancel()
	err := l.inner.Close()
	l.tasks.Wait()
	l.giveUp()
	return err
}
