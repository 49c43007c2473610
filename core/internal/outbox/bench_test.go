package outbox

import (
	"fmt"
	"io"
	"sync"
	"testing"
)

// Each frame is accepted and flushed by one of n goroutines that do not wait
// for it to be read, over TCP.
func BenchmarkAppenders(b *testing.B) {
	frame := appendFrame(nil, 1, 1, 600)
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			near, far := pair(b, "tcp")
			go io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{far}, make([]byte, 256<<10))
			w := New(near, Config{})
			mode := Yield
			if n == 1 {
				mode = 0
			}
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					for range b.N/n + min(1, max(0, b.N%n-i)) {
						buf, err := w.Begin(nil)
						if err != nil {
							b.Error(err)
							return
						}
						w.Commit(append(buf, frame...))
						w.Flush(mode)
					}
				})
			}
			wg.Wait()
			if err := w.Wait(nil); err != nil {
				b.Error(err)
			}
		})
	}
}
