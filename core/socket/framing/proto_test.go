package framing

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/socket"
)

// two is a format with a mark and whole sizes; its payload is the body.
var two = Format[dialect]{
	ID: '2', Name: "two", Dialects: []Dialect{1: {"one", 'x'}, 2: {"two", 0}}, WholeSize: true,
	AppendPayload: func(dst []byte, m socket.Message, d dialect) ([]byte, error) {
		if m.Mtype() == 9 {
			return append(dst, "rubbish"...), errors.New("type 9")
		}
		return m.AppendBody(append(dst, '0'+byte(d)))
	},
	Hint: "a hint", HintAfter: 30,
}

type twoProto struct{ Proto[dialect] }

func (p *twoProto) Unpack(m socket.Message) error {
	payload, err := p.In.Next(m)
	if err != nil {
		return err
	}
	f := Fields{Mtype: socket.TypeCall, Body: payload, Own: p.In.Owned()}
	return f.Fill(m)
}

func newTwo(rw io.ReadWriter, f *Format[dialect], named dialect) *twoProto {
	p := new(twoProto)
	p.Init(f, rw, named)
	return p
}

func TestProto(t *testing.T) {
	plain := two
	plain.WholeSize = false
	for _, test := range []struct {
		name    string
		format  *Format[dialect]
		d       dialect
		filters string
		want    string
	}{
		{"whole size, mark", &two, 1, "", "\x00\x00\x00\x09x\x001hi"},
		{"whole size", &two, 2, "", "\x00\x00\x00\x08\x002hi"},
		{"whole size, filter", &two, 2, "r", "\x00\x00\x00\x09\x01rih2"},
		{"size of the rest", &plain, 2, "", "\x00\x00\x00\x04\x002hi"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var wire bytes.Buffer
			p := newTwo(&wire, test.format, test.d)
			m := socket.NewMessage(socket.WithBody([]byte("hi")), socket.WithXferPipe([]byte(test.filters)...))
			if err := p.Pack(m); err != nil || wire.String() != test.want || int(m.Size()) != len(test.want) {
				t.Errorf("Pack writes %q, size %d, %v; want %q", wire.String(), m.Size(), err, test.want)
			}
			if out, err := p.AppendFrame([]byte("abc"), socket.NewMessage(socket.WithMtype(9))); err == nil || string(out) != "abc" {
				t.Errorf("AppendFrame returns %q, %v; want what was there, and the error", out, err)
			}
			if id, name := p.Version(); id != '2' || name != "two" {
				t.Errorf("Version = %c, %q", id, name)
			}
			if test.format.WholeSize {
				return // Next reads no such frame
			}
			got := new(socket.Envelope)
			if err := p.Unpack(got); err != nil || string(got.RawBody()) != "2hi" {
				t.Errorf("Unpack: %q, %v", got.RawBody(), err)
			}
		})
	}
	_, err := newTwo(nil, &two, 3).AppendFrame(nil, socket.NewMessage())
	if err == nil || err.Error() != "two: no such dialect: 3" {
		t.Errorf("dialect 3: %v", err)
	}
}

// The hint is given if the end may be an answer to the first frames, and only then.
func TestHint(t *testing.T) {
	quiet := two
	quiet.Hint = ""
	for _, test := range []struct {
		name   string
		dialed bool
		format *Format[dialect]
		named  dialect
		frames []int           // sizes
		pauses []time.Duration // behind each of them
		want   string
	}{
		{"at once", true, &two, 0, []int{40}, []time.Duration{0}, "a hint"},
		{"soon", true, &two, 0, []int{40}, []time.Duration{time.Second}, "a hint"},
		{"the first dialect by name", true, &two, 1, []int{40}, []time.Duration{0}, "a hint"},
		{"late: a restart, or a clean end", true, &two, 0, []int{40}, []time.Duration{3 * time.Second}, ""},
		{"late, frames behind it", true, &two, 0, []int{40, 40, 40}, []time.Duration{time.Second, time.Second, time.Second}, ""},
		{"nothing sent", true, &two, 0, nil, nil, ""},
		{"too little for the peer to judge", true, &two, 0, []int{20}, []time.Duration{0}, ""},
		{"little, and much later enough", true, &two, 0, []int{20, 20}, []time.Duration{time.Hour, time.Second}, "a hint"},
		{"another dialect", true, &two, 2, []int{40}, []time.Duration{0}, ""},
		{"accepted", false, &two, 0, []int{40}, []time.Duration{0}, ""},
		{"a format without a hint", true, &quiet, 0, []int{40}, []time.Duration{0}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newTwo(side{new(bytes.Buffer), test.dialed}, test.format, test.named)
				for i, size := range test.frames {
					m := socket.NewMessage(socket.WithBody(make([]byte, size-7)))
					if err := p.Pack(m); err != nil {
						t.Fatal(err)
					}
					time.Sleep(test.pauses[i])
				}
				if got := p.Hint(); got != test.want {
					t.Errorf("Hint = %q, want %q", got, test.want)
				}
			})
		})
	}
}

// A TLS record in place of a frame is an error that says so, before the limit, in
// all ways of reading.
func TestTLS(t *testing.T) {
	for _, test := range []struct {
		name, first, want string
	}{
		{"alert", "\x15\x03\x03\x00\x02\x02\x0a", "x: the peer sent a TLS alert: it expects TLS, and this side has no TLS configuration"},
		{"client hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "x: the peer began a TLS handshake, and this side has no TLS configuration"},
		{"alert, cut", "\x15\x03\x03\x00\x02", "x: size ended after 5 of 6 bytes: unexpected EOF"},
		{"a frame of that size", "\x15\x03\x03\x00\x00hello", "limit"},
		{"a frame of about that size", "\x15\x04\x03\x00", "limit"},
	} {
		for way, open := range readers([]byte(test.first)) {
			t.Run(test.name+"/"+way, func(t *testing.T) {
				in, _ := open()
				r := NewReader("x", in)
				m := new(socket.Envelope)
				m.SetLimit(1 << 20)
				_, err := next(&r, m)
				if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, socket.ErrBadMessage) {
					t.Errorf("error %v, want %s", err, test.want)
				}
				if got, want := errors.Is(err, socket.ErrTLS), strings.Contains(test.want, "TLS"); got != want {
					t.Errorf("%v matches ErrTLS: %v, want %v", err, got, want)
				}
			})
		}
	}
}

// A first frame that looks like one of another protocol is an error before the rest of
// it is awaited; later ones, and what only is no good frame, are not.
func TestFirstFrame(t *testing.T) {
	letters := two
	letters.WholeSize, letters.Begins = false, func(first byte) bool { return first == '1' || first == '2' }
	const good = "\x00\x00\x00\x04\x002hi"
	for _, test := range []struct{ name, sent, want string }{
		{"its own", good, ""},
		{"its mark", "\x00\x00\x00\x02x\x00", "two: pipe of 120 filters is longer than 8"},
		{"json", "\x00\x00\x00\x40\x00{\"seq\":1", "look like a json frame"},
		{"raw", "\x00\x00\x00\x40r\x00\x011", "look like a raw frame"},
		{"http", "POST / HTTP/1.1\r\nHost: x\r\n\r\n", "look like an HTTP request"},
		{"behind a filter", "\x00\x00\x00\x05\x01r1:{", "looks like that of a json frame"},
		{"behind a filter, its own", "\x00\x00\x00\x05\x01rih2", ""},
		{"nobody's, with its end", "\x00\x00\x00\x03\x00zz", ""},
		{"json, later", good + "\x00\x00\x00\x03\x00{}", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			near, far := net.Pipe()
			defer near.Close()
			defer far.Close()
			go io.WriteString(far, test.sent) // and nothing else: no error may need more
			frames := 1
			if len(test.sent) > len(good) && strings.HasPrefix(test.sent, good) {
				frames = 2
			}
			s := socket.NewSocket(near, func(rw io.ReadWriter) socket.Proto { return newTwo(rw, &letters, 0) })
			for range frames {
				err := s.ReadMessage(new(socket.Envelope))
				if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("%v, want %q", err, test.want)
				}
			}
		})
	}
}
