package framing

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

// tiny is a protocol that carries the body and nothing else.
type tiny struct {
	in  Reader
	out Writer
}

func newTiny(rw interface {
	Read([]byte) (int, error)
	Write([]byte) (int, error)
}) *tiny {
	return &tiny{NewReader("tiny", rw), NewWriter("tiny", rw)}
}

func (p *tiny) Version() (byte, string)     { return 't', "tiny" }
func (p *tiny) Pack(m socket.Message) error { return p.out.Pack(p, m) }
func (p *tiny) Unpack(m socket.Message) error {
	payload, err := next(&p.in, m)
	if err != nil {
		return err
	}
	return m.UnmarshalBody(payload)
}

func (p *tiny) AppendFrame(dst []byte, m socket.Message) ([]byte, error) {
	out, err := p.out.Payload(append(dst, 0, 0, 0, 0), m, m.AppendBody)
	if err != nil {
		return dst, err
	}
	size, err := p.out.Size(m, len(out)-len(dst))
	if err != nil {
		return dst, err
	}
	binary.BigEndian.PutUint32(out[len(dst):], size)
	return out, nil
}

// roomy is a connection that lends memory, as the engine's do.
type roomy struct {
	bytes.Buffer
	own     []byte
	writes  int
	foreign bool // something else was written
}

func (r *roomy) AvailableBuffer() []byte { return r.own[:0] }

func (r *roomy) Write(p []byte) (int, error) {
	r.writes++
	r.foreign = r.foreign || len(p) > 0 && &p[0] != &r.own[:1][0]
	return r.Buffer.Write(p)
}

// counted is one that does not.
type counted struct {
	b      bytes.Buffer
	writes int
	err    error
}

func (c *counted) Read(p []byte) (int, error) { return c.b.Read(p) }

func (c *counted) Write(p []byte) (int, error) {
	c.writes++
	if c.err != nil {
		return 0, c.err
	}
	return c.b.Write(p)
}

func body(n int, filters ...byte) *socket.Envelope {
	return socket.NewMessage(socket.WithBody(bytes.Repeat([]byte("xy"), n/2)), socket.WithXferPipe(filters...)).(*socket.Envelope)
}

func TestWriter(t *testing.T) {
	for _, test := range []struct {
		name    string
		n       int
		filters string
	}{
		{"empty", 0, ""}, {"small", 10, ""}, {"filter", 10, "r"}, {"filters", 10, "rrr"}, {"large", 2 << 20, ""}, {"large with a filter", 2 << 20, "r"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Repeat("xy", test.n/2)
			want := framed(test.filters, text)
			if len(test.filters)%2 == 1 {
				want = framed(test.filters, strings.Repeat("yx", test.n/2))
			}
			for range 2 { // the second with used memory
				var c counted
				m := body(test.n, []byte(test.filters)...)
				if err := newTiny(&c).Pack(m); err != nil || c.writes != 1 || !bytes.Equal(c.b.Bytes(), want) || m.Size() != uint32(len(want)) {
					t.Errorf("%d bytes, %d writes, size %d, %v; want %d bytes in one", c.b.Len(), c.writes, m.Size(), err, len(want))
				}
			}
			r := &roomy{own: make([]byte, 3<<20)}
			if err := newTiny(r).Pack(body(test.n, []byte(test.filters)...)); err != nil || r.writes != 1 || r.foreign || !bytes.Equal(r.Bytes(), want) {
				t.Errorf("into its own memory: %d bytes, %d writes, foreign memory: %v, %v", r.Len(), r.writes, r.foreign, err)
			}
			m := new(socket.Envelope)
			if err := newTiny(r).Unpack(m); err != nil || string(m.RawBody()) != text || string(m.XferPipe().IDs()) != test.filters {
				t.Errorf("read again: %d bytes through %q, %v", len(m.RawBody()), m.XferPipe().IDs(), err)
			}
		})
	}
}

func TestWriterRefuses(t *testing.T) {
	unencoded := errors.New("unencoded")
	many := body(2)
	for range 256 {
		many.XferPipe().AppendFrom(body(0, 'r').XferPipe())
	}
	limited := body(100)
	limited.SetLimit(50)
	for _, test := range []struct {
		name string
		m    *socket.Envelope
		want string
		is   error
	}{
		{"filters", many, "tiny: pipe of 256 filters is longer than 255", nil},
		{"limit", limited, "", socket.ErrSizeLimit},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c counted
			r := &roomy{own: make([]byte, 1000)}
			for _, p := range []*tiny{newTiny(&c), newTiny(r)} {
				err := p.Pack(test.m)
				if err == nil || test.want != "" && err.Error() != test.want || test.is != nil && !errors.Is(err, test.is) ||
					errors.Is(err, socket.ErrBadMessage) {
					t.Errorf("error %v, want %q (%v)", err, test.want, test.is)
				}
				if out, err := p.AppendFrame([]byte("abc"), test.m); err == nil || string(out) != "abc" {
					t.Errorf("AppendFrame returns %q, %v; want what was there, and the error", out, err)
				}
			}
			if c.writes+r.writes != 0 {
				t.Errorf("%d writes, want none", c.writes+r.writes)
			}
		})
	}
	w := NewWriter("x", nil)
	for _, m := range []*socket.Envelope{body(0), body(0, 'r')} {
		if _, err := w.Payload(nil, m, func(b []byte) ([]byte, error) { return b, unencoded }); !errors.Is(err, unencoded) {
			t.Errorf("payload that fails: %v, want %v", err, unencoded)
		}
	}
	if math.MaxInt > math.MaxUint32 {
		over := uint64(math.MaxUint32) + 1
		if _, err := w.Size(body(0), int(over)); !errors.Is(err, socket.ErrSizeLimit) {
			t.Errorf("Size(4 GiB) = %v, want ErrSizeLimit", err)
		}
	}
	c := counted{err: unencoded}
	if err := newTiny(&c).Pack(body(2)); !errors.Is(err, unencoded) {
		t.Errorf("a connection that fails: %v, want %v", err, unencoded)
	}
}

// The ids of the filters may stand where the protocol wants them.
func TestFilter(t *testing.T) {
	w, r := NewWriter("x", nil), NewReader("x", nil)
	for _, test := range []struct {
		filters, text, want string
	}{
		{"", "abc", "abc"}, {"r", "abc", "cba"}, {"rc", "abc", ".cba"}, {"rrrrrrrr", "", ""},
	} {
		m := socket.NewMessage(socket.WithBody([]byte(test.text)), socket.WithXferPipe([]byte(test.filters)...))
		out, err := w.Filter([]byte("head "), m, m.AppendBody)
		if want := "head " + test.want; err != nil || string(out) != want {
			t.Errorf("filters %q: %q, %v; want %q", test.filters, out, err, want)
		}
		m = socket.NewMessage()
		got, err := r.Unfilter(m, []byte(test.filters), []byte(test.want))
		if err != nil || string(got) != test.text || string(m.XferPipe().IDs()) != test.filters {
			t.Errorf("filters %q undone: %q through %q, %v; want %q", test.filters, got, m.XferPipe().IDs(), err, test.text)
		}
	}
	for _, test := range []struct{ filters, text, want string }{
		{"rrrrrrrrr", "", "x: pipe of 9 filters is longer than 8"},
		{"\xff", "", "x: pipe: "},
		{"c", "abc", "x: pipe: "},
	} {
		_, err := r.Unfilter(socket.NewMessage(), []byte(test.filters), []byte(test.text))
		if !errors.Is(err, socket.ErrBadMessage) || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("filters %q of %q: %v, want %s…", test.filters, test.text, err, test.want)
		}
	}
}
