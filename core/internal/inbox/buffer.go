package inbox

import (
	"math/bits"

	"github.com/teleport-go/teleport/core/internal/bufpool"
)

func whole(b []byte) []byte { return b[:cap(b)] }

// take returns a buffer for n bytes, with a capacity of capacity(n) at most.
func take(n int) []byte {
	b := bufpool.Get(n)
	return b[:0:min(cap(b), capacity(n))]
}

// capacity returns the capacity of a buffer for n bytes: the next power of two, up to
// the pool's largest. The limit of growth relies on that: if n is at most a power of
// two, so is the capacity.
func capacity(n int) int {
	if n > bufpool.MaxSize {
		return n
	}
	return ceil(max(n, bufpool.MinSize))
}

// ceil and floor round to a power of two.
func ceil(n int) int  { return 1 << bits.Len(uint(n-1)) }
func floor(n int) int { return 1 << (bits.Len(uint(n)) - 1) }
