package jsonproto

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
)

func init() { codec.Register(prototest.AppendCodec{}) }

// The bodies that are measured.
var benchBodies = map[string]*[prototest.BenchBody]byte{
	"letters":  (*[prototest.BenchBody]byte)(bytes.Repeat([]byte("x"), prototest.BenchBody)),
	"JSON":     (*[prototest.BenchBody]byte)([]byte(strings.Repeat(`{"name":"value","n":12},`, 25))),
	"controls": (*[prototest.BenchBody]byte)(bytes.Repeat([]byte("\x0a\x05va\\ue"), 83)),
}

func TestAllocations(t *testing.T) {
	for _, d := range dialectTests.All {
		for name, body := range benchBodies {
			m := prototest.Typical(codec.Plain, body)
			m.Meta().Add("k", "v")
			t.Run(d.String()+"/"+name, func(t *testing.T) { prototest.Allocations(t, NewJSONProtoFunc(d), m) })
		}
	}
}

// benchmark runs f for each dialect and each body, over a connection like the
// engine's.
func benchmark(b *testing.B, f func(b *testing.B, pf socket.ProtoFunc, rw io.ReadWriter, m *socket.Envelope)) {
	for _, d := range dialectTests.All {
		for name, body := range benchBodies {
			b.Run(d.String()+"/"+name, func(b *testing.B) {
				pf, m := NewJSONProtoFunc(d), prototest.Typical(codec.Plain, body)
				f(b, pf, prototest.Endless(pf, m)["in place"], m)
			})
		}
	}
}

func BenchmarkPack(b *testing.B) { benchmark(b, prototest.BenchmarkPack) }

func BenchmarkUnpack(b *testing.B) {
	benchmark(b, func(b *testing.B, pf socket.ProtoFunc, rw io.ReadWriter, _ *socket.Envelope) {
		prototest.BenchmarkUnpack(b, pf, rw)
	})
}

func BenchmarkAppendFrame(b *testing.B) {
	for _, d := range dialectTests.All {
		b.Run(d.String(), func(b *testing.B) {
			prototest.BenchmarkAppendFrame(b, NewJSONProtoFunc(d), prototest.Typical(codec.Plain, benchBodies["letters"]))
		})
	}
}
