// Package stats counts what a peer does: calls, pushes, errors by code, bytes and
// the time of calls, by route and direction; sessions and their queues. It is read
// as a Go value, as JSON (expvar), or as OpenMetrics text. The outcome of a call or
// push is counted whatever has ended it.
//
// Clients cannot create labels: incoming messages are counted under the name their
// handler was registered with, all others under "unknown"; outgoing ones under their
// path, at most 500 of them, all others under "other".
package stats

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/labels"
	"github.com/teleport-go/teleport/core/socket"
)

const (
	// Unknown is the route of incoming messages that have no handler of their own.
	Unknown = labels.Unknown
	// Other is the route of outgoing messages beyond the first 500 paths, or of
	// a path over 200 bytes or not in UTF-8.
	Other = labels.Other

	maxCodes = 32 // of a route; further codes count as one
)

// Stats is the plugin, for a peer; it may be shared by several, whose counts it
// adds up. Given to a group or a handler it sees their incoming messages alone,
// and no sessions. Put it behind plugins that reroute messages. All its methods
// may be called concurrently. New makes one.
type Stats struct {
	base     time.Time // clocks run from here
	in, out  *labels.Set[*route]
	redials  atomic.Uint64
	accepted atomic.Uint64 // sessions so far
	dialled  atomic.Uint64

	mu       sync.Mutex   // guards what follows
	sessions map[any]bool // that live; true: dialled
}

// route is the counters of one name in one direction.
type route struct {
	name     string
	begun    atomic.Uint64 // calls whose time has begun
	time     histogram     // of those that have ended
	refused  atomic.Uint64 // calls that have ended before their time could begin
	pushes   atomic.Uint64
	bytesIn  atomic.Uint64
	bytesOut atomic.Uint64

	mu          sync.Mutex // guards what follows
	errors      map[int32]uint64
	otherErrors uint64
}

// buckets is the number of bounds of a histogram: 1 µs, 2 µs, 4 µs … 67 s.
const buckets = 27

// histogram counts durations: bucket i up to 1 µs·2^i, the last one all longer.
type histogram struct {
	counts [buckets + 1]atomic.Uint64
	sum    atomic.Int64 // ns
}

func (h *histogram) add(ns int64) {
	i := 0
	if ns > 1000 {
		i = min(bits.Len64(uint64(ns-1)/1000), buckets)
	}
	h.counts[i].Add(1)
	h.sum.Add(ns)
}

func newRoute(name string) *route { return &route{name: name} }

// fail counts an error by its code. Codes come from the other side, so they are
// not believed to be few.
func (r *route) fail(code int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.errors[code]; !ok {
		if len(r.errors) == maxCodes {
			r.otherErrors++
			return
		}
		if r.errors == nil {
			r.errors = make(map[int32]uint64)
		}
	}
	r.errors[code]++
}

// mark is put into the context of a call when its time begins.
type mark struct {
	context.Context
	owner *Stats
	of    tp.Message // messages that a handler sends have the mark of the call served, too
	route *route
	start int64
}

// Value finds the mark through contexts derived from it. Its key is the plugin that
// has made it.
func (m *mark) Value(key any) any {
	if key == any(m.owner) {
		return m
	}
	return m.Context.Value(key)
}

// begin starts the time of a call.
func (s *Stats) begin(m tp.Message, c *route) {
	c.begun.Add(1)
	k := &mark{Context: m.Context(), owner: s, of: m, route: c, start: s.now()}
	m.(*socket.Envelope).SetContext(k) // the one kind of message there is; tp.WithContext costs an allocation
}

// begun returns the mark of a call; nil if its time has not begun.
func (s *Stats) begun(m tp.Message) *mark {
	if k, ok := m.Context().Value(s).(*mark); ok && k.of == m {
		return k
	}
	return nil
}

func (s *Stats) now() int64 { return int64(time.Since(s.base)) }
