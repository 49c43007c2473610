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

	directionIn, directionOut = "in", "out"
	sideAccepted, sideDialled = "accepted", "dialled"
)

// known are the codes that package tp names.
var known = []int32{
	tp.CodeUnknownError, tp.CodeInvalidOp, tp.CodeWrongConn, tp.CodeConnClosed, tp.CodeWriteFailed, tp.CodeDialFailed,
	tp.CodeBadMessage, tp.CodeUnauthorized, tp.CodeNotFound, tp.CodeMtypeNotAllowed, tp.CodeHandleTimeout,
	tp.CodeTooManyRequests, tp.CodeCanceled, tp.CodeInternalServerError, tp.CodeBadGateway, tp.CodeBusy,
}

// codes numbers the labels of codes: 0 is that of success, 1 is Other.
type codes struct {
	labels []string
	index  map[int32]int
}

const (
	codeOK = iota
	codeOther
)

func newCodes(more []int32) codes {
	c := codes{labels: []string{codeOK: "0", codeOther: Other}, index: map[int32]int{tp.CodeOK: codeOK}}
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

	calls, pushes  []atomic.Pointer[prometheus.Counter] // by number of the code
	received, sent atomic.Pointer[prometheus.Counter]
	duration       atomic.Pointer[prometheus.Observer]
}

// begin makes what calls need, so that it is there before the first.
func (s *series) begin() {
	s.timer()
	s.counter(s.calls, s.m.calls, codeOK)
}

func (s *series) call(code int) { s.counter(s.calls, s.m.calls, code).Inc() }
func (s *series) push(code int) { s.counter(s.pushes, s.m.pushes, code).Inc() }

// counter returns the counter of a code.
func (s *series) counter(byCode []atomic.Pointer[prometheus.Counter], vec *prometheus.CounterVec, code int) prometheus.Counter {
	c := byCode[code].Load()
	if c == nil {
		made := vec.WithLabelValues(s.direction, s.route, s.m.codes.labels[code])
		c = &made
		byCode[code].Store(c)
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
		byCode := func() []atomic.Pointer[prometheus.Counter] {
			return make([]atomic.Pointer[prometheus.Counter], len(m.codes.labels))
		}
		return &series{m: m, direction: direction, route: route, calls: byCode(), pushes: byCode()}
	}
}
