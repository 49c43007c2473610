//go:build (linux || darwin) && !race

package outbox

import (
	"io"
	"testing"

	"github.com/teleport-go/teleport/core/internal/bufpool"
)

// A message that the socket takes at once costs no allocation.
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
		if n := testing.AllocsPerRun(200, func() {
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
