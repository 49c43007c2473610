package metrics

import (
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/labels"
)

const (
	// Unknown is the route of incoming messages that have no handler of their own.
	Unknown = labels.Unknown
	// Other is the route of outgoing messages beyond the first 500 paths, or of
	// a path over 200 bytes or not in UTF-8; and the code that is in no list.
	Other = labels.Other
	// None is the code of a call without a reply: of an outgoing one that was
	// cancelled, timed out, not written, or lost with its connection; of an
	// incoming one whose reply was too late or met a broken connection.
	None = "none"

	directionIn, directionOut = "in", "out"
	sideAccepted, sideDialled = "accepted", "dialled"
)

// known are the codes that package tp names.
var known = []int32{
	tp.CodeUnknownError, tp.CodeInvalidOp, tp.CodeWrongConn, tp.CodeConnClosed, tp.CodeWriteFailed, tp.CodeDialFailed,
	tp.CodeBadMessage, tp.CodeUnauthorized, tp.CodeNotFound, tp.CodeMtypeNotAllowed, tp.CodeHandleTimeout,
	tp.CodeTooManyRequests, tp.CodeCanceled, tp.CodeInternalServerError, tp.CodeBadGateway, tp.CodeBusy,
}

// codes numbers the labels of codes: 0 is that of success, 1 is Other, 2 is None.
type codes struct {
	labels []string
	index  map[int32]int
}

const (
	codeOK = iota
	codeOther
	codeNone
)

func newCodes(more []int32) codes {
	c := codes{labels: []string{codeOK: "0", codeOther: Other, codeNone: None}, index: map[int32]int{tp.CodeOK: codeOK}}
	for _, code := range slices.Concat(known, more) {
		if _, ok := c.index[code]; !ok {
			c.index[code] = len(c.labels)
			c.labels = append(c.labels, strconv.Itoa(int(code)))
		}
	}
	return c
}

// of returns the number of an error's code.
func (c *codes) of(r *tp.Rerror) int {
	if !r.HasError() {
		return codeOK
	}
	if i, ok := c.index[r.Code]; ok {
		return i
	}
	return codeOther
}

// series is the metrics of one route in one direction. Each is made when it is
// used first, and found without a look-up from then on.
type series struct {
	m                *Metrics
	direction, route string

	calls                  []atomic.Pointer[prometheus.Counter] // by number of the code
	pushes, received, sent atomic.Pointer[prometheus.Counter]
	duration               atomic.Pointer[prometheus.Observer]
}

// begin makes what calls need, so that it is there before the first.
func (s *series) begin() {
	s.timer()
	s.counter(codeOK)
}

func (s *series) call(code int) { s.counter(code).Inc() }

func (s *series) counter(code int) prometheus.Counter {
	c := s.calls[code].Load()
	if c == nil {
		made := s.m.calls.WithLabelValues(s.direction, s.route, s.m.codes.labels[code])
		c = &made
		s.calls[code].Store(c)
	}
	return *c
}

// add adds to a counter of the series.
func (s *series) add(at *atomic.Pointer[prometheus.Counter], vec *prometheus.CounterVec, n uint32) {
	c := at.Load()
	if c == nil {
		made := vec.WithLabelValues(s.direction, s.route)
		c = &made
		at.Store(c)
	}
	(*c).Add(float64(n))
}

func (s *series) push(n uint32)    { s.add(&s.pushes, s.m.pushes, n) }
func (s *series) receive(n uint32) { s.add(&s.received, s.m.received, n) }
func (s *series) send(n uint32)    { s.add(&s.sent, s.m.sent, n) }

func (s *series) timer() prometheus.Observer {
	o := s.duration.Load()
	if o == nil {
		made := s.m.duration.WithLabelValues(s.direction, s.route)
		o = &made
		s.duration.Store(o)
	}
	return *o
}

// newSeries returns what makes the series of a route.
func (m *Metrics) newSeries(direction string) func(route string) *series {
	return func(route string) *series {
		return &series{m: m, direction: direction, route: route, calls: make([]atomic.Pointer[prometheus.Counter], len(m.codes.labels))}
	}
}
