package outproc

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/teleport-go/teleport/core/xfer"
)

// Items of 600 bytes, by so many callers at once.
func BenchmarkPack(b *testing.B) {
	loadRole(b, "parts")
	f := filterOf(b).(xfer.Appender)
	item := bytes.Repeat([]byte("x"), 600)
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(max(1, callers/2))
			if callers == 1 {
				out := make([]byte, 0, 1024)
				for b.Loop() {
					if _, err := f.AppendPack(out, item); err != nil {
						b.Fatal(err)
					}
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				out := make([]byte, 0, 1024)
				for pb.Next() {
					if _, err := f.AppendPack(out, item); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
