package websocket

import (
	"io"

	"github.com/teleport-go/teleport/core/socket"
)

// message is the io.ReadWriter of a sub-protocol: it reads the payload of one message, in
// place, and its end is that of the message.
type message struct {
	p    *wsProto
	rest []byte // that was not read
	out  []byte // that a Pack has written
}

var (
	_ socket.PeekReader = (*message)(nil)
	_ socket.Sider      = (*message)(nil)
	_ socket.Keeper     = (*message)(nil)
)

// Peek returns the next n bytes of the message. Its error, when there are fewer, is that of
// a connection that ends there.
func (r *message) Peek(n int) ([]byte, error) {
	switch {
	case n == len(r.rest):
		return r.rest, nil // with its capacity: a connection recognises what it owns by that
	case n < len(r.rest):
		return r.rest[:n:n], nil
	case len(r.rest) == 0:
		return nil, io.EOF
	}
	return r.rest, io.ErrUnexpectedEOF
}

func (r *message) Discard(n int) (int, error) {
	if n > len(r.rest) {
		n = len(r.rest)
		r.rest = nil
		return n, io.ErrUnexpectedEOF
	}
	r.rest = r.rest[n:]
	return n, nil
}

func (r *message) Buffered() int { return len(r.rest) }

func (r *message) Read(b []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *message) Write(b []byte) (int, error) {
	r.out = append(r.out, b...)
	return len(b), nil
}

// Dialed reports whether this side has dialled.
func (r *message) Dialed() bool { return r.p.client }

// Keep counts memory of the sub-protocol's beside that of the fragments.
func (r *message) Keep(n int) error {
	return r.p.keep(n + cap(r.p.joined))
}

// Unwrap returns the connection, whose memory pays for what filters make of a message; see
// socket.Unpack.
func (r *message) Unwrap() io.ReadWriter { return r.p.rw }
