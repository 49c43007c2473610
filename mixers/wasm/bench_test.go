package wasm_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/codecs/cborcodec"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/wasm"
	"github.com/teleport-go/teleport/xfers/md5"
)

// An item is one packing or one unpacking.
func BenchmarkFilter(b *testing.B) {
	loadGo(b, wasm.Module{})
	for _, size := range []int{600, 16 << 10} {
		for _, callers := range []int{1, 64} {
			for name, f := range map[string]xfer.Appender{"wasm": filter(b, md5ID), "import": md5.Filter{}} {
				b.Run(fmt.Sprintf("%dB/%dcallers/%s", size, callers, name), func(b *testing.B) {
					data := make([]byte, size)
					each(b, callers, func(items int) {
						var buf []byte
						for range items {
							var err error
							if buf, err = f.AppendPack(buf[:0], data); err != nil {
								b.Error(err)
							}
						}
					})
				})
			}
		}
	}
}

// An item is one encoding.
func BenchmarkCodec(b *testing.B) {
	loadGo(b, wasm.Module{})
	v := sample()
	v.Raw = make([]byte, 400)
	for _, callers := range []int{1, 64} {
		for name, c := range map[string]codec.Codec{"wasm": cbor(b), "import": cborcodec.Codec{}} {
			b.Run(fmt.Sprintf("600B/%dcallers/%s", callers, name), func(b *testing.B) {
				each(b, callers, func(items int) {
					for range items {
						if _, err := c.Marshal(v); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}

func each(b *testing.B, callers int, run func(items int)) {
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() { run(max(1, b.N/callers)) })
	}
	wg.Wait()
	require.Positive(b, b.N)
}

// Start is from a file that is compiled already to the first item.
func BenchmarkLoad(b *testing.B) {
	loadGo(b, wasm.Module{}).Close()
	for b.Loop() {
		h := loadGo(b, wasm.Module{})
		if _, err := filter(b, md5ID).OnPack(nil); err != nil {
			b.Fatal(err)
		}
		h.Close()
	}
}
