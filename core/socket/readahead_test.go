package socket_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
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
