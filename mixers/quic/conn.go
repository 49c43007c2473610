package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	tp "github.com/teleport-go/teleport/core"
)

// Conn is the connection of a session: a QUIC connection with one stream. It is safe for
// concurrent use.
type Conn struct {
	conn     *quicgo.Conn
	stream   *quicgo.Stream
	listener *listener // nil: dialled
	confirms bool      // the accepting side opens a stream when it has read everything

	reading sync.Mutex // held by a Read
	writing sync.Mutex // held by a Write

	ended chan struct{} // closed when the connection has ended and released its sockets

	mu       sync.Mutex // guards the fields below
	sockets  []*socket  // used by the connection
	endRead  bool       // Read has reached the end of the stream
	closing  bool       // Close was called
	finished time.Time  // when this side has ended its direction; zero: not yet
}

func newConn(conn *quicgo.Conn, stream *quicgo.Stream, s *socket, l *listener) *Conn {
	return &Conn{
		conn: conn, stream: stream, sockets: []*socket{s}, listener: l,
		confirms: conn.ConnectionState().TLS.NegotiatedProtocol == protocol,
		ended:    make(chan struct{}),
	}
}

// Of returns the connection of a session in a PostDial, PostRedial or PostAccept hook; nil
// if that is of another network, or another plugin has wrapped it.
func Of(s tp.PreSession) (c *Conn) {
	s.ModifySocket(func(conn net.Conn) (net.Conn, tp.ProtoFunc) {
		c, _ = conn.(*Conn)
		return nil, nil
	})
	return c
}

// LocalAddr returns the address of the UDP socket.
func (c *Conn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr returns the present address of the other side, which may change.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// ConnectionState returns the TLS state of the connection.
func (c *Conn) ConnectionState() tls.ConnectionState { return c.conn.ConnectionState().TLS }

// Read reads from the stream.
func (c *Conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.isClosing() {
		return 0, net.ErrClosed
	}
	n, err := c.stream.Read(p)
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF:
		c.reachEnd()
		if n > 0 {
			return n, nil
		}
		return 0, io.EOF
	case c.isClosing():
		return n, net.ErrClosed
	case !c.confirms && isDone(err): // v7 ends a connection without waiting for the other side
		return n, io.EOF
	}
	return n, c.connError(err)
}

// isDone reports whether the other side has ended the connection with the code 0.
func isDone(err error) bool {
	var app *quicgo.ApplicationError
	return errors.As(err, &app) && app.Remote && app.ErrorCode == codeDone
}

// reachEnd notes that all bytes of the other side were read, and tells it.
func (c *Conn) reachEnd() {
	c.mu.Lock()
	first := !c.endRead
	c.endRead = true
	c.mu.Unlock()
	if first && c.listener != nil && c.confirms {
		if s, err := c.conn.OpenUniStream(); err == nil {
			s.Close()
		}
	}
}

// Write writes to the stream. Writes are sent one after the other.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.isFinished() {
		return 0, net.ErrClosed
	}
	n, err := c.stream.Write(p)
	switch {
	case err == nil:
		return n, nil
	case c.isFinished():
		return n, net.ErrClosed
	}
	return n, c.connError(err)
}

// CloseWrite ends this side's direction: the other side reads io.EOF after the bytes
// written before. It ends a Write that waits.
func (c *Conn) CloseWrite() error {
	if !c.finish() {
		return net.ErrClosed
	}
	return nil
}

// finish ends this side's direction, and reports whether it was open.
func (c *Conn) finish() bool {
	c.mu.Lock()
	open := c.finished.IsZero()
	if open {
		c.finished = time.Now()
	}
	c.mu.Unlock()
	if !open {
		return false
	}
	c.stream.SetWriteDeadline(past)
	c.writing.Lock() // the stream must not be closed during a Write
	defer c.writing.Unlock()
	c.stream.Close()
	return true
}

var past = time.Unix(1, 0)

// Close ends both directions. The bytes written before still arrive, for at most 2
// seconds: after a CloseWrite Close waits until they have, else that goes on in the
// background.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.closing = true
	c.mu.Unlock()
	wait := !c.finish()
	c.stream.SetReadDeadline(past) // ends a Read that waits
	if c.listener != nil {
		c.listener.linger(c)
	}
	go c.end()
	if wait {
		<-c.ended
	}
	return nil
}

// end waits until each side has read everything, at most until the grace is over, and
// ends the connection.
func (c *Conn) end() {
	defer close(c.ended)
	c.mu.Lock()
	limit := c.finished.Add(grace)
	c.mu.Unlock()
	ctx, cancel := context.WithDeadline(c.conn.Context(), limit)
	defer cancel()

	c.reading.Lock() // the Read of a closed connection has returned, and later ones do not get so far
	c.stream.SetReadDeadline(limit)
	_, err := io.Copy(io.Discard, c.stream)
	c.reading.Unlock()
	if err == nil {
		c.reachEnd()
	}
	if err == nil && c.listener == nil && c.confirms {
		if _, err := c.conn.AcceptUniStream(ctx); err == nil {
			c.conn.CloseWithError(codeDone, "")
		}
	}
	<-ctx.Done() // else the other side ends the connection
	c.conn.CloseWithError(codeBroken, "it was closed, and did not end in time")
	c.mu.Lock()
	sockets := c.sockets
	c.sockets = nil
	c.mu.Unlock()
	for _, s := range sockets {
		s.release()
	}
	if c.listener != nil {
		c.listener.forget(c)
	}
}

func (c *Conn) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

func (c *Conn) isFinished() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.finished.IsZero()
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline of Reads, the present one included.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return net.ErrClosed
	}
	return c.stream.SetReadDeadline(t)
}

// SetWriteDeadline sets the deadline of Writes, the present one included.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.finished.IsZero() {
		return net.ErrClosed
	}
	return c.stream.SetWriteDeadline(t)
}
