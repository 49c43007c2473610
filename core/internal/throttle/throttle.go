// Package throttle limits log lines about events that the other end of a connection can
// cause at will.
package throttle

import (
	"sync/atomic"
	"time"
)

// Burst is the usual limit: lines per second about one kind of event.
const Burst = 10

// Throttle lets a few lines per second pass and counts the others. The zero value is
// ready for use, and takes memory at the first call. It may be used concurrently; two
// calls at the same moment may let one line more or less pass.
type Throttle struct{ p atomic.Pointer[counts] }

type counts struct {
	second atomic.Int64 // when the present second began, in nanoseconds of any clock; 0: never
	lines  atomic.Int64 // calls of Pass in this second
	held   atomic.Int64 // lines held back since the last that passed
}

// Pass reports whether a line may be written at now, at most limit of them per second,
// and how many were held back since the last one.
func (t *Throttle) Pass(now, limit int64) (held int64, ok bool) {
	c := t.p.Load()
	if c == nil {
		t.p.CompareAndSwap(nil, new(counts))
		c = t.p.Load()
	}
	return c.pass(now, limit)
}

func (t *counts) pass(now, limit int64) (held int64, ok bool) {
	if at := t.second.Load(); (at == 0 || now < at || now-at >= int64(time.Second)) && t.second.CompareAndSwap(at, now) {
		t.lines.Store(0)
	}
	if t.lines.Add(1) > limit {
		t.held.Add(1)
		return 0, false
	}
	return t.held.Swap(0), true
}
