package stats_test

import (
	"encoding/json"
	"expvar"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/plugins/stats"
)

var _ expvar.Var = (*stats.Stats)(nil)

func TestJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, _, sess, _ := pair(t)
		sess.Call("/fail", 4001, nil)
		synctest.Wait()
		w := httptest.NewRecorder()
		srv.JSON().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		for _, text := range []string{srv.String(), w.Body.String()} {
			var got stats.Snapshot
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatal(err)
			}
			if got.Accepted != 1 || len(got.Routes) != 6 || got.Routes[0].Name != "/fail" || got.Routes[0].Errors[4001] != 1 {
				t.Errorf("read back %s", text)
			}
		}
	})
}

var metricLine = regexp.MustCompile(`^([a-z_]+)((?:\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\})?) (\S+)$`)

// checkOpenMetrics finds what breaks the rules of the format.
func checkOpenMetrics(t *testing.T, text string) (values map[string]float64) {
	t.Helper()
	values = make(map[string]float64)
	if !strings.HasSuffix(text, "\n# EOF\n") {
		t.Error("does not end in # EOF")
	}
	family, seen := "", map[string]bool{}
	kinds := map[string]string{}
	for line := range strings.Lines(strings.TrimSuffix(text, "# EOF\n")) {
		line = strings.TrimSuffix(line, "\n")
		if f := strings.Fields(line); line[0] == '#' {
			if f[1] == "TYPE" {
				family = f[2]
				if seen[family] {
					t.Errorf("family %s is there twice", family)
				}
				seen[family], kinds[family] = true, f[3]
			}
			if f[2] != family || f[1] == "UNIT" && !strings.HasSuffix(family, "_"+f[3]) {
				t.Errorf("line %q in family %s", line, family)
			}
			continue
		}
		m := metricLine.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("line %q is no sample", line)
			continue
		}
		suffix, ok := strings.CutPrefix(m[1], family)
		if want := map[string]string{"counter": "_total", "gauge": "", "histogram": suffix}[kinds[family]]; !ok || suffix != want {
			t.Errorf("sample %q in the %s %s", m[1], kinds[family], family)
		}
		if _, twice := values[m[1]+m[2]]; twice {
			t.Errorf("sample %q is there twice", m[1]+m[2])
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Errorf("line %q: %v", line, err)
		}
		values[m[1]+m[2]] = v
	}
	return values
}

func TestOpenMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, cli, sess, _ := pair(t)
		sess.Call("/slow", 1, nil)
		sess.Call("/fail", 4001, nil)
		sess.Call("/q\"\\\n", 1, nil)
		sess.Push("/note", 1)
		synctest.Wait()
		w := httptest.NewRecorder()
		srv.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if got := w.Header().Get("Content-Type"); got != stats.OpenMetricsType {
			t.Errorf("Content-Type %q", got)
		}
		values := checkOpenMetrics(t, w.Body.String())
		for name, want := range map[string]float64{
			`teleport_sessions{side="accepted"}`:                                                1,
			`teleport_connections_total{side="accepted"}`:                                       1,
			`teleport_calls_total{direction="in",route="/slow"}`:                                1,
			`teleport_calls_total{direction="in",route="unknown"}`:                              1,
			`teleport_pushes_total{direction="in",route="/note"}`:                               1,
			`teleport_errors_total{direction="in",route="/fail",code="4001"}`:                   1,
			`teleport_call_duration_seconds_sum{direction="in",route="/slow"}`:                  1,
			`teleport_call_duration_seconds_count{direction="in",route="/slow"}`:                1,
			`teleport_call_duration_seconds_bucket{direction="in",route="/slow",le="0.524288"}`: 0,
			`teleport_call_duration_seconds_bucket{direction="in",route="/slow",le="1.048576"}`: 1,
			`teleport_call_duration_seconds_bucket{direction="in",route="/slow",le="+Inf"}`:     1,
		} {
			if got, ok := values[name]; !ok || got != want {
				t.Errorf("%s is %v, there: %t; want %v", name, got, ok, want)
			}
		}
		var text strings.Builder
		if err := cli.WriteOpenMetrics(&text); err != nil {
			t.Fatal(err)
		}
		values = checkOpenMetrics(t, text.String())
		if name := `teleport_calls_total{direction="out",route="/q\"\\\n"}`; values[name] != 1 {
			t.Errorf("%s is not 1:\n%s", name, &text)
		}
	})
}

// exchange is the context of a call without a peer around it.
type exchange struct {
	tp.ReadCtx
	in, out tp.Message
}

func (e *exchange) Path() string       { return e.in.ServiceMethod() }
func (e *exchange) Input() tp.Message  { return e.in }
func (e *exchange) Output() tp.Message { return e.out }
func (e *exchange) Rerror() *tp.Rerror { return nil }

// sending is that of a message that is sent.
type sending struct {
	tp.WriteCtx
	out tp.Message
}

func (e *sending) Output() tp.Message { return e.out }

func BenchmarkMessage(b *testing.B) {
	s := stats.New()
	message := func(mtype byte) tp.Message {
		return socket.NewMessage(tp.WithMtype(mtype), tp.WithServiceMethod("/math/add"))
	}
	e := &exchange{in: message(tp.TypeCall), out: message(tp.TypeCall)}
	made := &sending{out: e.out}
	sent, pushed := &sending{out: message(tp.TypePush)}, &exchange{in: message(tp.TypePush)}
	s.PostExchange(sent, nil) // the label is there
	run := func(name string, messages int, f func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*messages), "ns/message")
		})
	}
	run("call made", 2, func() {
		tp.WithContext(b.Context())(e.out)
		s.PreWriteCall(e)
		s.PostWriteCall(e)
		s.PostReadReplyHeader(e)
		s.PostExchange(made, nil)
	})
	run("call served", 2, func() {
		tp.WithContext(b.Context())(e.in)
		s.PreReadCallBody(e)
		s.PostWriteReply(e)
		s.PostExchange(e, nil)
	})
	run("push sent", 1, func() { s.PostExchange(sent, nil) })
	run("push served", 1, func() { s.PostExchange(pushed, nil) })
}
