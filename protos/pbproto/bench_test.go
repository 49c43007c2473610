package pbproto

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
)

// appendCodec has the id of the plain codec, takes *[581]byte and appends it.
type appendCodec struct{}

func (appendCodec) ID() byte                      { return codec.Plain }
func (appendCodec) Name() string                  { return codec.NamePlain }
func (appendCodec) Pure() bool                    { return true }
func (appendCodec) Size(any) int                  { return 581 }
func (appendCodec) Marshal(v any) ([]byte, error) { return bytes.Clone(v.(*[581]byte)[:]), nil }
func (appendCodec) Unmarshal([]byte, any) error   { return nil }

func (appendCodec) Append(dst []byte, v any) ([]byte, error) {
	return append(dst, v.(*[581]byte)[:]...), nil
}

func init() { codec.Register(appendCodec{}) }

// The bodies of 581 bytes that are measured.
var (
	letters = func() *[581]byte { return (*[581]byte)(bytes.Repeat([]byte("x"), 581)) }()
	objects = func() *[581]byte {
		return (*[581]byte)([]byte(strings.Repeat(`{"name":"value","n":12},`, 25))[:581])
	}()
	escapes = func() *[581]byte { return (*[581]byte)(bytes.Repeat([]byte("\x0a\x05va\\ue"), 83)) }()
)

// typical is a message whose codec appends a body of 581 bytes.
func typical(body *[581]byte) *socket.Envelope {
	m := message(12345, socket.TypeCall, "/bench/echo", codec.Plain, "").(*socket.Envelope)
	m.SetBody(body)
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

func conns(d Dialect, m socket.Message) map[string]io.ReadWriter {
	frame, err := NewPbProtoFunc(d)(nil).(*pbProto).AppendFrame(nil, m)
	if err != nil {
		panic(err)
	}
	plain := func() *endless { return &endless{frame: frame, out: make([]byte, 4096)} }
	in := plain()
	return map[string]io.ReadWriter{
		"in place": inPlace{bufio.NewReaderSize(in, 32<<10), in},
		"plain":    struct{ io.ReadWriter }{plain()},
	}
}

func TestAllocations(t *testing.T) {
	for _, d := range []Dialect{V5, V7} {
		for _, body := range []*[581]byte{letters, objects, escapes} {
			m := typical(body)
			m.Meta().Add("k", "v")
			for name, c := range conns(d, m) {
				p := NewPbProtoFunc(d)(c).(*pbProto)
				if _, in := c.(inPlace); in || !raceEnabled { // the race detector empties pools at random
					if n := testing.AllocsPerRun(100, func() { must(p.Pack(m)) }); n != 0 {
						t.Errorf("%v, %s: Pack: %v allocations, want 0", d, name, n)
					}
				}
				in := new(socket.Envelope)
				in.SetInterner(interner{})
				if n := testing.AllocsPerRun(100, func() { in.Clear(); must(p.Unpack(in)) }); n != 0 {
					t.Errorf("%v, %s: Unpack: %v allocations, want 0", d, name, n)
				}
				if !bytes.Equal(in.RawBody(), body[:]) {
					t.Errorf("%v, %s: body = %.20q", d, name, in.RawBody())
				}
			}
		}
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func BenchmarkPack(b *testing.B) {
	for _, d := range []Dialect{V5, V7} {
		b.Run(d.String(), func(b *testing.B) {
			m := typical(letters)
			p := NewPbProtoFunc(d)(conns(d, m)["in place"])
			b.ReportAllocs()
			for b.Loop() {
				must(p.Pack(m))
			}
		})
	}
}

func BenchmarkUnpack(b *testing.B) {
	for _, d := range []Dialect{V5, V7} {
		b.Run(d.String(), func(b *testing.B) {
			p, m := NewPbProtoFunc(d)(conns(d, typical(letters))["in place"]), new(socket.Envelope)
			m.SetInterner(interner{})
			b.ReportAllocs()
			for b.Loop() {
				m.Clear()
				must(p.Unpack(m))
			}
		})
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	for d := Dialect(1); d.valid(); d++ {
		b.Run(d.String(), func(b *testing.B) {
			m := typical(letters)
			p, buf := NewPbProtoFunc(d)(nil).(*pbProto), make([]byte, 0, 4<<10)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.AppendFrame(buf, m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
