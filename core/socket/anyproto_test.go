package socket_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
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

// mirror is a filter that hides where a payload begins.
type mirror struct{}

func (mirror) ID() byte                        { return '~' }
func (mirror) Name() string                    { return "test-mirror" }
func (mirror) OnPack(b []byte) ([]byte, error) { return mirror{}.OnUnpack(b) }
func (mirror) OnUnpack(b []byte) ([]byte, error) {
	if bytes.Contains(b, []byte("!")) {
		return nil, errors.New("test-mirror: cracked")
	}
	b = bytes.Clone(b)
	slices.Reverse(b)
	return b, nil
}

func init() { xfer.Register(mirror{}) }

func TestFirstPayload(t *testing.T) {
	for _, test := range []struct {
		name, prefix string
		to, size     int
		payload      string
		need         int
		err          error // io.EOF: any
	}{
		{"no filter", "h:abc", 2, 5, "abc", 0, nil},
		{"one", "h~abc", 2, 5, "cba", 0, nil},
		{"two", "h~~abc", 3, 6, "abc", 0, nil},
		{"more than the frame", "h~abcdef", 2, 5, "cba", 0, nil},
		{"nothing behind", "h~", 2, 2, "", 0, nil},
		{"ids are missing", "h", 2, 5, "", 2, nil},
		{"payload is missing", "h~ab", 2, 5, "", 5, nil},
		{"nobody's", "h?abc", 2, 5, "", 0, xfer.ErrUnsupported},
		{"nobody's, not whole", "h?", 2, 5, "", 0, xfer.ErrUnsupported},
		{"too large", "h~abc", 2, 1<<20 + 1, "", 0, socket.ErrSizeLimit},
		{"fails", "h~a!c", 2, 5, "", 0, io.EOF},
		{"ids over the end", "h~abc", 2, 1, "", 0, io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			from := 1
			if test.name == "no filter" {
				from = test.to
			}
			payload, need, err := socket.FirstPayload([]byte(test.prefix), from, test.to, test.size)
			if string(payload) != test.payload || need != test.need {
				t.Errorf("got %q, %d; want %q, %d", payload, need, test.payload, test.need)
			}
			if (err == nil) != (test.err == nil) || test.err != io.EOF && !errors.Is(err, test.err) {
				t.Errorf("got %v, want %v", err, test.err)
			}
		})
	}
}

// A peer that says too little is given the time of the options.
func TestAnyProtoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, given := range []time.Duration{0, time.Second} {
			want := given
			if want == 0 {
				want = 10 * time.Second
			}
			a, b := net.Pipe()
			go io.WriteString(b, "t")
			c := socket.NewConn(a, socket.AnyProto("test-one:", "test-three:"), socket.Options{Recognise: given})
			start := time.Now()
			err := c.ReadInto(socket.NewMessage().(*socket.Envelope))
			if got := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || got != want {
				t.Errorf("got %v after %v, want a time-out after %v", err, got, want)
			}
			a.Close()
			b.Close()
		}
	})
}
