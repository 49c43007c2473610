package main

import (
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/trace"
)

func Example() {
	main()
	// Output:
	// tea for 3 <nil>
	// client /order
	//   server unknown
	//     client /order
	//       server /order
	//         client /price
	//           server /price
}

// A proxy passes a trace on whether or not it records spans of its own.
func TestThroughTheProxy(t *testing.T) {
	for _, test := range []struct {
		name   string
		plugin func(oteltrace.TracerProvider) tp.Plugin
		spans  int
		traces int
	}{
		{"without the plugin", func(oteltrace.TracerProvider) tp.Plugin { return nil }, 4, 1},
		{"without an SDK", func(oteltrace.TracerProvider) tp.Plugin {
			return trace.New(trace.Config{TracerProvider: noop.NewTracerProvider()})
		}, 4, 1},
		{"which filters all", func(oteltrace.TracerProvider) tp.Plugin {
			return trace.New(trace.Config{Filter: func(string) bool { return false }})
		}, 4, 1},
		{"with spans", func(p oteltrace.TracerProvider) tp.Plugin { return trace.New(trace.Config{TracerProvider: p}) }, 6, 1},
		{"which is public", func(p oteltrace.TracerProvider) tp.Plugin {
			return trace.New(trace.Config{TracerProvider: p, Public: func(tp.ReadCtx) bool { return true }})
		}, 6, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			exporter := tracetest.NewInMemoryExporter()
			provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
			if got, err := call(trace.New(trace.Config{TracerProvider: provider}), test.plugin(provider)); got != "tea for 3" || err != nil {
				t.Fatalf("the reply is %q, %v; want tea for 3", got, err)
			}
			ids := make(map[oteltrace.TraceID]bool)
			for _, s := range exporter.GetSpans() {
				ids[s.SpanContext.TraceID()] = true
			}
			if n := len(exporter.GetSpans()); n != test.spans || len(ids) != test.traces {
				t.Errorf("%d spans of %d traces; want %d of %d", n, len(ids), test.spans, test.traces)
			}
		})
	}
}
