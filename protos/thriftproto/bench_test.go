package thriftproto

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

// typical is a message with a body of 581 bytes.
func typical() *socket.Envelope {
	m := msg(12345, socket.TypeCall, "/bench/echo", 't', strings.Repeat("x", 581)).(*socket.Envelope)
	m.SetInterner(interner{})
	return m
}

type interner struct{}

func (interner) Intern(b []byte) string {
	if string(b) == "/bench/echo" {
		return "/bench/echo"
	}
	return string(b)
}

// endless is a connection on which the same frame arrives for ever.
type endless struct {
	frame []byte
	at    int
	out   []byte
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.frame[e.at:])
	e.at = (e.at + n) % len(e.frame)
	return n, nil
}

func (e *endless) Write(p []byte) (int, error) { return len(p), nil }

// inPlace offers what the engine's connections do.
type inPlace struct {
	*bufio.Reader
	*endless
}

func (i inPlace) Read(p []byte) (int, error) { return i.Reader.Read(p) }
func (i inPlace) AvailableBuffer() []byte    { return i.out[:0] }

type setup struct {
	name string
	pf   socket.ProtoFunc
	rw   io.ReadWriter
}

func setups() (all []setup) {
	for _, f := range forms {
		for _, d := range []Dialect{V5, V7} {
			pf := newFunc(f, []Dialect{d})
			frame, err := pf(nil).(*proto).AppendFrame(nil, typical())
			must(err)
			plain := func() *endless { return &endless{frame: frame, out: make([]byte, 4096)} }
			in := plain()
			name := map[form]string{binaryForm: "binary ", structForm: "struct "}[f] + d.String()
			all = append(all, setup{name, pf, inPlace{bufio.NewReaderSize(in, 32<<10), in}},
				setup{name + " plain", pf, struct{ io.ReadWriter }{plain()}})
		}
	}
	return all
}

func TestAllocations(t *testing.T) {
	for _, s := range setups() {
		p, m := s.pf(s.rw).(*proto), typical()
		if _, pooled := s.rw.(inPlace); pooled { // the race detector empties pools at random
			if n := testing.AllocsPerRun(100, func() { must(p.Pack(m)) }); n != 0 {
				t.Errorf("%s: Pack: %v allocations, want 0", s.name, n)
			}
		}
		in := new(socket.Envelope)
		in.SetInterner(interner{})
		if n := testing.AllocsPerRun(100, func() { in.Clear(); must(p.Unpack(in)) }); n != 0 {
			t.Errorf("%s: Unpack: %v allocations, want 0", s.name, n)
		}
		if !bytes.Equal(in.RawBody(), m.Body().([]byte)) {
			t.Errorf("%s: body = %.20q", s.name, in.RawBody())
		}
	}
}

func BenchmarkPack(b *testing.B) {
	for _, s := range setups() {
		b.Run(s.name, func(b *testing.B) {
			p, m := s.pf(s.rw), typical()
			b.ReportAllocs()
			for b.Loop() {
				must(p.Pack(m))
			}
			b.SetBytes(int64(m.Size()))
		})
	}
}

func BenchmarkUnpack(b *testing.B) {
	for _, s := range setups() {
		b.Run(s.name, func(b *testing.B) {
			p, m := s.pf(s.rw), new(socket.Envelope)
			m.SetInterner(interner{})
			b.ReportAllocs()
			for b.Loop() {
				m.Clear()
				must(p.Unpack(m))
			}
			b.SetBytes(int64(m.Size()))
		})
	}
}
