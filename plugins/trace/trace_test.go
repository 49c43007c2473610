package trace_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/trace"
)

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("OFF")
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {})) // of baggage that cannot be read
	m.Run()
}

func TestConformance(t *testing.T) {
	t.Run("no SDK", func(t *testing.T) { tptest.RunPlugin(t, func() tp.Plugin { return trace.New(trace.Config{}) }) })
	t.Run("recorded", func(t *testing.T) {
		tptest.RunPlugin(t, func() tp.Plugin { return trace.New(newSpans().config()) })
	})
}

// spans is what was recorded.
type spans struct {
	exporter *tracetest.InMemoryExporter
	recorder *tracetest.SpanRecorder
	provider *sdktrace.TracerProvider
}

func newSpans(opts ...sdktrace.TracerProviderOption) *spans {
	s := &spans{exporter: tracetest.NewInMemoryExporter(), recorder: tracetest.NewSpanRecorder()}
	opts = append(opts, sdktrace.WithSyncer(s.exporter), sdktrace.WithSpanProcessor(s.recorder))
	s.provider = sdktrace.NewTracerProvider(opts...)
	return s
}

func (s *spans) config() trace.Config { return trace.Config{TracerProvider: s.provider} }

// take returns what has ended since the last time, in order of the beginnings. It
// fails if a span has not ended.
func (s *spans) take(t *testing.T) []tracetest.SpanStub {
	t.Helper()
	synctest.Wait()
	if a, b := len(s.recorder.Started()), len(s.recorder.Ended()); a != b {
		t.Errorf("%d spans have begun, and %d ended", a, b)
	}
	s.recorder.Reset()
	got := s.exporter.GetSpans()
	s.exporter.Reset()
	slices.SortStableFunc(got, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	return got
}

// find returns the span of that kind and name; it fails if there is not just one.
func find(t *testing.T, list []tracetest.SpanStub, kind oteltrace.SpanKind, name string) (found tracetest.SpanStub) {
	t.Helper()
	n := 0
	for _, s := range list {
		if s.SpanKind == kind && s.Name == name {
			found = s
			n++
		}
	}
	if n != 1 {
		t.Errorf("there are %d %s spans %q; want 1, among %s", n, kind, name, lines(list))
	}
	return found
}

// lines shows spans, each with its attributes.
func lines(list []tracetest.SpanStub) (text []string) {
	for _, s := range list {
		line := s.SpanKind.String() + " " + s.Name
		if s.Status.Code != codes.Unset {
			line += fmt.Sprintf(" %s %q", s.Status.Code, s.Status.Description)
		}
		for _, a := range s.Attributes {
			if key := string(a.Key); !strings.HasPrefix(key, "rpc.system") && !strings.HasPrefix(key, "network.") && key != "rpc.response.status_code" {
				line += fmt.Sprintf(" %s=%s", a.Key, a.Value.String())
			}
		}
		text = append(text, line)
	}
	return text
}

// attrs returns the attributes of a span.
func attrs(s tracetest.SpanStub) map[string]string {
	m := make(map[string]string)
	for _, a := range s.Attributes {
		m[string(a.Key)] = a.Value.String()
	}
	return m
}

// under reports it if a span is not the child of a span elsewhere.
func under(t *testing.T, child, parent tracetest.SpanStub) {
	t.Helper()
	if child.Parent.SpanID() != parent.SpanContext.SpanID() || child.SpanContext.TraceID() != parent.SpanContext.TraceID() {
		t.Errorf("%s span %q is not a child of the %s span %q", child.SpanKind, child.Name, parent.SpanKind, parent.Name)
	}
}

// rig is two peers that record what they do apart.
type rig struct {
	srv, cli *spans
	from     tp.Peer // cli's
	sess     tp.Session
	net      *tptest.Network
	block    chan struct{} // handlers of /block wait for it
}

type rigConfig struct {
	srv, cli             trace.Config // with their own providers
	srvPlugin, cliPlugin []tp.Plugin  // behind
	srvPeer, cliPeer     tp.PeerConfig
	sampler              sdktrace.Sampler
	routes               func(srv tp.Peer)
}

func newRig(t *testing.T, c rigConfig) *rig {
	t.Helper()
	if c.sampler == nil {
		c.sampler = sdktrace.AlwaysSample()
	}
	r := &rig{srv: newSpans(sdktrace.WithSampler(c.sampler)), cli: newSpans(), net: tptest.NewNetwork(), block: make(chan struct{})}
	if c.srv.TracerProvider == nil {
		c.srv.TracerProvider = r.srv.provider
	}
	if c.cli.TracerProvider == nil {
		c.cli.TracerProvider = r.cli.provider
	}
	network := r.net.Register(t)
	c.srvPeer.Network, c.cliPeer.Network = network, network
	p := tptest.NewPeer(t, c.srvPeer, append([]tp.Plugin{trace.New(c.srv)}, c.srvPlugin...)...)
	tp.HandleCall(p, "/ok", func(_ tp.CallCtx, arg *int) (int, error) { return *arg, nil })
	tp.HandleCall(p, "/slow", func(_ tp.CallCtx, arg *int) (int, error) { time.Sleep(time.Second); return *arg, nil })
	tp.HandleCall(p, "/block", func(tp.CallCtx, *int) (int, error) { <-r.block; return 0, nil })
	tp.HandleCall(p, "/fail", func(_ tp.CallCtx, arg *int32) (int, error) {
		return 0, tp.NewRerror(*arg, "no", "because").Err()
	})
	tp.HandleCall(p, "/panic", func(tp.CallCtx, *int) (int, error) { panic("ouch") })
	tp.HandlePush(p, "/note", func(tp.PushCtx, *int) error { return nil })
	tp.HandlePush(p, "/bad", func(tp.PushCtx, *int) error { return tp.NewRerror(4002, "no", "push").Err() })
	if c.routes != nil {
		c.routes(p)
	}
	r.from = tptest.NewPeer(t, c.cliPeer, append([]tp.Plugin{trace.New(c.cli)}, c.cliPlugin...)...)
	r.sess = tptest.Dial(t, r.from, tptest.Listen(t, p))
	return r
}

func TestSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{})
		for _, test := range []struct {
			name     string
			do       func()
			out, in  oteltrace.SpanKind
			span     string
			duration time.Duration
		}{
			{"call", func() { r.sess.Call("/slow?secret=1", 1, nil) }, oteltrace.SpanKindClient, oteltrace.SpanKindServer, "/slow", time.Second},
			{"Invoke", func() { tp.Invoke[int](t.Context(), r.sess, "/slow", 1) }, oteltrace.SpanKindClient, oteltrace.SpanKindServer, "/slow", time.Second},
			{"AsyncCall", func() { <-r.sess.AsyncCall("/slow", 1, nil, nil).Done() }, oteltrace.SpanKindClient, oteltrace.SpanKindServer, "/slow", time.Second},
			{"push", func() { r.sess.Push("/note?secret=1", 1) }, oteltrace.SpanKindProducer, oteltrace.SpanKindConsumer, "/note", 0},
		} {
			test.do()
			out, in := r.cli.take(t), r.srv.take(t)
			if len(out) != 1 || len(in) != 1 {
				t.Fatalf("%s: %d spans here, %d there; want 1 each", test.name, len(out), len(in))
			}
			a, b := find(t, out, test.out, test.span), find(t, in, test.in, test.span)
			under(t, b, a)
			if !b.Parent.IsRemote() {
				t.Errorf("%s: the parent of the span there is not remote", test.name)
			}
			for _, s := range []tracetest.SpanStub{a, b} {
				if d := s.EndTime.Sub(s.StartTime); d != test.duration {
					t.Errorf("%s: the %s span took %v; want %v", test.name, s.SpanKind, d, test.duration)
				}
				if s.Status.Code != codes.Unset {
					t.Errorf("%s: the status of the %s span is %v", test.name, s.SpanKind, s.Status)
				}
				if s.InstrumentationScope.Name != trace.ScopeName {
					t.Errorf("%s: the scope is %v", test.name, s.InstrumentationScope)
				}
				got := attrs(s)
				for k, want := range map[string]string{"rpc.system.name": "teleport", "rpc.system": "teleport", "rpc.method": test.span, "rpc.method_original": "", "error.type": ""} {
					if got[k] != want {
						t.Errorf("%s: %s of the %s span is %q; want %q", test.name, k, s.SpanKind, got[k], want)
					}
				}
			}
			if got, want := attrs(a)["network.peer.address"], r.sess.RemoteAddr().String(); got != want {
				t.Errorf("%s: the peer of the span here is %q; want %q", test.name, got, want)
			}
			if got, want := attrs(b)["network.peer.address"], r.sess.LocalAddr().String(); got != want {
				t.Errorf("%s: the peer of the span there is %q; want %q", test.name, got, want)
			}
		}
	})
}

// Over TCP the address has a port; behind a trusted proxy the client is another.
func TestAddresses(t *testing.T) {
	srv := newSpans()
	p := tptest.NewPeer(t, tp.PeerConfig{TrustedProxies: []string{"127.0.0.1"}}, trace.New(srv.config()))
	tp.HandleCall(p, "/ok", func(tp.CallCtx, *int) (int, error) { return 1, nil })
	sess := tptest.Dial(t, tptest.NewPeer(t, tp.PeerConfig{}), tptest.Listen(t, p))
	sess.Call("/ok", 1, nil, tp.WithRealIP("10.1.2.3"))
	p.Close() // the span ends behind the reply
	got := attrs(srv.exporter.GetSpans()[0])
	_, port, _ := strings.Cut(sess.LocalAddr().String(), ":")
	for k, want := range map[string]string{"network.transport": "tcp", "network.peer.address": "127.0.0.1", "network.peer.port": port, "client.address": "10.1.2.3"} {
		if got[k] != want {
			t.Errorf("%s is %q; want %q", k, got[k], want)
		}
	}
}

func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{srvPlugin: []tp.Plugin{refusing{}}})
		over, stop := context.WithCancel(t.Context())
		stop()
		for _, test := range []struct {
			name    string
			do      func()
			out, in string // "" is no span
		}{
			{"code", func() { r.sess.Call("/fail", 4001, nil) },
				`client /fail Error "because" rpc.method=/fail error.type=4001`, `server /fail Error "because" rpc.method=/fail error.type=4001`},
			{"panic", func() { r.sess.Call("/panic", 1, nil) },
				`client /panic Error "ouch" rpc.method=/panic error.type=500`, `server /panic Error "ouch" rpc.method=/panic error.type=500`},
			{"nobody", func() { r.sess.Call("/nobody?x", 1, nil) },
				`client /nobody Error "Not Found" rpc.method=/nobody error.type=404`, `server unknown Error "Not Found" rpc.method=unknown rpc.method_original=/nobody error.type=404`},
			{"argument", func() { r.sess.Call("/ok", "text", nil) },
				`client /ok Error "~" rpc.method=/ok error.type=400`, `server /ok Error "~" rpc.method=/ok error.type=400`},
			{"result", func() { r.sess.Call("/ok", 1, new(string)) },
				`client /ok Error "~" rpc.method=/ok error.type=400`, `server /ok rpc.method=/ok`},
			{"not sendable", func() { r.sess.Call("/ok", func() {}, nil) }, `client /ok Error "~" rpc.method=/ok error.type=104`, ``},
			{"over before", func() { r.sess.Call("/ok", 1, nil, tp.WithContext(over)) }, ``, ``},
			{"refused there", func() { r.sess.Call("/refused", 1, nil) },
				`client /refused Error "not you" rpc.method=/refused error.type=429`, `server unknown Error "not you" rpc.method=unknown rpc.method_original=/refused error.type=429`},
			{"push", func() { r.sess.Push("/bad", 1) },
				`producer /bad rpc.method=/bad`, `consumer /bad Error "push" rpc.method=/bad error.type=4002`},
			{"push to nobody", func() { r.sess.Push("/nobody", 1) },
				`producer /nobody rpc.method=/nobody`, `consumer unknown Error "Not Found" rpc.method=unknown rpc.method_original=/nobody error.type=404`},
			{"push not sendable", func() { r.sess.Push("/note", func() {}) }, `producer /note Error "~" rpc.method=/note error.type=104`, ``},
		} {
			test.do()
			for _, x := range []struct {
				side string
				s    *spans
				want string
			}{{"here", r.cli, test.out}, {"there", r.srv, test.in}} {
				got := strings.Join(lines(x.s.take(t)), "; ")
				if before, after, any := strings.Cut(x.want, "~"); any && strings.HasPrefix(got, before) && strings.HasSuffix(got, after) {
					continue // the reason is the codec's
				}
				if got != x.want {
					t.Errorf("%s: %s there is %q; want %q", test.name, x.side, got, x.want)
				}
			}
		}
	})
}

// refusing refuses one method before it is looked up.
type refusing struct{}

func (refusing) Name() string { return "refusing" }

func (refusing) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror {
	if ctx.Path() == "/refused" {
		return tp.NewRerror(tp.CodeTooManyRequests, "", "not you")
	}
	return nil
}

// What a handler sends with its context is of the same trace; what it sends
// without, of another.
func TestHandlersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		both, net := newSpans(), tptest.NewNetwork()
		network := net.Register(t)
		newPeer := func() tp.Peer {
			p := tptest.NewPeer(t, tp.PeerConfig{Network: network}, trace.New(both.config()))
			tp.HandleCall(p, "/far", func(tp.CallCtx, *int) (int, error) { return 1, nil })
			tp.HandlePush(p, "/note", func(tp.PushCtx, *int) error { return nil })
			return p
		}
		a, b, c := newPeer(), newPeer(), newPeer()
		bc := tptest.Dial(t, b, tptest.Listen(t, c))
		tp.HandleCall(b, "/via", func(ctx tp.CallCtx, arg *int) (int, error) {
			if _, err := tp.Invoke[int](ctx.Context(), bc, "/far?1", 1); err != nil { // on, to c
				return 0, err
			}
			ctx.Session().Push("/note", 1, tp.WithContext(ctx.Context())) // back, to a
			bc.Push("/alone", 1)
			return *arg, nil
		})
		tp.HandlePush(b, "/start", func(ctx tp.PushCtx, arg *int) error {
			return bc.Call("/far", 1, nil, tp.WithContext(ctx.Context())).Rerror().Err()
		})
		ab := tptest.Dial(t, a, tptest.Listen(t, b))

		ctx, mine := both.provider.Tracer("mine").Start(t.Context(), "mine")
		if _, err := tp.Invoke[int](ctx, ab, "/via", 1); err != nil {
			t.Fatal(err)
		}
		mine.End()
		list := both.take(t)
		made, served := find(t, list, oteltrace.SpanKindClient, "/via"), find(t, list, oteltrace.SpanKindServer, "/via")
		far, note := find(t, list, oteltrace.SpanKindClient, "/far"), find(t, list, oteltrace.SpanKindProducer, "/note")
		under(t, made, find(t, list, oteltrace.SpanKindInternal, "mine"))
		under(t, served, made)
		under(t, far, served)
		under(t, find(t, list, oteltrace.SpanKindServer, "/far"), far)
		under(t, note, served)
		under(t, find(t, list, oteltrace.SpanKindConsumer, "/note"), note)
		if alone := find(t, list, oteltrace.SpanKindProducer, "/alone"); alone.Parent.IsValid() {
			t.Error("what was sent without the context has a parent")
		}

		ab.Push("/start", 1)
		list = both.take(t)
		under(t, find(t, list, oteltrace.SpanKindClient, "/far"), find(t, list, oteltrace.SpanKindConsumer, "/start"))
	})
}

// A message that fails before it has a span of its own leaves alone that of the
// handler that has sent it.
func TestTheCausesSpanGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{
			srv: trace.Config{Filter: func(method string) bool { return method != "/quiet" }},
			routes: func(p tp.Peer) {
				tp.HandleCall(p, "/outer", func(ctx tp.CallCtx, _ *int) (int, error) {
					over, stop := context.WithCancel(ctx.Context())
					stop()
					ctx.Session().Call("/inner", 1, nil, tp.WithContext(over))
					ctx.Session().Push("/quiet", 1, tp.WithContext(ctx.Context()))
					time.Sleep(time.Second)
					return 1, nil
				})
			},
		})
		r.sess.Call("/outer", 1, nil)
		s := find(t, r.srv.take(t), oteltrace.SpanKindServer, "/outer")
		if d := s.EndTime.Sub(s.StartTime); d != time.Second || s.Status.Code != codes.Unset {
			t.Errorf("the handler's span took %v, status %v; want 1s, none", d, s.Status)
		}
	})
}

// exampleNet is the network of the example's peers.
var exampleNet = sync.OnceValue(func() string { return tptest.NewNetwork().Register(new(testing.T)) })

func newPeer(plugin ...tp.Plugin) tp.Peer {
	return tptest.NewPeer(new(testing.T), tp.PeerConfig{Network: exampleNet()}, plugin...)
}

func dial(from, to tp.Peer) tp.Session {
	if len(to.Addrs()) == 0 {
		tptest.Listen(new(testing.T), to)
	}
	return tptest.Dial(new(testing.T), from, to.Addrs()[0].String())
}
