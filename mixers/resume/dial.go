package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// dialer is the side that has dialled.
type dialer struct {
	n *network
	d tp.DialConfig
}

// leastPause and mostPause bound the pauses between attempts, which are random: from 0 to a
// bound that doubles.
const (
	leastPause = 20 * time.Millisecond
	mostPause  = 2 * time.Second
)

func (n *network) dial(ctx context.Context, d tp.DialConfig) (net.Conn, error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	d.Network = n.inner.Name
	return n.dialStream(ctx, d)
}

// dialStream is dial for a network that was checked.
func (n *network) dialStream(ctx context.Context, d tp.DialConfig) (net.Conn, error) {
	s := &dialer{n, d}
	conn, answer, err := s.connect(ctx, preamble{})
	if err != nil {
		return nil, err
	}
	if answer.token == (token{}) {
		conn.Close()
		return nil, fmt.Errorf("resume: no stream: %v", verdict(answer.sent))
	}
	c := newConn(&n.o, s, answer.token, identity{}, conn)
	c.swap.Lock()
	defer c.swap.Unlock()
	if err := c.attach(newCarrier(conn), answer.received); err != nil {
		c.fail(err)
		conn.Close()
		return nil, fmt.Errorf("resume: %w", err)
	}
	c.mu.Lock()
	c.ack() // the other side sees that its answer has arrived
	c.flush()
	c.mu.Unlock()
	return c.asNet(), nil
}

// connect makes a connection, and exchanges preambles. It lasts as long as ctx, and the
// limits of the DialConfig, allow.
func (s *dialer) connect(ctx context.Context, question preamble) (conn net.Conn, answer preamble, err error) {
	if s.d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.d.Timeout)
		defer cancel()
	}
	conn, err = dialGuarded(ctx, s.n.inner, s.d)
	if err != nil {
		return nil, answer, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout(s.d.HandshakeTimeout))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(longAgo) })
	secure, answer, err := s.shake(ctx, conn, question)
	if !stop() && err == nil || err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, answer, err
	}
	return secure, answer, nil
}

// shake is the handshake, without its limit.
func (s *dialer) shake(ctx context.Context, conn net.Conn, question preamble) (net.Conn, preamble, error) {
	if s.d.TLS != nil && !s.n.inner.OwnTLS {
		t := tls.Client(conn, s.d.ClientTLS())
		if err := handshakeGuarded(ctx, t, "client", s.d.Logger); err != nil {
			return nil, preamble{}, err
		}
		conn = t
	}
	if _, err := conn.Write(question.append(nil)); err != nil {
		return nil, preamble{}, err
	}
	var b [preambleSize]byte
	if n, err := io.ReadFull(conn, b[:]); err != nil {
		if n == 0 && errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: it has closed the connection after the preamble", errNoPreamble)
		}
		return nil, preamble{}, err
	}
	answer, err := parsePreamble(b[:])
	return conn, answer, err
}

// handshakeTimeout returns d, or the default where no peer has set it.
func handshakeTimeout(d time.Duration) time.Duration {
	if d <= 0 {
		return defaultHandshakeTimeout
	}
	return d
}

func (s *dialer) lost(c *Conn)     { go s.redial(c) }
func (s *dialer) grown(*Conn, int) {}
func (s *dialer) found(*Conn)      {}
func (s *dialer) forget(*Conn)     {}

// redial connects the stream again, until it has ended.
func (s *dialer) redial(c *Conn) {
	c.swap.Lock()
	defer c.swap.Unlock()
	for bound := leastPause; pause(c.ctx, rand.N(bound)); bound = min(2*bound, mostPause) {
		conn, answer, err := s.connect(c.ctx, c.question())
		if err != nil {
			c.missed(err)
			continue
		}
		switch {
		case answer.token != c.token:
			err = fmt.Errorf("%w: %v", ErrFresh, verdict(answer.sent))
		default:
			if err = c.attach(newCarrier(conn), answer.received); err == nil {
				return
			}
		}
		conn.Close()
		c.fail(&ended{ErrFresh, err})
	}
}

// question returns the preamble that asks for the stream, which has no connection.
func (c *Conn) question() preamble {
	p := preamble{token: c.token}
	c.rmu.Lock()
	p.received = c.received
	c.rmu.Unlock()
	c.mu.Lock()
	p.sent = c.sent.end
	c.mu.Unlock()
	return p
}

// missed notes why there is no connection.
func (c *Conn) missed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lostErr = err
}
