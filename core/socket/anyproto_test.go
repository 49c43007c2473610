package socket_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// marked is the protocol of the tests behind a mark of some bytes, once.
type marked struct {
	socket.Proto
	mark string
	rw   io.ReadWriter
	read bool
}

func (p *marked) Unpack(m socket.Message) error {
	if !p.read {
		p.read = true
		b := make([]byte, len(p.mark))
		if _, err := io.ReadFull(p.rw, b); err != nil {
			return err
		}
	}
	return p.Proto.Unpack(m)
}

func init() {
	for _, mark := range []string{"one:", "three:"} {
		socket.RegisterProto(socket.Protocol{
			Name: "test-" + mark,
			New: func(rw io.ReadWriter) socket.Proto {
				return &marked{Proto: testwire.New(rw), mark: mark, rw: rw}
			},
			Recognise: func(prefix []byte) (bool, int) {
				if len(prefix) < len(mark) && strings.HasPrefix(mark, string(prefix)) {
					return false, len(mark)
				}
				return bytes.HasPrefix(prefix, []byte(mark)), 0
			},
		})
	}
}

func TestAnyProto(t *testing.T) {
	testwire.Register()
	var frame bytes.Buffer
	m := socket.NewMessage(socket.WithMtype(socket.TypePush), socket.WithServiceMethod("/x"), socket.WithBody([]byte("hi")))
	if err := testwire.New(&frame).Pack(m); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, sends string
		byByte      bool
		err         error
	}{
		{"the first", "one:" + frame.String(), false, nil},
		{"the second", "three:" + frame.String(), false, nil},
		{"one byte at a time", "three:" + frame.String(), true, nil},
		{"nobody's", "four:" + frame.String(), false, socket.ErrUnsupportedProto},
		{"cut", "thr", false, io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := net.Pipe()
			defer a.Close()
			go func() {
				defer b.Close()
				step := len(test.sends)
				if test.byByte {
					step = 1
				}
				for rest := test.sends; rest != ""; rest = rest[step:] {
					if _, err := io.WriteString(b, rest[:step]); err != nil {
						return
					}
				}
			}()
			s := socket.NewSocket(a, socket.AnyProto("test-one:", "test-three:"))
			var body []byte
			got := socket.NewMessage(socket.WithBody(&body))
			err := s.ReadMessage(got)
			if !errors.Is(err, test.err) {
				t.Fatalf("ReadMessage: %v; want %v", err, test.err)
			}
			if err == nil && (got.ServiceMethod() != "/x" || string(body) != "hi") {
				t.Errorf("read %q %q; want /x hi", got.ServiceMethod(), body)
			}
		})
	}
	t.Run("unknown name", func(t *testing.T) {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		s := socket.NewSocket(a, socket.AnyProto("test-one:", "http"))
		err := s.WriteMessage(m)
		if !errors.Is(err, socket.ErrUnsupportedProto) || !strings.Contains(err.Error(), "protos/httproto") {
			t.Errorf("WriteMessage: %v; want the import that is missing", err)
		}
	})
}
