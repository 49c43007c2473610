package trace_test

import (
	"context"
	"fmt"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/trace"
)

func Example() {
	exporter := tracetest.NewInMemoryExporter() // yours sends to a collector
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	defer provider.Shutdown(context.Background())
	traced := trace.New(trace.Config{
		TracerProvider: provider,
		Filter:         func(method string) bool { return method != "/heartbeat" },
	})

	srv := newPeer(traced)
	tp.HandleCall(srv, "/price", func(tp.CallCtx, *string) (int, error) { return 42, nil })
	tp.HandleCall(srv, "/order", func(ctx tp.CallCtx, item *string) (int, error) {
		// Sent with the handler's context, it is of the same trace.
		sess := dial(newPeer(traced), srv)
		return tp.Invoke[int](ctx.Context(), sess, "/price", item)
	})
	cli := newPeer(traced)
	sess := dial(cli, srv)
	item := "tea"
	fmt.Println(tp.Invoke[int](context.Background(), sess, "/order", &item))
	cli.Close()
	srv.Close()

	root := exporter.GetSpans()[0].SpanContext.TraceID()
	for _, s := range exporter.GetSpans() {
		fmt.Println(s.SpanKind, s.Name, s.SpanContext.TraceID() == root)
	}
	// Unordered output:
	// 42 <nil>
	// server /price true
	// client /price true
	// server /order true
	// client /order true
}
