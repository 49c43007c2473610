//go:build (linux || darwin) && !race

// The race detector allocates, and runs goroutines in random order.

package outbox

import (
	"io"
	"runtime"
	"sync"
	"testing"

	"github.com/teleport-go/teleport/core/internal/bufpool"
	"github.com/teleport-go/teleport/core/internal/suite"
)

// Writing a message that the socket takes at once does not allocate.
func TestNoAllocation(t *testing.T) {
	near, far := pair(t, "tcp")
	w := New(near, Config{})
	frame := appendFrame(nil, 1, 1, 600)
	got := make([]byte, len(frame))
	for _, test := range []struct {
		name string
		add  func()
	}{
		{"Begin", func() {
			b, _ := w.Begin(nil)
			w.Commit(append(b, frame...))
		}},
		{"Send", func() { w.Send(nil, append(bufpool.Get(600), frame...)) }},
	} {
		if n := suite.Allocs(0, func() {
			test.add()
			w.Flush(Yield)
			if _, err := io.ReadFull(far, got); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations, want none", test.name, n)
		}
	}
}

// Yield lets goroutines that are ready to run append first; without it Flush does not wait for them.
func TestYield(t *testing.T) {
	const others, rounds = 10, 40
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, test := range []struct {
		name string
		mode Mode
		late Mode // of a second Flush during the first
		want bool
	}{
		{"caller", Yield, 0, true},
		{"caller alone", 0, 0, false},
		{"goroutine", NoBlock | Yield, 0, true},
		{"goroutine alone", NoBlock, 0, false},
		{"asked for late", NoBlock, Yield, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			together := 0 // rounds in which the first write had frames of others too
			for range rounds {
				c := newGate()
				c.open()
				w := New(c, Config{})
				var wg sync.WaitGroup
				for i := range others {
					wg.Go(func() { put(w, nil, 1, i, 100) })
				}
				put(w, nil, 0, 0, 100)
				w.Flush(test.mode)
				w.Flush(test.late)
				wg.Wait()
				w.Wait(nil)
				w.Join()
				if c.sizes[0] > 100 {
					together++
				}
			}
			if got := together > rounds/2; got != test.want {
				t.Errorf("the first write had frames of others in %d of %d rounds, want most: %v", together, rounds, test.want)
			}
		})
	}
}
