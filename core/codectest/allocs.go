package codectest

import (
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/suite"
)

// Allocs reports an error if each of many calls of f makes more than want
// allocations. A single call proves it, so that other goroutines, garbage collections
// and the race detector do not matter.
func Allocs(t *testing.T, what string, want float64, f func()) {
	t.Helper()
	if got := suite.Allocs(want, f); got > want {
		t.Errorf("%s makes %v allocations; want at most %v", what, got, want)
	}
}

// BenchAppend measures encoding v into a buffer that has room for it.
func BenchAppend(b *testing.B, c codec.Codec, v any) {
	b.Helper()
	buf := make([]byte, 0, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.AppendBody(buf, c, v); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchUnmarshal measures decoding the encoding of v into the results of fresh.
func BenchUnmarshal(b *testing.B, c codec.Codec, v any, fresh func() any) {
	b.Helper()
	data, err := c.Marshal(v)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Unmarshal(data, fresh()); err != nil {
			b.Fatal(err)
		}
	}
}
