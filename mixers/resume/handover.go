package resume

import (
	"errors"
	"fmt"
	"net"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// This file holds how a Reboot hands a stream to the new process: with its connection, if
// that is a socket itself, else without one, as if it had broken at that moment.

var (
	_ tp.HandOverConn     = (*Conn)(nil)
	_ tp.HandOverListener = (*Listener)(nil)
)

var (
	errSwapping  = errors.New("resume: another connection is about to carry the stream")
	errEnding    = errors.New("resume: the stream is ending")
	errDialled   = fmt.Errorf("resume: this side has dialled the stream: %w", errors.ErrUnsupported)
	errOneTLS    = errors.New("resume: only one of the two processes runs TLS on the connections")
	errKnown     = errors.New("resume: the stream is here already")
	errRawNeeded = errors.New("resume: the connection below is no stream socket")
)

// Save stops the stream, and returns its state, for the engine; see tp.HandOverConn.
func (c *Conn) Save() (state []byte, below net.Conn, err error) {
	if _, ok := c.side.(*Listener); !ok {
		return nil, nil, errDialled
	}
	if !c.swap.TryLock() {
		return nil, nil, errSwapping
	}
	c.freeze()
	if state, below, err = c.save(); err != nil {
		c.Settle(true)
	}
	return state, below, err
}

// freeze stops reading and writing. What a connection that crosses has been written is known
// then.
func (c *Conn) freeze() {
	c.rmu.Lock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen, c.still = make(chan struct{}), make(chan struct{}, 1)
	c.rmu.Unlock()
	k := c.cur.Load()
	if k == nil || k.raw == nil || !c.flushing {
		return
	}
	k.conn.SetWriteDeadline(longAgo) // ends flushAll
	for c.flushing {
		c.mu.Unlock()
		<-c.still
		c.mu.Lock()
	}
}

// save returns the state of a stream that is frozen.
func (c *Conn) save() (state []byte, below net.Conn, err error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isOver || c.finished || c.peerEnd.Load() || isClosed(c.closing) {
		return nil, nil, errEnding
	}
	s := saved{
		Version: savedVersion, Token: c.token[:], Identity: c.identity[:], Local: addrOf(c.local), Remote: addrOf(c.remote),
		Received: c.received, Left: c.records.left, Head: c.records.head[:c.records.have], AckSent: c.ackSent.Load(),
		Acked: c.sent.acked, Wire: c.sent.acked, End: c.sent.end, Inbound: len(c.inbound) - c.off,
	}
	if c.secure != nil {
		s.TLS = saveTLS(c.secure)
	}
	if s.Owner, err = saveOwner(c.owner); err != nil {
		return nil, nil, err
	}
	if !c.lostAt.IsZero() {
		s.LostFor = max(time.Since(c.lostAt), 0)
	}
	if k := c.cur.Load(); k != nil && k.raw != nil {
		below, s.Wire = k.conn, c.wire
	}
	state, err = s.append(nil)
	if err != nil {
		return nil, nil, err
	}
	for p := c.sent.acked; p < c.sent.end; {
		b := c.sent.part(p)
		state = append(state, b...)
		p += uint64(len(b))
	}
	return append(state, c.inbound[c.off:]...), below, nil
}

// Settle ends what Save or Restore has begun, for the engine; see tp.HandOverConn.
func (c *Conn) Settle(mine bool) {
	defer c.swap.Unlock()
	c.rmu.Lock()
	defer c.rmu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.frozen)
	c.frozen = nil
	if !mine {
		c.away = true
		c.end(nil)
		return
	}
	if k := c.cur.Load(); k != nil && k.raw != nil {
		k.conn.SetWriteDeadline(noDeadline)
	}
	signal(c.roomy)
	signal(c.arrived)
	signal(c.taken)
	c.flush()
	c.settle()
}

func (c *Conn) isFrozen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frozen != nil
}

func (c *Conn) isAway() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.away
}

// awaitSettled waits while the stream is frozen.
func (c *Conn) awaitSettled() {
	c.mu.Lock()
	f := c.frozen
	c.mu.Unlock()
	if f != nil {
		<-f
	}
}

// Restore makes the stream of what Save has returned in another process, for the engine; see
// tp.HandOverListener.
func (l *Listener) Restore(state []byte, below net.Conn) (tp.HandOverConn, error) {
	s, sent, inbound, err := parseSaved(state)
	if err != nil {
		return nil, err
	}
	if !l.n.inner.OwnTLS && (s.TLS == nil) != (l.tls == nil) {
		return nil, errOneTLS
	}
	return l.restore(s, sent, inbound, below)
}

// restore makes a stream that is frozen.
func (l *Listener) restore(s *saved, sent, inbound []byte, below net.Conn) (_ tp.HandOverConn, err error) {
	var k *carrier
	if below != nil {
		if k = newCarrier(below); k.raw == nil {
			return nil, errRawNeeded
		}
	}
	c := &Conn{o: &l.n.o, side: l, token: token(s.Token), identity: identity(s.Identity)}
	if c.owner, err = restoreOwner(s.Owner); err != nil {
		return nil, err
	}
	if c.local, err = s.Local.parse(); err != nil {
		return nil, err
	}
	if c.remote, err = s.Remote.parse(); err != nil {
		return nil, err
	}
	if s.TLS != nil {
		if c.secure, err = s.TLS.parse(); err != nil {
			return nil, err
		}
	}
	c.frozen, c.still = make(chan struct{}), make(chan struct{}, 1)
	c.swap.Lock()
	if err := l.add(c); err != nil {
		return nil, err
	}
	c.init()
	c.rmu.Lock()
	defer c.rmu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received, c.records.left, c.records.have = s.Received, s.Left, copy(c.records.head[:], s.Head)
	c.ackable.Store(s.Received - uint64(len(inbound)))
	c.ackSent.Store(s.AckSent)
	if len(inbound) > 0 {
		c.inbound = append(c.inbound, inbound...)
		c.stocked.Store(true)
	}
	c.sent.max = max(c.sent.max, len(sent)+slack)
	c.sent.origin, c.sent.base, c.sent.acked, c.sent.end = s.Acked, s.Acked, s.Acked, s.Acked
	if len(sent) > 0 {
		c.sent.append(sent)
	}
	c.wire, c.shown = s.Wire, s.Wire
	if k != nil {
		c.cur.Store(k)
		return c.asNet(), nil
	}
	c.lostAt, c.lostErr = time.Now().Add(-s.LostFor), errHandedOver
	c.timer.Reset(c.o.KeepAlive)
	c.o.Stats.Lost.Add(1)
	l.mu.Lock()
	l.comes[c] = true
	l.mu.Unlock()
	return c.asNet(), nil
}

// errHandedOver is why a stream of another process has no connection here.
var errHandedOver = errors.New("the process was replaced, and its connections have ended")

// add notes a stream.
func (l *Listener) add(c *Conn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := c.token.hash()
	switch {
	case l.ctx.Err() != nil:
		return errNoListener
	case l.streams[h] != nil:
		return errKnown
	}
	l.streams[h] = c
	return nil
}

// TakeBack lets a stream go on by a connection that the new process has accepted, for the engine; see
// tp.HandOverListener. state is the preamble.
func (l *Listener) TakeBack(state []byte, conn net.Conn) (take func(), err error) {
	question, err := parsePreamble(state)
	if err != nil {
		return nil, err
	}
	c := l.find(question.token)
	if c == nil {
		return nil, errors.New(verdictUnknown.String())
	}
	return func() {
		if conn == nil { // the other side tries again, until the stream is where it can be resumed
			return
		}
		conn.SetWriteDeadline(time.Now().Add(l.limit))
		if v := c.takeOver(conn, question, nil); v != 0 {
			l.logf("resume: refused the connection of %s: %v", conn.RemoteAddr(), l.refuse(conn, v))
			conn.Close()
		}
	}, nil
}

// Replaced keeps streams without a connection, since TakeBack may bring one.
func (l *Listener) Replaced() { l.replaced.Store(true) }
