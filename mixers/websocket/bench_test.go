package websocket

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// endless reads the same frames again and again, in place; it is one side of a connection.
type endless struct {
	frames []byte
	at     int
	dialed bool
}

func (e *endless) Peek(n int) ([]byte, error) {
	if e.at == len(e.frames) {
		e.at = 0
	}
	return e.frames[e.at : e.at+n], nil
}

func (e *endless) Discard(n int) (int, error)  { e.at += n; return n, nil }
func (e *endless) Buffered() int               { return len(e.frames) - e.at }
func (e *endless) Read([]byte) (int, error)    { return 0, io.EOF }
func (e *endless) Write(b []byte) (int, error) { return len(b), nil }
func (e *endless) Dialed() bool                { return e.dialed }

func typical(n int) socket.Message {
	return prototest.Message(1234, socket.TypeCall, "/bench/echo", 's', string(bytes.Repeat([]byte("x"), n)))
}

// BenchmarkAppend compares what a frame costs with that of the sub-protocol alone.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{40, 581, 16 << 10} {
		m := typical(n)
		buf := make([]byte, 0, 32<<10)
		for name, p := range map[string]socket.FrameAppender{
			"raw":    rawproto.NewRawProtoFunc()(&endless{}).(socket.FrameAppender),
			"server": NewWsProtoFunc(rawproto.NewRawProtoFunc())(&endless{}).(socket.FrameAppender),
			"client": NewWsProtoFunc(rawproto.NewRawProtoFunc())(&endless{dialed: true}).(socket.FrameAppender),
		} {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := p.AppendFrame(buf, m); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkUnpack is that for what arrives.
func BenchmarkUnpack(b *testing.B) {
	for _, n := range []int{40, 581, 16 << 10} {
		for _, test := range []struct {
			name   string
			pf     socket.ProtoFunc
			dialed bool // which reads
		}{
			{"raw", rawproto.NewRawProtoFunc(), false},
			{"server", NewWsProtoFunc(rawproto.NewRawProtoFunc()), false},
			{"client", NewWsProtoFunc(rawproto.NewRawProtoFunc()), true},
		} {
			b.Run(fmt.Sprintf("%d/%s", n, test.name), func(b *testing.B) {
				frame, err := test.pf(&endless{dialed: !test.dialed}).(socket.FrameAppender).AppendFrame(nil, typical(n))
				if err != nil {
					b.Fatal(err)
				}
				arrives := bytes.Clone(frame)
				e := &endless{frames: arrives, dialed: test.dialed}
				p := test.pf(e)
				m := new(socket.Envelope)
				m.SetInterner(interner{})
				b.ReportAllocs()
				for b.Loop() {
					m.Clear()
					if err := p.Unpack(m); err != nil {
						b.Fatal(err)
					}
					if test.name == "server" { // it was unmasked in place
						copy(arrives, frame)
					}
				}
			})
		}
	}
}

// interner knows the service method of the benchmarks.
type interner struct{}

func (interner) Intern([]byte) string { return "/bench/echo" }
