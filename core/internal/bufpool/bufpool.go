// Package bufpool pools byte buffers by size class: powers of two from 512
// bytes to 8 MiB. Larger buffers are allocated and not pooled, so that one huge message
// does not stay in memory. A buffer that is not used again is freed at the second
// garbage collection. In the steady state Get and Put do not allocate. They may be
// called concurrently.
package bufpool

import (
	"math/bits"
	"sync"

	"github.com/teleport-go/teleport/core/internal/poison"
)

const (
	// MinSize is the capacity of the smallest class, in bytes.
	MinSize = 1 << minBits
	// MaxSize is the capacity of the largest class, in bytes.
	MaxSize = 1 << maxBits

	minBits = 9
	maxBits = 23
)

// classes[i] holds buffers of at least MinSize<<i bytes, each in a *[]byte: a
// slice header put into an interface would be an allocation.
var classes [maxBits - minBits + 1]sync.Pool

// headers holds the *[]byte of buffers that are in use.
var headers = sync.Pool{New: func() any { return new([]byte) }}

// Get returns an empty buffer with a capacity of at least n bytes. Old contents are
// still in it. The caller owns the buffer and may keep it; Put is optional.
func Get(n int) []byte {
	if n > MaxSize {
		return make([]byte, 0, n)
	}
	i := 0
	if n > MinSize {
		i = bits.Len(uint(n-1)) - minBits
	}
	h, ok := classes[i].Get().(*[]byte)
	if !ok {
		return make([]byte, 0, MinSize<<i)
	}
	b := *h
	if cap(b) < n { // its head was cut off; here each Get would find it again
		classes[i-1].Put(h)
		return make([]byte, 0, MinSize<<i)
	}
	*h = nil
	headers.Put(h)
	return b[:0]
}

// Put puts a buffer into the pool, from Get or not, grown or not; the caller must not
// use it or a part of it any more. Buffers smaller than MinSize or larger than MaxSize
// are dropped. A buffer that lacks a 16th or less of its class, since the head of a
// frame was cut off in front, still belongs to that class.
func Put(b []byte) {
	c := cap(b)
	if c < MinSize || c > MaxSize {
		return
	}
	if poison.On() {
		poison.Scribble(b[:c])
	}
	h := headers.Get().(*[]byte)
	*h = b
	classes[class(c)].Put(h)
}

// class returns the index in classes for a buffer of capacity c.
func class(c int) int { return min(bits.Len(uint(c+c/16))-1, maxBits) - minBits }
