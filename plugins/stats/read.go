package stats

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/labels"
)

// Direction is that of a call or push: In is what the peer receives, and the replies
// it sends; Out is what it sends, and the replies it receives.
type Direction string

// The directions.
const (
	In  Direction = "in"
	Out Direction = "out"
)

// Snapshot is what was counted, at about one moment. Counts begin with New and
// never go down.
type Snapshot struct {
	Accepted      int    `json:"accepted"`       // sessions that live
	Dialled       int    `json:"dialled"`        // sessions that live, or redial
	AcceptedTotal uint64 `json:"accepted_total"` // connections that got as far as this plugin
	DialledTotal  uint64 `json:"dialled_total"`
	Redials       uint64 `json:"redials"`

	QueuedMessages int           `json:"queued_messages"` // accepted for sending and not written yet, in all sessions
	QueuedBytes    int           `json:"queued_bytes"`
	OldestQueued   time.Duration `json:"oldest_queued_ns"` // how long the oldest of them has waited, about

	Routes []Route `json:"routes"` // by direction and name
}

// Route is what was counted of one route in one direction.
type Route struct {
	Direction Direction `json:"direction"`
	Name      string    `json:"name"`
	// Calls is how many there were: those under way, those that have ended, and
	// those refused before their time could begin, which are not in Latency.
	Calls         uint64           `json:"calls"`
	InFlight      uint64           `json:"in_flight"`              // calls under way
	Pushes        uint64           `json:"pushes"`                 // sent or served, refused ones included
	Errors        map[int32]uint64 `json:"errors,omitempty"`       // of calls and pushes, by code
	OtherErrors   uint64           `json:"other_errors,omitempty"` // of codes beyond the first 32
	BytesReceived uint64           `json:"bytes_received"`         // frames
	BytesSent     uint64           `json:"bytes_sent"`
	Latency       Latency          `json:"latency"` // of calls until their end, encoding or decoding of the argument included
}

// Latency is a histogram of durations.
type Latency struct {
	Count  uint64        `json:"count"`
	Sum    time.Duration `json:"sum_ns"`
	Counts []uint64      `json:"counts"` // Counts[i] is of those up to Bounds()[i] and above the one before; the last, of all longer
}

// Bounds returns the upper bounds of a histogram: 1 µs, 2 µs, 4 µs … 67 s.
func Bounds() []time.Duration {
	b := make([]time.Duration, buckets)
	for i := range b {
		b[i] = time.Microsecond << i
	}
	return b
}

// Quantile returns a bound that the share q (0 to 1) of all durations does not
// exceed, at most twice the true value; the highest bound for longer ones, 0 if
// there are none.
func (l Latency) Quantile(q float64) time.Duration {
	if l.Count == 0 {
		return 0
	}
	bounds, below := Bounds(), uint64(0)
	for i, n := range l.Counts {
		below += n
		if i < len(bounds) && n > 0 && float64(below) >= q*float64(l.Count) {
			return bounds[i]
		}
	}
	return bounds[len(bounds)-1]
}

// Snapshot reads all counts.
func (s *Stats) Snapshot() Snapshot {
	shot := Snapshot{AcceptedTotal: s.accepted.Load(), DialledTotal: s.dialled.Load(), Redials: s.redials.Load()}
	s.mu.Lock()
	live := make([]any, 0, len(s.sessions))
	for sess, dialled := range s.sessions {
		live = append(live, sess)
		if dialled {
			shot.Dialled++
		} else {
			shot.Accepted++
		}
	}
	s.mu.Unlock()
	for _, sess := range live {
		if s, ok := sess.(interface{ Queue() tp.Queue }); ok {
			q := s.Queue()
			shot.QueuedMessages += q.Messages
			shot.QueuedBytes += q.Bytes
			shot.OldestQueued = max(shot.OldestQueued, q.Age)
		}
	}
	shot.Routes = append(read(s.in, In), read(s.out, Out)...)
	return shot
}

func read(routes *labels.Set[*route], d Direction) (list []Route) {
	for _, c := range routes.All() {
		list = append(list, c.read(d))
	}
	slices.SortFunc(list, func(a, b Route) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func (r *route) read(d Direction) Route {
	v := Route{Direction: d, Name: r.name}
	v.Errors, v.OtherErrors = r.readErrors() // first: there are never more of them than of calls and pushes
	v.Latency = r.time.read()
	begun := r.begun.Load() // behind what has ended: it is never less
	v.Calls = begun + r.refused.Load()
	v.InFlight = begun - v.Latency.Count
	v.Pushes = r.pushes.Load()
	v.BytesReceived, v.BytesSent = r.bytesIn.Load(), r.bytesOut.Load()
	return v
}

func (r *route) readErrors() (byCode map[int32]uint64, others uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.errors), r.otherErrors
}

func (h *histogram) read() Latency {
	l := Latency{Sum: time.Duration(h.sum.Load()), Counts: make([]uint64, len(h.counts))}
	for i := range h.counts {
		l.Counts[i] = h.counts[i].Load()
		l.Count += l.Counts[i]
	}
	return l
}

// String returns the snapshot as JSON, so that *Stats is an expvar.Var:
//
//	expvar.Publish("teleport", stats)
func (s *Stats) String() string {
	b, err := json.Marshal(s.Snapshot())
	if err != nil { // numbers and texts always encode
		return "null"
	}
	return string(b)
}
