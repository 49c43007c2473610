package tp

import (
	"testing"

	"github.com/teleport-go/teleport/core/internal/bufpool"
)

// A result may still be the argument of the next call: its memory is dropped when it is
// large, and never used for anything else.
func TestReusedMemoryIsTheCallersAlone(t *testing.T) {
	for range 100 { // a pool does not return all that was put into it
		const size = 128 << 10
		memory := make([]byte, 0, size)
		r := &Reused[string]{memory: memory}
		if r.reused(); r.memory != nil {
			t.Fatal("large memory is kept")
		}
		if b := bufpool.Get(size); &b[:1][0] == &memory[:1][0] {
			t.Fatal("another call got the memory")
		}
	}
}
