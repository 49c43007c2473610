package prototest

import (
	"bufio"
	"bytes"
	"io"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	allocs "github.com/teleport-go/teleport/core/internal/suite"
	"github.com/teleport-go/teleport/core/socket"
)

// BenchBody is the length in bytes of the bodies that are usual in benchmarks.
const BenchBody = 581

// BenchMethod is the service method of Typical.
const BenchMethod = "/bench/echo"

// Typical returns the call of benchmarks: with this body, a service method that is
// known to the reader, and nothing else that is out of the ordinary.
func Typical(codec byte, body any) *socket.Envelope {
	m := Message(12345, socket.TypeCall, BenchMethod, codec, "", socket.WithBody(body)).(*socket.Envelope)
	m.SetInterner(interner{})
	return m
}

// AppendCodec is a codec with the id of plain that takes *[BenchBody]byte and appends
// it, as the codecs do that encode straight into a batch.
type AppendCodec struct{}

func (AppendCodec) ID() byte                      { return codec.Plain }
func (AppendCodec) Name() string                  { return codec.NamePlain }
func (AppendCodec) Pure() bool                    { return true }
func (AppendCodec) Size(any) int                  { return BenchBody }
func (AppendCodec) Marshal(v any) ([]byte, error) { return bytes.Clone(v.(*[BenchBody]byte)[:]), nil }
func (AppendCodec) Unmarshal([]byte, any) error   { return nil }

func (AppendCodec) Append(dst []byte, v any) ([]byte, error) {
	return append(dst, v.(*[BenchBody]byte)[:]...), nil
}

type interner struct{}

func (interner) Intern(b []byte) string {
	if string(b) == BenchMethod {
		return BenchMethod
	}
	return string(b)
}

// Endless returns connections on which the frame of m arrives forever and on which
// what is written is dropped: "in place" offers what the engine's connections do,
// "plain" is an io.ReadWriter and no more.
func Endless(pf socket.ProtoFunc, m socket.Message) map[string]io.ReadWriter {
	var frame bytes.Buffer
	if err := pf(&frame).Pack(m); err != nil {
		panic(err)
	}
	plain := func() *endless { return &endless{frame: frame.Bytes(), out: make([]byte, 4096)} }
	in := plain()
	return map[string]io.ReadWriter{
		"in place": inPlace{bufio.NewReaderSize(in, max(32<<10, 2*frame.Len())), in},
		"plain":    struct{ io.ReadWriter }{plain()},
	}
}

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

type inPlace struct {
	*bufio.Reader
	*endless
}

func (i inPlace) Read(p []byte) (int, error) { return i.Reader.Read(p) }
func (i inPlace) AvailableBuffer() []byte    { return i.out[:0] }

// Allocations checks that neither Pack nor Unpack of m allocates, over connections
// of both kinds, and that the body arrives.
func Allocations(t *testing.T, pf socket.ProtoFunc, m *socket.Envelope) {
	t.Helper()
	want, err := m.MarshalBody()
	if err != nil {
		t.Fatal(err)
	}
	for name, rw := range Endless(pf, m) {
		p := pf(rw)
		if n := AllocsPerRun(func() { mustNot(p.Pack(m)) }); n != 0 {
			t.Errorf("%s: Pack: %v allocations, want 0", name, n)
		}
		got := new(socket.Envelope)
		got.SetInterner(interner{})
		if n := AllocsPerRun(func() { got.Clear(); mustNot(p.Unpack(got)) }); n != 0 {
			t.Errorf("%s: Unpack: %v allocations, want 0", name, n)
		}
		if !bytes.Equal(got.RawBody(), want) {
			t.Errorf("%s: the body is %.20q, want %.20q", name, got.RawBody(), want)
		}
	}
}

// AllocsPerRun is the least number of allocations of a call of f, as
// testing.AllocsPerRun counts them, in up to 5000 measurements: on a busy machine others
// allocate meanwhile, collections empty pools, and so does the race detector.
func AllocsPerRun(f func()) float64 { return allocs.Allocs(0, f) }

// mustNot panics with an error that cannot happen.
func mustNot(err error) {
	if err != nil {
		panic(err)
	}
}

// BenchmarkPack measures Pack of m over a connection.
func BenchmarkPack(b *testing.B, pf socket.ProtoFunc, rw io.ReadWriter, m *socket.Envelope) {
	p := pf(rw)
	b.ReportAllocs()
	for b.Loop() {
		mustNot(p.Pack(m))
	}
	b.SetBytes(int64(m.Size()))
}

// BenchmarkUnpack measures Unpack over a connection of Endless.
func BenchmarkUnpack(b *testing.B, pf socket.ProtoFunc, rw io.ReadWriter) {
	p, m := pf(rw), new(socket.Envelope)
	m.SetInterner(interner{})
	b.ReportAllocs()
	for b.Loop() {
		m.Clear()
		mustNot(p.Unpack(m))
	}
	b.SetBytes(int64(m.Size()))
}

// BenchmarkAppendFrame measures AppendFrame of m, if the protocol has it.
func BenchmarkAppendFrame(b *testing.B, pf socket.ProtoFunc, m *socket.Envelope) {
	p, buf := pf(new(bytes.Buffer)).(socket.FrameAppender), make([]byte, 0, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		_, err := p.AppendFrame(buf, m)
		mustNot(err)
	}
}
