package trace_test

import (
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/trace"
)

// inside is a plugin that runs what it is given in the contexts of one call.
type inside struct {
	made   func(tp.WriteCtx)
	served func(tp.ReadCtx)
}

func (*inside) Name() string { return "inside" }

func (x *inside) PreWriteCall(ctx tp.WriteCtx) *tp.Rerror {
	if x.made != nil {
		x.made(ctx)
	}
	return nil
}

func (x *inside) PostReadCallBody(ctx tp.ReadCtx) *tp.Rerror {
	if x.served != nil {
		x.served(ctx)
	}
	return nil
}

// What the plugin adds to one call, from its first hook to its last.
func BenchmarkHooks(b *testing.B) {
	for _, test := range []struct {
		name     string
		provider oteltrace.TracerProvider
	}{
		{"noop", noop.NewTracerProvider()},
		{"never", sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))},
		{"always", sdktrace.NewTracerProvider()},
	} {
		p := trace.New(trace.Config{TracerProvider: test.provider})
		end := p.(tp.PostExchangePlugin).PostExchange
		b.Run(test.name+"/made", func(b *testing.B) {
			benchmark(b, p, &inside{made: func(ctx tp.WriteCtx) {
				begin, m, clear := p.(tp.PreWriteCallPlugin).PreWriteCall, ctx.Output(), tp.WithContext(nil)
				for b.Loop() {
					m.Meta().Reset()
					clear(m)
					begin(ctx)
					end(ctx, nil)
				}
			}})
		})
		b.Run(test.name+"/served", func(b *testing.B) {
			benchmark(b, p, &inside{served: func(ctx tp.ReadCtx) {
				begin, m, clear := p.(tp.PreReadCallBodyPlugin).PreReadCallBody, ctx.Input(), tp.WithContext(nil)
				for b.Loop() {
					clear(m)
					begin(ctx)
					end(ctx, nil)
				}
			}})
		})
	}
}

// benchmark makes one call, in whose hooks the benchmark runs.
func benchmark(b *testing.B, p tp.Plugin, x *inside) {
	b.ReportAllocs()
	peer := tptest.NewPeer(b, tp.PeerConfig{Network: tptest.NewNetwork().Register(b)}, x, p)
	tp.HandleCall(peer, "/ok", func(tp.CallCtx, *int) (int, error) { return 1, nil })
	if r := tptest.Dial(b, peer, tptest.Listen(b, peer)).Call("/ok", 1, nil).Rerror(); r != nil {
		b.Fatal(r)
	}
}
