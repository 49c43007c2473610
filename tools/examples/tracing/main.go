// Command tracing follows one call through three peers: a client, a gateway that
// forwards, and a backend whose handler calls again. OpenTelemetry's SDK records
// the spans; here they are printed, in a program they go to a collector.
package main

import (
	"context"
	"fmt"
	"log"
	"slices"
	"strings"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
	"github.com/teleport-go/teleport/plugins/proxy"
	"github.com/teleport-go/teleport/plugins/trace"
)

func main() {
	tp.SetLoggerLevel("ERROR")
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	// Peers of one process may share the plugin.
	fmt.Println(call(trace.New(trace.Config{TracerProvider: provider}), trace.New(trace.Config{TracerProvider: provider})))
	show(exporter.GetSpans(), oteltrace.SpanID{}, 0)
}

// call makes the peers, and one call. at is the plugin of all but the gateway; on
// is the gateway's, nil if it has none.
func call(at, on tp.Plugin) (string, error) {
	backend := listen(tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"}, at))
	defer backend.Close()
	tp.HandleCall(backend, "/price", func(_ tp.CallCtx, item *string) (int, error) { return len(*item), nil })
	tp.HandleCall(backend, "/order", func(ctx tp.CallCtx, item *string) (string, error) {
		self := dial(backend, backend)
		defer self.Close()
		price, err := tp.Invoke[int](ctx.Context(), self, "/price", item) // with the handler's context: the same trace
		return fmt.Sprintf("%s for %d", *item, price), err
	})

	var plugins []tp.Plugin
	if on != nil {
		plugins = append(plugins, on)
	}
	out := tp.NewPeer(tp.PeerConfig{}, plugins...)
	defer out.Close()
	to := dial(out, backend)
	front := listen(tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"}, append(plugins, proxy.NewPlugin(func(*proxy.Label) proxy.Forwarder { return to }))...))
	defer front.Close()

	cli := tp.NewPeer(tp.PeerConfig{}, at)
	defer cli.Close()
	return tp.Invoke[string](context.Background(), dial(cli, front), "/order?x=1", "tea")
}

func listen(p tp.Peer) tp.Peer {
	if err := p.Listen(); err != nil {
		log.Fatal(err)
	}
	return p
}

func dial(from, to tp.Peer) tp.Session {
	sess, r := from.Dial(to.Addrs()[0].String())
	if r != nil {
		log.Fatal(r)
	}
	return sess
}

// show prints the spans below a span, as a tree.
func show(spans tracetest.SpanStubs, parent oteltrace.SpanID, depth int) {
	slices.SortFunc(spans, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	for _, s := range spans {
		if s.Parent.SpanID() == parent {
			fmt.Printf("%s%s %s\n", strings.Repeat("  ", depth), s.SpanKind, s.Name)
			show(spans, s.SpanContext.SpanID(), depth+1)
		}
	}
}
