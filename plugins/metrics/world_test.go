package metrics_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/metrics"
)

func newMetrics(t testing.TB, cfg metrics.Config) *metrics.Metrics {
	t.Helper()
	m, err := metrics.New(cfg)
	require.NoError(t, err)
	return m
}

// world is two peers, each with its counts. The server has /ok, /slow (1 s), /fail
// (code of the argument), and the push /note.
type world struct {
	srv, cli *metrics.Metrics
	peer     tp.Peer // the server
	sess     tp.Session
	net      *tptest.Network
}

func newWorld(t testing.TB, plugin ...tp.Plugin) *world {
	t.Helper()
	w := &world{srv: newMetrics(t, metrics.Config{Codes: []int32{4001}}), cli: newMetrics(t, metrics.Config{Codes: []int32{4001}}), net: tptest.NewNetwork()}
	w.peer = tptest.NewPeer(t, tp.PeerConfig{Network: w.net.Register(t)}, append(plugin, w.srv)...)
	routes(w.peer)
	c := tptest.NewPeer(t, tp.PeerConfig{Network: w.net.Register(t), RedialTimes: 5}, w.cli)
	routes(c)
	w.sess = tptest.Dial(t, c, tptest.Listen(t, w.peer))
	return w
}

func routes(p tp.Peer) {
	tp.HandleCall(p, "/ok", func(_ tp.CallCtx, arg *int) (int, error) { return *arg, nil })
	tp.HandleCall(p, "/slow", func(_ tp.CallCtx, arg *int) (int, error) { time.Sleep(time.Second); return *arg, nil })
	tp.HandleCall(p, "/fail", func(_ tp.CallCtx, arg *int32) (int, error) {
		return 0, tp.NewRerror(*arg, "no", "").Err()
	})
	tp.HandlePush(p, "/note", func(tp.PushCtx, *int) error { return nil })
}

// read gathers: a value a sample, by name and labels. A histogram has the samples
// _count and _sum.
func read(t testing.TB, c ...prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	for _, c := range c {
		require.NoError(t, r.Register(c))
	}
	families, err := r.Gather()
	require.NoError(t, err)
	return samples(families)
}

func samples(families []*dto.MetricFamily) map[string]float64 {
	values := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			slices.Sort(labels)
			of := "{" + strings.Join(labels, " ") + "}"
			switch {
			case m.Counter != nil:
				values[f.GetName()+of] = m.Counter.GetValue()
			case m.Gauge != nil:
				values[f.GetName()+of] = m.Gauge.GetValue()
			case m.Histogram != nil:
				values[f.GetName()+"_count"+of] = float64(m.Histogram.GetSampleCount())
				values[f.GetName()+"_sum"+of] = m.Histogram.GetSampleSum()
			}
		}
	}
	return values
}

// check compares some samples; labels stand sorted by their values.
func check(t testing.TB, who string, got, want map[string]float64) {
	t.Helper()
	for name, v := range want {
		g, ok := got["teleport_"+name]
		if strings.Contains(name, "0 or 102") { // a reply may have been sent before its connection was cut
			sent, sentOK := got["teleport_"+strings.Replace(name, "0 or 102", "0", 1)]
			lost, lostOK := got["teleport_"+strings.Replace(name, "0 or 102", "102", 1)]
			g, ok = sent+lost, sentOK || lostOK
		}
		if g != v || !ok && v != 0 {
			t.Errorf("%s: %s is %v, there: %t; want %v", who, name, g, ok, v)
		}
	}
}

// count returns how many samples a family has.
func count(values map[string]float64, family string) (n int) {
	for name := range values {
		if strings.HasPrefix(name, family+"{") {
			n++
		}
	}
	return n
}
