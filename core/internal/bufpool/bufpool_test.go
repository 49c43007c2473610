package bufpool

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/teleport-go/teleport/core/internal/suite"
)

func TestGet(t *testing.T) {
	for _, n := range []int{-1, 0, 1, 511, 512, 513, 1024, 1025, 1<<20 - 1, 1 << 20, 1<<20 + 1, 5 << 20, 8 << 20, 8<<20 + 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			for range 2 { // allocated, then perhaps from the pool
				b := Get(n)
				if len(b) != 0 || cap(b) < max(n, MinSize) {
					t.Errorf("Get(%d) has len %d, cap %d", n, len(b), cap(b))
				}
				if cap(b) >= 4*max(n, MinSize) {
					t.Errorf("Get(%d) has cap %d; want less than four times that", n, cap(b))
				}
				Put(b[:cap(b)])
			}
		})
	}
}

// A buffer must never come from a class of larger buffers than it is.
func TestPutOdd(t *testing.T) {
	for _, c := range []int{0, 1, 511, 513, 1023, 1025, 1<<20 - 1, 1<<20 + 1, 2 << 20, 8<<20 - 1, 8 << 20, 8<<20 + 1} {
		Put(make([]byte, 3, max(c, 3)))
		Put(make([]byte, 0, c))
	}
	Put(nil)
	for size := 1; size <= MaxSize; size *= 2 {
		for range 8 {
			if b := Get(size); cap(b) < size || cap(b) > MaxSize {
				t.Errorf("Get(%d) has cap %d", size, cap(b))
			}
		}
	}
}

// A buffer whose head was cut off is used again for messages of the same size; one that
// lacks more belongs to the class below.
func TestClass(t *testing.T) {
	for c, want := range map[int]int{
		MinSize: 0, 2*MinSize - 1: 1, 2 * MinSize: 1, 1<<17 - 30: 17 - minBits, 1<<17 - 1<<12: 17 - minBits, 1<<17 - 1<<14: 16 - minBits,
		MaxSize - 1: maxBits - minBits, MaxSize: maxBits - minBits, MaxSize/2 + 1: maxBits - 1 - minBits,
	} {
		if got := class(c); got != want {
			t.Errorf("a buffer of %d bytes is of class %d, want %d", c, got, want)
		}
	}
	for n := MinSize; n <= MaxSize; n *= 2 {
		Put(make([]byte, 0, n-n/32))
		for range 4 {
			if b := Get(n); cap(b) < n {
				t.Fatalf("Get(%d) has cap %d", n, cap(b))
			}
		}
	}
}

func TestConcurrent(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			mine := bytes.Repeat([]byte{byte(g)}, 700)
			for i := range 500 {
				b := append(Get(i), mine...)
				if !bytes.Equal(b, mine) {
					t.Errorf("goroutine %d: another goroutine has the buffer too", g)
				}
				Put(b)
			}
		})
	}
	wg.Wait()
}

func TestAllocs(t *testing.T) {
	got := suite.Allocs(0, func() {
		Put(Get(600))
		Put(Get(70_000))
	})
	if got > 0 {
		t.Errorf("Get and Put make %v allocations; want 0", got)
	}
}

// A buffer whose head was cut off, and that is too small for a request of its class,
// does not stand in the way of those behind it.
func TestCutBufferIsNotFoundAgain(t *testing.T) {
	const size = 16 << 10
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the pool
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))  // one list of buffers
	for range 20 {                                   // the race detector drops some
		Put(make([]byte, 0, size-100))
	}
	got := testing.AllocsPerRun(1000, func() { Put(Get(size)) })
	if got >= 0.9 { // the race detector drops a quarter
		t.Errorf("Get and Put make %v allocations behind a buffer that was cut; want hardly any", got)
	}
}

func BenchmarkGetPut(b *testing.B) {
	for _, n := range []int{100, 4096, 1 << 20} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Put(Get(n))
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				Put(Get(4096))
			}
		})
	})
}
