package socket_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// TestReadAhead is a protocol with a bufio.Reader of its own: what that has
// swallowed of the next message must not be waited for on the network.
func TestReadAhead(t *testing.T) {
	testwire.Register()
	var frames bytes.Buffer
	for _, method := range []string{"/one", "/two", "/three"} {
		m := socket.NewMessage(socket.WithMtype(socket.TypePush), socket.WithServiceMethod(method), socket.WithBody([]byte("hi")))
		if err := testwire.New(&frames).Pack(m); err != nil {
			t.Fatal(err)
		}
	}
	a, b := net.Pipe()
	defer a.Close()
	go func() {
		b.Write(frames.Bytes()) // all at once
		b.Close()
	}()
	s := socket.NewSocket(a, func(rw io.ReadWriter) socket.Proto {
		type readWriter struct {
			io.Reader
			io.Writer
		}
		return testwire.NewPlain(readWriter{bufio.NewReader(rw), rw})
	})
	m := socket.NewMessage()
	for _, method := range []string{"/one", "/two", "/three"} {
		m.Reset()
		if err := s.ReadMessage(m); err != nil || m.ServiceMethod() != method {
			t.Fatalf("ReadMessage: %q, %v; want %q", m.ServiceMethod(), err, method)
		}
	}
	if err := s.ReadMessage(m); err != io.EOF {
		t.Errorf("at the end: %v; want EOF", err)
	}
}

// splits discards a frame in two parts, which a Repeatable protocol must not.
type splits struct{ io.ReadWriter }

func (s splits) Unwrap() io.ReadWriter      { return s.ReadWriter }
func (s splits) Peek(n int) ([]byte, error) { return s.ReadWriter.(socket.PeekReader).Peek(n) }
func (s splits) Buffered() int              { return s.ReadWriter.(socket.PeekReader).Buffered() }

func (s splits) Discard(n int) (int, error) {
	r := s.ReadWriter.(socket.PeekReader)
	first, err := r.Discard(1)
	if err != nil {
		return first, err
	}
	rest, err := r.Discard(n - 1)
	return first + rest, err
}

// A message behind one with remote filters is not lost in silence if its protocol is not
// Repeatable, although it says so.
func TestNotRepeatable(t *testing.T) {
	testwire.Register()
	var frames bytes.Buffer
	for seq, pipe := range [][]byte{{testwire.Far}, {testwire.Far}, nil} {
		if err := testwire.New(&frames).Pack(push(int32(seq), socket.WithXferPipe(pipe...))); err != nil {
			t.Fatal(err)
		}
	}
	a, b := net.Pipe()
	defer a.Close()
	go func() {
		b.Write(frames.Bytes())
		b.Close()
	}()
	c := socket.NewConn(a, func(rw io.ReadWriter) socket.Proto { return testwire.New(splits{rw}) }, socket.Options{})
	defer c.Release()
	c.ReadAhead(1 << 20)
	var m socket.Envelope
	for seq := range int32(2) {
		if err := c.ReadInto(&m); err != nil || m.Seq() != seq {
			t.Fatalf("ReadInto = %v, seq %d; want %d", err, m.Seq(), seq)
		}
	}
	if err := c.ReadInto(&m); err == nil || !strings.Contains(err.Error(), "Repeatable") {
		t.Errorf("ReadInto = %v; want an error that names the fault", err)
	}
}
