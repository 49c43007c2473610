package main

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/textparse"

	"github.com/teleport-go/teleport/plugins/stats"
)

func Example() {
	main()
	// Output:
	// teleport_call_duration_seconds_count{direction="in", route="/fail"} 1
	// teleport_call_duration_seconds_count{direction="in", route="/math/add"} 2
	// teleport_calls_total{direction="in", route="/fail"} 1
	// teleport_calls_total{direction="in", route="/math/add"} 2
	// teleport_calls_total{direction="in", route="unknown"} 2
	// teleport_calls_total{direction="out", route="other"} 0
	// teleport_errors_total{code="1001", direction="in", route="/fail"} 1
	// teleport_errors_total{code="404", direction="in", route="unknown"} 2
}

// Whatever a snapshot holds, Prometheus reads it, and reads what was meant.
func TestAllKindsOfCounts(t *testing.T) {
	latency := func(n int) stats.Latency {
		l := stats.Latency{Sum: 90 * time.Second, Counts: make([]uint64, len(stats.Bounds())+1)}
		for i := range l.Counts {
			l.Counts[i] = uint64(n)
			l.Count += uint64(n)
		}
		return l
	}
	names := []string{"/a", "/q\"\\\n,}", "/é", "/\xff", "other", "unknown", "", "/" + strings.Repeat("x", 300)}
	var shot stats.Snapshot
	shot.Accepted, shot.Dialled, shot.Redials = 3, 2, math.MaxUint64
	shot.QueuedMessages, shot.QueuedBytes = 7, 7000
	for _, d := range []stats.Direction{stats.In, stats.Out} {
		for i, name := range names {
			shot.Routes = append(shot.Routes, stats.Route{
				Direction: d, Name: name, Calls: uint64(i), Pushes: 1, BytesReceived: 2, BytesSent: 3,
				Errors: map[int32]uint64{math.MinInt32: 1, 404: 2, math.MaxInt32: 3}, OtherErrors: 4, Latency: latency(i),
			})
		}
	}
	page := shot.AppendOpenMetrics(nil)
	series, err := parse(page, stats.OpenMetricsType)
	if err != nil {
		t.Fatalf("%v\n%s", err, page)
	}
	if got := slices.Compact(slices.Clone(series)); len(got) != len(series) {
		t.Error("a series is there twice")
	}
	for _, want := range []string{
		`teleport_sessions{side="accepted"} 3`,
		`teleport_queued_messages{} 7`,
		`teleport_queued_bytes{} 7000`,
		`teleport_calls_total{direction="in", route="/q\"\\\n,}"} 1`,
		`teleport_errors_total{code="-2147483648", direction="out", route="/é"} 1`,
		`teleport_errors_total{code="other", direction="out", route="/é"} 4`,
		`teleport_calls_total{direction="in", route="/` + "\ufffd" + `"} 3`,
		`teleport_call_duration_seconds_sum{direction="in", route="/é"} 90`,
		`teleport_call_duration_seconds_bucket{direction="in", le="1e-06", route="/é"} 2`,
		`teleport_call_duration_seconds_bucket{direction="in", le="+Inf", route="/é"} 56`,
	} {
		if _, found := slices.BinarySearch(series, want); !found {
			t.Errorf("there is no %s among %d series", want, len(series))
		}
	}

	// What the parser says of the families.
	kinds, units := map[string]string{}, map[string]string{}
	p := textparse.NewOpenMetricsParser(page, nil)
	for {
		entry, err := p.Next()
		if err != nil {
			break
		}
		switch entry {
		case textparse.EntryType:
			name, kind := p.Type()
			kinds[string(name)] = string(kind)
		case textparse.EntryUnit:
			name, unit := p.Unit()
			units[string(name)] = string(unit)
		}
	}
	if kinds["teleport_calls"] != "counter" || kinds["teleport_queued_bytes"] != "gauge" || kinds["teleport_call_duration_seconds"] != "histogram" || units["teleport_sent_bytes"] != "bytes" {
		t.Errorf("kinds %v, units %v", kinds, units)
	}
	if _, err := parse(bytes.TrimSuffix(page, []byte("# EOF\n")), stats.OpenMetricsType); err == nil {
		t.Error("the parser takes a page without its end")
	}
}
