package pbproto

import (
	"bytes"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/prototest"
)

func init() { codec.Register(prototest.AppendCodec{}) }

var letters = (*[prototest.BenchBody]byte)(bytes.Repeat([]byte("x"), prototest.BenchBody))

func TestAllocations(t *testing.T) {
	for _, d := range dialectTests.All {
		m := prototest.Typical(codec.Plain, letters)
		m.Meta().Add("k", "v")
		t.Run(d.String(), func(t *testing.T) { prototest.Allocations(t, NewPbProtoFunc(d), m) })
	}
}

func BenchmarkPack(b *testing.B) {
	for _, d := range dialectTests.All {
		b.Run(d.String(), func(b *testing.B) {
			pf, m := NewPbProtoFunc(d), prototest.Typical(codec.Plain, letters)
			prototest.BenchmarkPack(b, pf, prototest.Endless(pf, m)["in place"], m)
		})
	}
}

func BenchmarkUnpack(b *testing.B) {
	for _, d := range dialectTests.All {
		b.Run(d.String(), func(b *testing.B) {
			pf, m := NewPbProtoFunc(d), prototest.Typical(codec.Plain, letters)
			prototest.BenchmarkUnpack(b, pf, prototest.Endless(pf, m)["in place"])
		})
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	for _, d := range dialectTests.All {
		b.Run(d.String(), func(b *testing.B) {
			prototest.BenchmarkAppendFrame(b, NewPbProtoFunc(d), prototest.Typical(codec.Plain, letters))
		})
	}
}
