package metrics_test

import (
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/plugins/metrics"
)

// scrape asks as a scraper does, and parses what it gets.
func scrape(t *testing.T, h http.Handler, accept string) (format expfmt.Format, families []*dto.MetricFamily) {
	t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", accept)
	h.ServeHTTP(w, r)
	format = expfmt.ResponseFormat(w.Header())
	d := expfmt.NewDecoder(w.Body, format)
	for {
		f := new(dto.MetricFamily)
		if err := d.Decode(f); errors.Is(err, io.EOF) {
			return format, families
		} else if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		families = append(families, f)
	}
}

func TestScrape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sess.Call("/slow", 1, nil)
		w.sess.Call("/q\"\\\n", 1, nil)
		w.sess.Push("/note", 1)
		synctest.Wait()
		for _, test := range []struct {
			accept string
			want   expfmt.FormatType
		}{
			{"text/plain;version=0.0.4", expfmt.TypeTextPlain},
			{"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", expfmt.TypeProtoDelim},
		} {
			format, families := scrape(t, w.srv.Handler(), test.accept)
			if format.FormatType() != test.want {
				t.Errorf("asked for %s, got %s", test.accept, format)
			}
			check(t, string(format), samples(families), map[string]float64{
				"calls_total{/slow 0 in}": 1, "call_duration_seconds_sum{/slow in}": 1, "sessions{accepted}": 1,
				"pushes_total{/note 0 in}": 1, "queued_bytes{}": 0, "handlers_in_flight{/slow}": 0,
			})
			_, families = scrape(t, w.cli.Handler(), test.accept)
			check(t, string(format), samples(families), map[string]float64{"calls_total{/q\"\\\n 404 out}": 1})
		}
		rec, req := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
		req.Header.Set("Accept", "application/openmetrics-text;version=1.0.0")
		w.srv.Handler().ServeHTTP(rec, req)
		if !strings.HasSuffix(rec.Body.String(), "\n# EOF\n") {
			t.Error("OpenMetrics were asked for, and the answer does not end in # EOF")
		}
	})
}

func TestLint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sess.Call("/ok", 1, nil)
		w.sess.Push("/note", 1)
		synctest.Wait()
		for _, m := range []*metrics.Metrics{w.srv, w.cli} {
			r := prometheus.NewPedanticRegistry()
			r.MustRegister(m)
			problems, err := testutil.GatherAndLint(r)
			if err != nil || len(problems) > 0 {
				t.Errorf("lint: %v, %v", problems, err)
			}
		}
	})
}

// Two peers, a plugin each, one registry.
func TestConstLabels(t *testing.T) {
	a := newMetrics(t, metrics.Config{ConstLabels: prometheus.Labels{"peer": "a"}})
	b := newMetrics(t, metrics.Config{ConstLabels: prometheus.Labels{"peer": "b"}})
	check(t, "both", read(t, a, b), map[string]float64{
		"sessions{a accepted}": 0, "sessions{accepted b}": 0, "sessions_opened_total{a accepted}": 0, "sessions_opened_total{accepted b}": 0,
	})
	if n := count(read(t, a, b), "teleport_sessions"); n != 4 {
		t.Errorf("%d gauges of sessions; want 4", n)
	}
	r := prometheus.NewRegistry()
	r.MustRegister(a)
	if err := r.Register(newMetrics(t, metrics.Config{ConstLabels: prometheus.Labels{"peer": "a"}})); err == nil {
		t.Error("two plugins of the same labels went into one registry")
	}
}

func TestBuckets(t *testing.T) {
	for _, test := range []struct {
		name    string
		cfg     metrics.Config
		classic int
		native  bool
	}{
		{"default", metrics.Config{}, len(metrics.DefBuckets), false},
		{"own", metrics.Config{Buckets: []float64{.5, 2}}, 2, false},
		{"both", metrics.Config{NativeFactor: 1.1}, len(metrics.DefBuckets), true},
		{"native alone", metrics.Config{Buckets: []float64{}, NativeFactor: 1.1}, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMetrics(t, test.cfg)
			e := newExchange(tp.TypeCall)
			m.PreWriteCall(e)
			m.PostExchange(e.made(), nil)
			_, families := scrape(t, m.Handler(), "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
			for _, f := range families {
				if f.GetName() != "teleport_call_duration_seconds" {
					continue
				}
				h := f.GetMetric()[0].GetHistogram()
				if len(h.GetBucket()) != test.classic || (h.Schema != nil) != test.native || h.GetSampleCount() != 1 {
					t.Errorf("%d classic buckets, native: %t, %d samples; want %d, %t, 1",
						len(h.GetBucket()), h.Schema != nil, h.GetSampleCount(), test.classic, test.native)
				}
				return
			}
			t.Error("there is no histogram")
		})
	}
}

func TestConfigErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		cfg  metrics.Config
		want string
	}{
		{"falling", metrics.Config{Buckets: []float64{1, 1}}, "bucket 1, 1,"},
		{"not a number", metrics.Config{Buckets: []float64{math.NaN()}}, "bucket 0, NaN,"},
		{"no buckets", metrics.Config{Buckets: []float64{}}, "native factor"},
		{"factor 1", metrics.Config{NativeFactor: 1}, "native factor 1"},
		{"factor NaN", metrics.Config{NativeFactor: math.NaN()}, "native factor NaN"},
		{"factor infinite", metrics.Config{NativeFactor: math.Inf(1)}, "native factor +Inf"},
		{"le", metrics.Config{ConstLabels: prometheus.Labels{"le": "1"}}, `"le"`},
		{"own label", metrics.Config{ConstLabels: prometheus.Labels{"route": "1"}}, "duplicate label"},
		{"bad value", metrics.Config{ConstLabels: prometheus.Labels{"peer": "\xff"}}, "UTF-8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := metrics.New(test.cfg)
			if m != nil || err == nil || !strings.HasPrefix(err.Error(), "metrics: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("New = %v, %v; want an error with %q", m != nil, err, test.want)
			}
		})
	}
}

// exchange is the context of a message that is served, without a peer around it;
// made, that of one that is sent.
type exchange struct {
	tp.ReadCtx
	in, out tp.Message
	sending sending
}

type sending struct {
	tp.WriteCtx
	out tp.Message
}

func newExchange(mtype byte) *exchange {
	message := func() tp.Message {
		return socket.NewMessage(tp.WithMtype(mtype), tp.WithServiceMethod("/math/add"))
	}
	e := &exchange{in: message(), out: message()}
	e.sending.out = e.out
	return e
}

func (e *exchange) Path() string       { return e.in.ServiceMethod() }
func (e *exchange) Input() tp.Message  { return e.in }
func (e *exchange) Output() tp.Message { return e.out }
func (e *exchange) Rerror() *tp.Rerror { return nil }
func (e *exchange) made() *sending     { return &e.sending }
func (s *sending) Output() tp.Message  { return s.out }
