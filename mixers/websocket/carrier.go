package websocket

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"net"
	"sync"
)

// carrier is a connection of WebSocket as one of bytes: those of its binary messages, one
// after the other. Where a message ends means nothing. One goroutine at a time reads.
type carrier struct {
	net.Conn
	in     *bufio.Reader
	client bool
	left   uint64 // bytes of the present frame that are still to come
	key    uint32 // of the next one of them, and those behind
	inside bool   // of a message in fragments
	failed error  // of every further Read

	writing sync.Mutex // held while a frame is written
}

// carrierBuffer is the size of a carrier's buffer. Reads of more go past it.
const carrierBuffer = 4 << 10

// newCarrier returns a carrier over a connection on which the handshake is over; rest was
// read behind that.
func newCarrier(conn net.Conn, rest []byte, client bool) net.Conn {
	c := &carrier{Conn: conn, client: client}
	c.in = bufio.NewReaderSize(&readConn{Conn: conn, rest: append([]byte(nil), rest...)}, carrierBuffer)
	if t, ok := conn.(tlsConn); ok {
		return &tlsCarrier{c, t}
	}
	return c
}

type tlsConn interface{ ConnectionState() tls.ConnectionState }

// tlsCarrier is a carrier over TLS.
type tlsCarrier struct {
	*carrier
	tls tlsConn
}

// ConnectionState returns the TLS state.
func (c *tlsCarrier) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// NetConn returns the connection at the bottom, which can be closed without a wait.
func (c *carrier) NetConn() net.Conn {
	conn := c.Conn
	for {
		inner, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = inner.NetConn()
	}
}

// Read reads bytes of messages, and answers control frames before them.
func (c *carrier) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for c.left == 0 {
		if c.failed == nil {
			c.failed = c.next()
		}
		if c.failed != nil {
			return 0, c.failed
		}
	}
	n, err := c.in.Read(b[:min(uint64(len(b)), c.left)])
	c.left -= uint64(n)
	if c.key != 0 {
		mask(b[:n], c.key)
		c.key = bits.RotateLeft32(c.key, -8*(n%keySize))
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next reads the header of the next frame with bytes. It tells the other side about what is
// wrong with it.
func (c *carrier) next() error {
	err := c.header()
	if code := codeOf(err); code != 0 {
		c.send(opClose, binary.BigEndian.AppendUint16(nil, code))
	}
	return err
}

func (c *carrier) header() error {
	b, err := c.in.Peek(2)
	if err == nil {
		b, err = c.in.Peek(headerSize(b))
	}
	if err != nil {
		if err == io.EOF && len(b) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	h, err := parseHeader(b)
	if err != nil {
		return err
	}
	c.in.Discard(h.size)
	switch {
	case h.masked == c.client:
		return violation("a frame of a stream has a mask, or none, which is wrong for its side")
	case h.op >= opClose:
		return c.control(h)
	case c.inside == (h.op != opContinuation):
		return violation("the fragments of a message are out of order")
	case h.op == opText:
		return &CloseError{CloseUnsupported, "a stream travels in binary messages, and a text message has arrived"}
	}
	c.inside, c.left, c.key = !h.final, h.length, h.key
	return nil
}

// control reads a control frame, and answers it.
func (c *carrier) control(h header) error {
	var payload [maxControl]byte
	b := payload[:h.length]
	if _, err := io.ReadFull(c.in, b); err == io.EOF {
		return io.ErrUnexpectedEOF
	} else if err != nil {
		return err
	}
	mask(b, h.key)
	switch h.op {
	case opPing:
		return c.send(opPong, b)
	case opClose:
		code, reason, err := parseClose(b)
		if err != nil {
			return err
		}
		c.send(opClose, b) // the connection is about to end anyway
		return fmt.Errorf("websocket: the other side has closed the connection with the code %d %s: %w", code, reason, io.EOF)
	}
	return nil
}

// frames are buffers for frames that are written.
var frames = sync.Pool{New: func() any { return new([]byte) }}

// carrierMessage is the length of the largest message that is written. A page gets whole
// messages only: of one that was cut off, all has to be sent again.
const carrierMessage = 16 << 10

// Write writes b in messages. After an error the connection is of no use.
func (c *carrier) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := c.send(opBinary, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// send writes the payload in frames, each of which is a message.
func (c *carrier) send(op byte, payload []byte) error {
	buf := frames.Get().(*[]byte)
	defer frames.Put(buf)
	out := (*buf)[:0]
	for rest := payload; len(rest) > 0 || len(out) == 0; {
		part := rest[:min(len(rest), carrierMessage)]
		rest = rest[len(part):]
		key := uint32(0)
		if c.client {
			key = newKey()
		}
		var head [maxHeader]byte
		n := len(out) + putHeader(head[:], op, len(part), key)
		out = append(append(out, head[:n-len(out)]...), part...)
		mask(out[n:], key)
	}
	*buf = out
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.Conn.Write(out)
	return err
}
