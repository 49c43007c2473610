// Package throttle bounds how often something is logged that the other end of a
// connection can cause as often as it likes.
package throttle

import (
	"sync/atomic"
	"time"
)

// Burst is how many lines a second say enough about one kind of trouble.
const Burst = 10

// Throttle lets a few lines a second through and counts the others. The zero value is
// ready. It may be used concurrently: where two calls meet, a line more or less may pass.
type Throttle struct {
	second atomic.Int64 // when the present second began, in nanoseconds of any clock; 0: never
	lines  atomic.Int64 // asked for in it
	held   atomic.Int64 // held back since the last one that passed
}

// Pass reports whether a line may be written now, at most limit of them a second, and
// how many were held back since the last one.
func (t *Throttle) Pass(now, limit int64) (held int64, ok bool) {
	if at := t.second.Load(); (at == 0 || now < at || now-at >= int64(time.Second)) && t.second.CompareAndSwap(at, now) {
		t.lines.Store(0)
	}
	if t.lines.Add(1) > limit {
		t.held.Add(1)
		return 0, false
	}
	return t.held.Swap(0), true
}
