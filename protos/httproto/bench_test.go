package httproto

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
)

// typical is a message with a body of 581 bytes.
func typical(mtype byte) *socket.Envelope {
	m := message(12345, mtype, "/bench/echo", codec.Protobuf, strings.Repeat("x", 581)).(*socket.Envelope)
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

// endless is a connection on which the same frame arrives for ever. It offers
// what the engine's connections do.
type endless struct {
	*bufio.Reader
	out []byte
}

type loop struct {
	frame []byte
	at    int
}

func (l *loop) Read(p []byte) (int, error) {
	n := copy(p, l.frame[l.at:])
	l.at = (l.at + n) % len(l.frame)
	return n, nil
}

func (e endless) Write(p []byte) (int, error) { return len(p), nil }
func (e endless) AvailableBuffer() []byte     { return e.out[:0] }

func endlessly(tb testing.TB, mtype byte) io.ReadWriter {
	frame, err := NewHTTProtoFunc()(nil).(*httpProto).AppendFrame(nil, typical(mtype))
	if err != nil {
		tb.Fatal(err)
	}
	return endless{bufio.NewReaderSize(&loop{frame: frame}, 32<<10), make([]byte, 4096)}
}

var kinds = map[string]byte{"request": socket.TypeCall, "response": socket.TypeReply}

func TestAllocations(t *testing.T) {
	for name, mtype := range kinds {
		p, m, in := NewHTTProtoFunc()(endlessly(t, mtype)), typical(mtype), new(socket.Envelope)
		in.SetInterner(interner{})
		if n := prototest.AllocsPerRun(func() { must(t, p.Pack(m)) }); n != 0 {
			t.Errorf("%s: Pack: %v allocations, want 0", name, n)
		}
		if n := prototest.AllocsPerRun(func() { in.Clear(); must(t, p.Unpack(in)) }); n != 0 {
			t.Errorf("%s: Unpack: %v allocations, want 0", name, n)
		}
	}
}

func must(tb testing.TB, err error) {
	if err != nil {
		tb.Fatal(err)
	}
}

func BenchmarkPack(b *testing.B) {
	for name, mtype := range kinds {
		b.Run(name, func(b *testing.B) {
			p, m := NewHTTProtoFunc()(endlessly(b, mtype)), typical(mtype)
			b.ReportAllocs()
			for b.Loop() {
				must(b, p.Pack(m))
			}
			b.SetBytes(int64(m.Size()))
		})
	}
}

func BenchmarkUnpack(b *testing.B) {
	for name, mtype := range kinds {
		b.Run(name, func(b *testing.B) {
			p, m := NewHTTProtoFunc()(endlessly(b, mtype)), new(socket.Envelope)
			m.SetInterner(interner{})
			b.ReportAllocs()
			for b.Loop() {
				m.Clear()
				must(b, p.Unpack(m))
			}
			b.SetBytes(int64(m.Size()))
		})
	}
}
