package codec

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
)

// Limits bound what decoding a body takes beyond the memory of its bytes: a few bytes
// can describe a large value, such as "{}" in a list of structs. A codec of this
// repository looks for that before it decodes, and refuses the body with a
// [LimitError]. Bodies under 1 KiB are not measured, unless Depth is less than their
// length.
//
// A field that is 0 means its default, below 0 no limit.
type Limits struct {
	// Depth is how many lists, maps and structs may be in each other. The default is
	// 1000, the most 10,000, and 64 for CBOR.
	Depth int
	// Memory is how many bytes a decoded value may take. The default is 64 MiB. The
	// size is an estimate from the value's type, from above for most types: of each
	// element of its lists and maps, and of what its pointers and interfaces hold.
	// The bytes of its texts are not counted, since they are in the body.
	Memory int
	// Factor is how many bytes a value may take for each byte of its body, if that is
	// more than Memory. The default is 16.
	Factor int
}

// The default limits.
const (
	DefaultDepth  = 1000
	DefaultMemory = 64 << 20
	DefaultFactor = 16
)

var limits atomic.Pointer[Limits]

func init() { SetLimits(Limits{}) }

// SetLimits sets the process-wide limits. It is meant for main, before messages are
// received.
func SetLimits(l Limits) {
	l.Depth = orDefault(l.Depth, DefaultDepth)
	l.Memory = orDefault(l.Memory, DefaultMemory)
	l.Factor = orDefault(l.Factor, DefaultFactor)
	limits.Store(&l)
}

func orDefault(n, standard int) int {
	switch {
	case n < 0:
		return math.MaxInt
	case n == 0:
		return standard
	}
	return n
}

// CurrentLimits returns the process-wide limits: those that were set, defaults for
// fields that were 0, and [math.MaxInt] for fields below 0.
func CurrentLimits() Limits { return *limits.Load() }

// ErrTooComplex is wrapped by the error of decoding a body that is over a limit of the
// codec, such as those of [Limits].
var ErrTooComplex = errors.New("too complex")

// LimitError reports a body that is over a limit. It wraps [ErrTooComplex].
type LimitError struct {
	What  string // is counted, such as "levels of nesting"
	Limit int
	Found int // so many at least: counting ends when the limit is exceeded
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%v: %d %s or more, the limit is %d", ErrTooComplex, e.Found, e.What, e.Limit)
}

// Unwrap returns ErrTooComplex.
func (e *LimitError) Unwrap() error { return ErrTooComplex }
