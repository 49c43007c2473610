// Package metrics counts what a peer does, for Prometheus: calls by code, pushes,
// bytes and the time of calls, by route and direction; sessions, running handlers
// and queues. Calls and pushes count when they have ended, whatever has ended them.
//
// Clients cannot create labels: incoming messages are counted under the name their
// handler was registered with, all others under "unknown"; outgoing ones under their
// path, at most 500 of them, all others under "other"; codes that are in no list
// under "other".
package metrics

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/labels"
)

// Config says how to count. The zero value suits most programs.
type Config struct {
	// ConstLabels are added to every metric, to distinguish peers that have a plugin
	// each in one registry. Names of the metrics' own labels, and "le", are an
	// error.
	ConstLabels prometheus.Labels
	// Buckets are the upper bounds of the histograms in seconds, rising; nil is
	// [DefBuckets]. Empty is none, which takes NativeFactor.
	Buckets []float64
	// NativeFactor makes the histograms native ones as well: a bucket's bound is
	// at most that many times the one below, 1.1 is usual; 0 is none. At most
	// 160 buckets a route; wider ones, or after an hour new ones, beyond that.
	NativeFactor float64
	// Codes are error codes with a label of their own, besides those of package
	// tp; all others are "other".
	Codes []int32
}

// DefBuckets are the default bounds of the histograms in seconds: from a call within
// one machine to one that a user waits for.
var DefBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// Metrics is the plugin, for a peer; it may be shared by several, whose counts it
// adds up. Given to a group or a handler it sees their incoming messages alone,
// and no sessions. Put it behind plugins that reroute messages. It is a Collector
// for any number of registries. All its methods may be called concurrently. New
// makes one.
type Metrics struct {
	base    time.Time // clocks run from here
	codes   codes
	in, out *labels.Set[*series]
	flights flights

	calls, pushes, received, sent *prometheus.CounterVec
	opened, closed                *prometheus.CounterVec
	redials                       prometheus.Counter
	duration                      *prometheus.HistogramVec

	sessions, handlers, queuedMessages, queuedBytes, oldestQueued *prometheus.Desc
	refused, pauses, memory                                       *prometheus.Desc

	mu    sync.Mutex   // guards what follows
	live  map[any]bool // sessions; true: dialled
	peers []peerStats
	past  tp.PeerStats // of peers that are closed
}

var _ prometheus.Collector = (*Metrics)(nil)

// New returns a plugin that has counted nothing. The error says what is wrong
// with the configuration.
func New(cfg Config) (*Metrics, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: cfg.ConstLabels}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, cfg.ConstLabels)
	}
	m := &Metrics{
		base:  time.Now(),
		codes: newCodes(cfg.Codes),
		live:  make(map[any]bool),

		calls:    counter("teleport_calls_total", "Calls that have ended, by what their caller got.", "direction", "route", "code"),
		pushes:   counter("teleport_pushes_total", "Pushes that have ended, by their error.", "direction", "route", "code"),
		received: counter("teleport_received_bytes_total", "Bytes of frames received.", "direction", "route"),
		sent:     counter("teleport_sent_bytes_total", "Bytes of frames sent.", "direction", "route"),
		opened:   counter("teleport_sessions_opened_total", "Sessions opened.", "side"),
		closed:   counter("teleport_sessions_closed_total", "Sessions ended, by who ended them.", "side", "reason"),
		redials: prometheus.NewCounter(prometheus.CounterOpts{Name: "teleport_redials_total",
			Help: "Broken connections made again.", ConstLabels: cfg.ConstLabels}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "teleport_call_duration_seconds", Help: "Time of calls until their end.", ConstLabels: cfg.ConstLabels,
			Buckets: cfg.Buckets, NativeHistogramBucketFactor: cfg.NativeFactor,
			NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"direction", "route"}),

		sessions:       gauge("teleport_sessions", "Sessions that live.", "side"),
		handlers:       gauge("teleport_handlers_in_flight", "Calls that are being handled.", "route"),
		queuedMessages: gauge("teleport_queued_messages", "Messages accepted for sending and not written."),
		queuedBytes:    gauge("teleport_queued_bytes", "Bytes accepted for sending and not written."),
		oldestQueued:   gauge("teleport_oldest_queued_seconds", "How long the oldest of them has waited."),
		refused:        gauge("teleport_refused_total", "What was refused or dropped, and connections ended for want of memory.", "what"),
		pauses:         gauge("teleport_pauses_total", "How often a session was not read for want of memory."),
		memory:         gauge("teleport_message_bytes", "Bytes of received messages, as ReadMemory counts them."),
	}
	if err := prometheus.NewRegistry().Register(m); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	m.in = labels.New(Unknown, 0, m.newSeries(directionIn))
	m.out = labels.New(Other, labels.MaxPaths, m.newSeries(directionOut))
	for _, side := range []string{sideAccepted, sideDialled} {
		m.opened.WithLabelValues(side)
		for _, reason := range []tp.Side{tp.SideLocal, tp.SideRemote, tp.SideNetwork} {
			m.closed.WithLabelValues(side, string(reason))
		}
	}
	return m, nil
}

func (cfg *Config) check() error {
	if cfg.Buckets == nil {
		cfg.Buckets = DefBuckets
	}
	cfg.Buckets = slices.Clone(cfg.Buckets)
	for i, b := range cfg.Buckets {
		if math.IsNaN(b) || i > 0 && b <= cfg.Buckets[i-1] {
			return fmt.Errorf("bucket %d, %v, is not above the one before it", i, b)
		}
	}
	if f := cfg.NativeFactor; f != 0 && !(f > 1) || math.IsInf(f, 1) {
		return fmt.Errorf("native factor %v is not above 1", f)
	}
	if len(cfg.Buckets) == 0 && cfg.NativeFactor == 0 {
		return errors.New("histograms without buckets need a native factor")
	}
	if _, ok := cfg.ConstLabels["le"]; ok {
		return errors.New(`a constant label "le" is a histogram's own`)
	}
	return nil
}

// Describe sends the metrics' descriptions.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{m.sessions, m.handlers, m.queuedMessages, m.queuedBytes, m.oldestQueued, m.refused, m.pauses, m.memory} {
		ch <- d
	}
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.calls, m.pushes, m.received, m.sent, m.duration, m.opened, m.closed, m.redials}
}

// Collect sends the metrics; gauges are read now.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		metric, err := prometheus.NewConstMetric(d, kind, v, labels...)
		if err != nil {
			metric = prometheus.NewInvalidMetric(d, err)
		}
		ch <- metric
	}
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		send(d, prometheus.GaugeValue, float64(v), labels...)
	}
	running := m.flights.running()
	for _, s := range m.in.All() {
		if s.duration.Load() != nil || running[s] > 0 { // it serves calls
			gauge(m.handlers, running[s], s.route)
		}
	}
	var accepted, dialled, messages, bytes int
	var oldest time.Duration
	for sess, isDialled := range m.sessionsNow() {
		if isDialled {
			dialled++
		} else {
			accepted++
		}
		if s, ok := sess.(interface{ Queue() tp.Queue }); ok {
			q := s.Queue()
			messages += q.Messages
			bytes += q.Bytes
			oldest = max(oldest, q.Age)
		}
	}
	gauge(m.sessions, accepted, sideAccepted)
	gauge(m.sessions, dialled, sideDialled)
	gauge(m.queuedMessages, messages)
	gauge(m.queuedBytes, bytes)
	send(m.oldestQueued, prometheus.GaugeValue, oldest.Seconds())
	stats := m.statsNow()
	gauge(m.memory, int(stats.Memory))
	send(m.pauses, prometheus.CounterValue, float64(stats.Pauses))
	for what, n := range map[string]uint64{
		"connection": stats.RefusedConnections, "call": stats.RefusedCalls, "push": stats.DroppedPushes, "message": stats.DroppedMessages,
		"reply": stats.DroppedReplies, "unsent reply": stats.UnsentReplies, "unsent push": stats.UnsentPushes,
		"canceled call": stats.CanceledCalls, "data": stats.DroppedData, "memory": stats.MemoryCloses,
	} {
		send(m.refused, prometheus.CounterValue, float64(n), what)
	}
}

// peerStats is a peer, in every version that has the method.
type peerStats interface{ Stats() tp.PeerStats }

// statsNow returns the sums over the peers that have, or had, the plugin.
func (m *Metrics) statsNow() tp.PeerStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := m.past
	for _, p := range m.peers {
		add(&sum, p.Stats())
	}
	return sum
}

// PostClose counts what the peer has refused for the last time, and forgets the peer.
func (m *Metrics) PostClose(_ context.Context, p tp.Peer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.peers = slices.DeleteFunc(m.peers, func(q peerStats) bool {
		gone := any(q) == any(p)
		if gone {
			add(&m.past, q.Stats())
			m.past.Memory = 0
		}
		return gone
	})
	return nil
}

func add(sum *tp.PeerStats, s tp.PeerStats) {
	sum.RefusedConnections += s.RefusedConnections
	sum.RefusedCalls += s.RefusedCalls
	sum.DroppedPushes += s.DroppedPushes
	sum.DroppedMessages += s.DroppedMessages
	sum.DroppedReplies += s.DroppedReplies
	sum.UnsentReplies += s.UnsentReplies
	sum.UnsentPushes += s.UnsentPushes
	sum.CanceledCalls += s.CanceledCalls
	sum.DroppedData += s.DroppedData
	sum.MemoryCloses += s.MemoryCloses
	sum.Pauses += s.Pauses
	sum.Memory += s.Memory
}

// Handler returns a handler that serves these metrics alone, in the format the
// scraper asks for; native histograms go out as protobuf only. To serve them with
// others, register the Metrics and use promhttp.
func (m *Metrics) Handler() http.Handler {
	r := prometheus.NewRegistry()
	if err := r.Register(m); err != nil { // New has registered one already
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		})
	}
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{EnableOpenMetrics: true})
}
