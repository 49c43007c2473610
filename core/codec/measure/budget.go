// Package measure tells codecs, before they decode a body, whether the value would
// exceed [codec.Limits].
//
// A [Budget] counts levels and bytes. A codec whose library decodes into Go types by
// reflection describes the types as a [Format]; a [Meter] then takes the body's lists,
// maps and values one by one and knows from the type what each takes:
//
//	m := format.Meter(body, v)
//	if m == nil {
//		return nil // no body of this size is over a limit
//	}
//
// Nothing is decoded or kept, so measuring takes no memory of note.
package measure

import (
	"math"
	"math/bits"

	"github.com/teleport-go/teleport/core/codec"
)

// unmeasured is the size in bytes up to which bodies are not measured: a body that
// small does not exceed the default limits, unless one element takes 128 KiB.
const unmeasured = 1 << 10

// Small reports whether a body of size bytes need not be measured. A level of depth
// takes a byte at least.
func Small(size int) bool { return size < unmeasured && size <= codec.CurrentLimits().Depth }

// Budget is what remains of the limits while one body is measured.
type Budget struct {
	depth, maxDepth int
	memory, most    float64 // in bytes; as a float64 no sum of products overflows
	peak            float64 // the most that memory has been
	grown           float64 // of memory, what is in lists that grow as they are decoded
}

// maxDepth is how deep bodies may be whatever the limit is: decoding recursively takes
// some 1 KiB of stack a level, and Go ends the process at 1 GB.
const maxDepth = 10_000

// Depth returns how many lists, maps and structs may be in each other.
func Depth() int { return min(codec.CurrentLimits().Depth, maxDepth) }

// NewBudget returns the budget for a body of size bytes.
func NewBudget(size int) Budget {
	l := codec.CurrentLimits()
	return Budget{maxDepth: Depth(), most: max(float64(l.Memory), float64(size)*float64(l.Factor))}
}

// Allows reports whether n elements may take size bytes each.
func (b *Budget) Allows(n float64, size int) bool { return n*float64(size) <= b.most }

// reserveFrom is how many bytes a value takes at least that is measured for an account.
const reserveFrom = 256 << 10

// Reserves reports whether n elements of size bytes each are so much that they have to be
// measured for an account; not if that is nil.
func Reserves(account codec.Account, n float64, size int) bool {
	return account != nil && n*float64(size) > reserveFrom
}

// AllowsDepth reports whether n lists, maps and structs may be in each other.
func (b *Budget) AllowsDepth(n int) bool { return n <= b.maxDepth }

// Enter begins a list, map or struct. The error is a [codec.LimitError].
func (b *Budget) Enter() error {
	if b.depth++; b.depth > b.maxDepth {
		return &codec.LimitError{What: "levels of nesting", Limit: b.maxDepth, Found: b.depth}
	}
	return nil
}

// Leave ends what Enter has begun.
func (b *Budget) Leave() { b.depth-- }

// Take counts n elements that take size bytes each. The error is a [codec.LimitError].
func (b *Budget) Take(n, size int) error {
	if b.memory += float64(n) * float64(size); b.memory > b.most {
		return &codec.LimitError{What: "bytes of memory for the value", Limit: toInt(b.most), Found: toInt(b.memory)}
	}
	return nil
}

// growth is how much more a list takes while it grows: its elements are copied.
const growth = 1.25

// Grows says of n elements that Take counts that they are in a list that grows as it is
// decoded, and take size bytes each there.
func (b *Budget) Grows(n, size int) { b.grown += float64(n) * float64(size) }

// Reserve reserves what decoding takes at most, by what was counted, on an account; nil is
// none.
func (b *Budget) Reserve(account codec.Account) error {
	if account == nil {
		return nil
	}
	return account.Reserve(toInt(max(b.peak, b.memory) + growth*b.grown))
}

// Give returns what was counted of n elements that took size bytes each, in a list that
// grew.
func (b *Budget) Give(n, size int) {
	b.peak = max(b.peak, b.memory+growth*float64(n)*float64(size))
	b.memory -= float64(n) * float64(size)
}

func toInt(f float64) int {
	if f >= math.MaxInt {
		return math.MaxInt
	}
	return int(f)
}

// FirstEntry returns what the first entry of a map takes whose key and value take key
// and value bytes: the runtime allocates eight entries at once.
func FirstEntry(key, value int) int {
	inline, outside := entry(key, value)
	return wordSize + mapGroup*inline + outside
}

// NextEntry returns what an entry takes after the first eight: the runtime keeps up to
// half of the entries free.
func NextEntry(key, value int) int {
	inline, outside := entry(key, value)
	return 2*inline + outside
}

const (
	wordSize = bits.UintSize / 8
	mapGroup = 8
)

// entry returns what a key and a value take in a map, and outside of it, where those over
// 128 bytes are.
func entry(key, value int) (inline, outside int) {
	for _, size := range [...]int{key, value} {
		if size > 128 {
			outside += size
			size = wordSize
		}
		inline += size
	}
	return inline, outside
}
