package metrics_test

import (
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codectest"
	"github.com/teleport-go/teleport/plugins/metrics"
)

func BenchmarkMessage(b *testing.B) {
	for _, cfg := range []struct {
		name   string
		config metrics.Config
	}{{"classic", metrics.Config{}}, {"native too", metrics.Config{NativeFactor: 1.1}}} {
		m := newMetrics(b, cfg.config)
		e := newExchange(tp.TypeCall)
		p := tp.NewPeer(tp.PeerConfig{}, m)
		b.Cleanup(func() { p.Close() })
		tp.HandleCall(p, "/math/add", func(tp.CallCtx, *int) (int, error) { return 0, nil })
		run := func(name string, messages int, f func()) {
			f() // its series are there
			b.Run(cfg.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					f()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*messages), "ns/message")
			})
		}
		run("call made", 2, func() {
			m.PreWriteCall(e)
			m.PostWriteCall(e)
			m.PostReadReplyHeader(e)
			m.PostExchange(e.made(), nil)
		})
		run("call served", 2, func() {
			m.PreReadCallBody(e)
			m.PostWriteReply(e)
			m.PostExchange(e, nil)
		})
		push := newExchange(tp.TypePush)
		run("push sent", 1, func() { m.PostExchange(push.made(), nil) })
		run("push served", 1, func() { m.PostExchange(push, nil) })
	}
}

// A message of a known route takes no memory.
func TestAllocs(t *testing.T) {
	m, e := newMetrics(t, metrics.Config{NativeFactor: 1.1}), newExchange(tp.TypeCall)
	p := tp.NewPeer(tp.PeerConfig{}, m)
	defer p.Close()
	tp.HandleCall(p, "/math/add", func(tp.CallCtx, *int) (int, error) { return 0, nil })
	push := newExchange(tp.TypePush)
	codectest.Allocs(t, "two calls and two pushes", 0, func() {
		m.PreWriteCall(e)
		m.PostWriteCall(e)
		m.PostReadReplyHeader(e)
		m.PostExchange(e.made(), nil)
		m.PreReadCallBody(e)
		m.PostWriteReply(e)
		m.PostExchange(e, nil)
		m.PostExchange(push.made(), nil)
		m.PostExchange(push, nil)
	})
}
