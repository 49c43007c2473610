package thriftproto

import (
	"bytes"
	"io"
	"testing"

	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
)

// typical is the message that is measured.
func typical() *socket.Envelope {
	return prototest.Typical('t', bytes.Repeat([]byte("x"), prototest.BenchBody))
}

// each calls f for each form and dialect.
func each(f func(name string, pf socket.ProtoFunc)) {
	for _, form := range forms {
		for _, d := range []Dialect{V5, V7} {
			name := "binary "
			if form == structForm {
				name = "struct "
			}
			f(name+d.String(), newFunc(form, []Dialect{d}))
		}
	}
}

func TestAllocations(t *testing.T) {
	each(func(name string, pf socket.ProtoFunc) {
		t.Run(name, func(t *testing.T) { prototest.Allocations(t, pf, typical()) })
	})
}

// benchmark runs f over connections of both kinds.
func benchmark(b *testing.B, f func(b *testing.B, pf socket.ProtoFunc, rw io.ReadWriter)) {
	each(func(name string, pf socket.ProtoFunc) {
		for kind, rw := range prototest.Endless(pf, typical()) {
			b.Run(name+"/"+kind, func(b *testing.B) { f(b, pf, rw) })
		}
	})
}

func BenchmarkPack(b *testing.B) {
	benchmark(b, func(b *testing.B, pf socket.ProtoFunc, rw io.ReadWriter) {
		prototest.BenchmarkPack(b, pf, rw, typical())
	})
}

func BenchmarkUnpack(b *testing.B) { benchmark(b, prototest.BenchmarkUnpack) }
