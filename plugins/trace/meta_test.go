package trace_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/trace"
)

const (
	traceID  = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID   = "00f067aa0ba902b7"
	parentOK = "00-" + traceID + "-" + spanID + "-01"
)

// listener is a traced peer with a caller that sends metadata as it likes.
func listener(t *testing.T, cfg trace.Config, routes ...func(tp.Peer)) (s *spans, sess tp.Session) {
	t.Helper()
	s = newSpans()
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = s.provider
	}
	network := tptest.NewNetwork().Register(t)
	p := tptest.NewPeer(t, tp.PeerConfig{Network: network}, trace.New(cfg))
	tp.HandleCall(p, "/ok", func(_ tp.CallCtx, arg *int) (int, error) { return *arg, nil })
	tp.HandlePush(p, "/note", func(tp.PushCtx, *int) error { return nil })
	for _, f := range routes {
		f(p)
	}
	return s, tptest.Dial(t, tptest.NewPeer(t, tp.PeerConfig{Network: network}), tptest.Listen(t, p))
}

func TestHostileMetadata(t *testing.T) {
	long := strings.Repeat("a", 64<<10)
	thousand := func(m tp.Message) {
		for i := range 1000 {
			m.Meta().Add("k"+strconv.Itoa(i), "v")
			m.Meta().Add("tracestate", "a=b")
			m.Meta().Add("baggage", "a=b")
		}
	}
	with := func(k, v string) tp.MessageSetting { return tp.WithAddMeta(k, v) }
	synctest.Test(t, func(t *testing.T) {
		s, sess := listener(t, trace.Config{})
		for _, test := range []struct {
			name   string
			meta   []tp.MessageSetting
			parent bool // else a root
		}{
			{"none", nil, false},
			{"good", []tp.MessageSetting{with("traceparent", parentOK)}, true},
			{"as HTTP writes it", []tp.MessageSetting{with("Traceparent", parentOK)}, true},
			{"a later version", []tp.MessageSetting{with("traceparent", "01-"+traceID+"-"+spanID+"-01-more")}, true},
			{"empty", []tp.MessageSetting{with("traceparent", "")}, false},
			{"64 KiB", []tp.MessageSetting{with("traceparent", long)}, false},
			{"good and 64 KiB more", []tp.MessageSetting{with("traceparent", "01"+parentOK[2:]+"-"+long)}, false},
			{"twice", []tp.MessageSetting{with("traceparent", parentOK), with("traceparent", parentOK)}, false},
			{"twice, in two cases", []tp.MessageSetting{with("traceparent", parentOK), with("TraceParent", parentOK)}, false},
			{"short", []tp.MessageSetting{with("traceparent", parentOK[:54])}, false},
			{"version ff", []tp.MessageSetting{with("traceparent", "ff"+parentOK[2:])}, false},
			{"capital letters", []tp.MessageSetting{with("traceparent", strings.ToUpper(parentOK))}, false},
			{"zero trace", []tp.MessageSetting{with("traceparent", "00-"+strings.Repeat("0", 32)+"-"+spanID+"-01")}, false},
			{"zero span", []tp.MessageSetting{with("traceparent", "00-"+traceID+"-"+strings.Repeat("0", 16)+"-01")}, false},
			{"no text", []tp.MessageSetting{with("traceparent", "\x00\xff\n%41")}, false},
			{"bad tracestate", []tp.MessageSetting{with("traceparent", parentOK), with("tracestate", "=,\xff,,=")}, true},
			{"long tracestate", []tp.MessageSetting{with("traceparent", parentOK), with("tracestate", "a="+long)}, true},
			{"bad baggage", []tp.MessageSetting{with("traceparent", parentOK), with("baggage", "\xff==;;,,")}, true},
			{"long baggage", []tp.MessageSetting{with("traceparent", parentOK), with("baggage", "a="+long)}, true},
			{"a thousand keys", []tp.MessageSetting{with("traceparent", parentOK), thousand}, true},
		} {
			if got, r := sess.Call("/ok", 7, new(int), test.meta...).Reply(); r != nil || *got.(*int) != 7 {
				t.Errorf("%s: the reply is %v, error %s; want 7", test.name, got, r)
			}
			sess.Push("/note", 1, test.meta...)
			list := s.take(t)
			for _, x := range []struct {
				kind oteltrace.SpanKind
				name string
			}{{oteltrace.SpanKindServer, "/ok"}, {oteltrace.SpanKindConsumer, "/note"}} {
				got := find(t, list, x.kind, x.name)
				if has := got.Parent.IsValid(); has != test.parent || has && (got.Parent.SpanID().String() != spanID || got.SpanContext.TraceID().String() != traceID) {
					t.Errorf("%s: the parent of the %s span is %s; want one: %v", test.name, x.kind, got.Parent.SpanID(), test.parent)
				}
				if !got.SpanContext.IsValid() {
					t.Errorf("%s: the %s span has no id", test.name, x.kind)
				}
			}
		}
	})
}

// seen is the metadata that came with the last message, and the context it was
// served with.
type seen struct {
	meta *tp.Meta
	ctx  context.Context
}

func (s *seen) route(p tp.Peer) {
	tp.HandleCall(p, "/see", func(ctx tp.CallCtx, _ *int) (int, error) {
		s.meta, s.ctx = ctx.CopyMeta(), ctx.Context()
		return 0, nil
	})
}

// What is sent has each field once, however often it was there before.
func TestWhatTravels(t *testing.T) {
	var s seen
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{routes: s.route})
		state, _ := oteltrace.ParseTraceState("a=1,b=2")
		id, _ := oteltrace.TraceIDFromHex(traceID)
		span, _ := oteltrace.SpanIDFromHex(spanID)
		ctx := oteltrace.ContextWithSpanContext(t.Context(), oteltrace.NewSpanContext(oteltrace.SpanContextConfig{
			TraceID: id, SpanID: span, TraceFlags: oteltrace.FlagsSampled, TraceState: state}))
		bag, err := baggage.Parse("user=bob")
		require.NoError(t, err)
		ctx = baggage.ContextWithBaggage(ctx, bag)
		for range 2 {
			if _, err := tp.Invoke[int](ctx, r.sess, "/see", 1, tp.WithAddMeta("traceparent", "old"), tp.WithAddMeta("k", "v"),
				tp.WithAddMeta("Traceparent", parentOK), tp.WithAddMeta("tracestate", "c=3"), tp.WithAddMeta("tracestate", "d=4"), tp.WithAddMeta("Baggage", "user=eve")); err != nil {
				t.Fatal(err)
			}
			made := find(t, r.cli.take(t), oteltrace.SpanKindClient, "/see")
			served := find(t, r.srv.take(t), oteltrace.SpanKindServer, "/see")
			under(t, served, made)
			require.Equal(t, spanID, made.Parent.SpanID().String(), "the parent of the call")
			want := "k=v&tracestate=a%3D1%2Cb%3D2&traceparent=00-" + traceID + "-" + made.SpanContext.SpanID().String() + "-01&baggage=user%3Dbob"
			require.Equal(t, want, s.meta.String(), "the metadata")
			require.Equal(t, "user=bob", baggage.FromContext(s.ctx).String(), "the handler's baggage")
			if got := oteltrace.SpanContextFromContext(s.ctx); got.SpanID() != served.SpanContext.SpanID() || got.TraceState().String() != "a=1,b=2" {
				t.Errorf("the handler's span is %s, state %s; want the server span's, a=1,b=2", got.SpanID(), got.TraceState())
			}
		}
	})
}

// A new trace takes nothing along of what the metadata had from another.
func TestNothingStale(t *testing.T) {
	var s seen
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{routes: s.route})
		r.sess.Call("/see", 1, nil, tp.WithAddMeta("traceparent", parentOK), tp.WithAddMeta("tracestate", "c=3"), tp.WithAddMeta("Baggage", "user=eve"))
		made := find(t, r.cli.take(t), oteltrace.SpanKindClient, "/see").SpanContext
		if got, want := s.meta.String(), "traceparent=00-"+made.TraceID().String()+"-"+made.SpanID().String()+"-01"; !strings.HasPrefix(got, want[:len(want)-2]) || strings.Contains(got, "&") {
			t.Errorf("the metadata is %s; want %s alone", got, want)
		}
	})
}

// Without a recorder what comes goes on, to the last handler.
func TestNotRecorded(t *testing.T) {
	for _, test := range []struct {
		name     string
		provider oteltrace.TracerProvider
	}{
		{"no SDK", nil}, // the test sets none
		{"noop", noop.NewTracerProvider()},
		{"never sampled", sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s seen
			cfg := trace.Config{TracerProvider: test.provider}
			network := tptest.NewNetwork().Register(t)
			newPeer := func(plugin ...tp.Plugin) tp.Peer {
				return tptest.NewPeer(t, tp.PeerConfig{Network: network}, plugin...)
			}
			far, via := newPeer(trace.New(cfg)), newPeer(trace.New(cfg))
			s.route(far)
			on := tptest.Dial(t, via, tptest.Listen(t, far))
			tp.HandleCall(via, "/via", func(ctx tp.CallCtx, arg *int) (int, error) {
				return tp.Invoke[int](ctx.Context(), on, "/see", *arg)
			})
			sess := tptest.Dial(t, newPeer(), tptest.Listen(t, via))
			require.Nil(t, sess.Call("/via", 1, nil, tp.WithAddMeta("traceparent", parentOK), tp.WithAddMeta("baggage", "user=bob")).Rerror())
			require.Equal(t, traceID, oteltrace.SpanContextFromContext(s.ctx).TraceID().String(), "the trace at the end")
			require.Equal(t, "user=bob", baggage.FromContext(s.ctx).String(), "the baggage at the end")
			require.Nil(t, sess.Call("/via", 1, nil, tp.WithAddMeta("baggage", "user=bob")).Rerror())
			require.Equal(t, "user=bob", baggage.FromContext(s.ctx).String(), "without a trace the baggage at the end")
			require.Nil(t, sess.Call("/via", 1, nil).Rerror())
		})
	}
}

func TestPublic(t *testing.T) {
	for _, test := range []struct {
		name   string
		public func(tp.ReadCtx) bool
		linked bool
	}{
		{"nobody said", nil, false},
		{"trusted", func(tp.ReadCtx) bool { return false }, false},
		{"public", func(tp.ReadCtx) bool { return true }, true},
		{"by path", func(ctx tp.ReadCtx) bool { return ctx.Path() == "/see" }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var x seen
				s, sess := listener(t, trace.Config{Public: test.public}, x.route)
				sess.Call("/see", 1, nil, tp.WithAddMeta("traceparent", parentOK), tp.WithAddMeta("baggage", "user=eve"))
				got := find(t, s.take(t), oteltrace.SpanKindServer, "/see")
				if same := got.SpanContext.TraceID().String() == traceID; same == test.linked || got.Parent.IsValid() == test.linked {
					t.Errorf("the same trace: %v, with a parent: %v; want %v", same, got.Parent.IsValid(), !test.linked)
				}
				if linked := len(got.Links) == 1 && got.Links[0].SpanContext.SpanID().String() == spanID; linked != test.linked {
					t.Errorf("linked: %v; want %v", linked, test.linked)
				}
				if bag := baggage.FromContext(x.ctx).Len() > 0; bag == test.linked {
					t.Errorf("there is baggage: %v; want %v", bag, !test.linked)
				}
				sess.Call("/see", 1, nil, tp.WithAddMeta("traceparent", "bad"))
				if got := find(t, s.take(t), oteltrace.SpanKindServer, "/see"); len(got.Links) > 0 || got.Parent.IsValid() {
					t.Errorf("by a bad traceparent there are %d links, parent %s; want none", len(got.Links), got.Parent.SpanID())
				}
			})
		})
	}
}

func TestFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x seen
		filter := func(method string) bool {
			return !strings.HasPrefix(method, "/s") && method != "/note" && method != "/no/1"
		}
		r := newRig(t, rigConfig{srv: trace.Config{Filter: filter}, cli: trace.Config{Filter: filter}, routes: x.route})
		r.sess.Call("/see?a", 1, nil, tp.WithAddMeta("traceparent", "mine"))
		require.Equal(t, "traceparent=mine", x.meta.String(), "the metadata")
		r.sess.Push("/note?a", 1)
		r.sess.Call("/no/1", 1, nil)
		r.sess.Call("/no/2", 1, nil)
		r.sess.Call("/ok", 1, nil)
		if got := lines(r.cli.take(t)); len(got) != 2 || !strings.HasPrefix(got[0], "client /no/2 ") || !strings.HasPrefix(got[1], "client /ok ") {
			t.Errorf("the spans here are %q; want /no/2, /ok", got)
		}
		if got := lines(r.srv.take(t)); len(got) != 2 || !strings.HasPrefix(got[0], "server unknown ") || !strings.HasPrefix(got[1], "server /ok ") {
			t.Errorf("the spans there are %q; want unknown, /ok", got)
		}
	})
}

// What is not traced takes no name from what is, nor do the names of the rest
// lead around the filter.
func TestFilterComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		filter := func(method string) bool { return strings.HasPrefix(method, "/p") }
		r := newRig(t, rigConfig{srv: trace.Config{Filter: filter}, cli: trace.Config{Filter: filter}})
		for i := range 600 {
			r.sess.Call("/n"+strconv.Itoa(i)+"?/p", 1, nil)
		}
		r.sess.Call(trace.Unknown, 1, nil)
		r.sess.Call(trace.Other, 1, nil)
		r.sess.Call("/p", 1, nil)
		if got := lines(r.cli.take(t)); len(got) != 1 || !strings.HasPrefix(got[0], "client /p ") {
			t.Errorf("the spans here are %q; want /p", got)
		}
		if got := lines(r.srv.take(t)); len(got) != 1 || !strings.HasPrefix(got[0], "server unknown ") {
			t.Errorf("the spans there are %q; want one of unknown", got)
		}
	})
}

// Names are few, whatever comes.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{})
		for i := range 600 {
			r.sess.Call("/p"+strconv.Itoa(i)+"?x=1", 1, nil)
			r.sess.Push("/p"+strconv.Itoa(i), 1)
		}
		r.sess.Call("/p1", 1, nil)
		r.sess.Call("/ok", 1, nil)
		out, in := r.cli.take(t), r.srv.take(t)
		names := make(map[string]int)
		for _, s := range out {
			names[s.Name]++
			if a := attrs(s); s.Name == trace.Other && !strings.HasPrefix(a["rpc.method_original"], "/") || a["rpc.method"] != s.Name {
				t.Fatalf("the attributes of %s are %v", s.Name, a)
			}
		}
		if len(names) != 501 || names[trace.Other] != 201 || names["/p1"] != 3 {
			t.Errorf("here are %d names, %d spans of other, %d of /p1; want 501, 201, 3", len(names), names[trace.Other], names["/p1"])
		}
		clear(names)
		for _, s := range in {
			names[s.Name]++
		}
		if len(names) != 2 || names[trace.Unknown] != 1201 || names["/ok"] != 1 {
			t.Errorf("there the names are %v; want 1201 of unknown, 1 of /ok", names)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{})
		r.sess.Call("/"+strings.Repeat("long", 100), 1, nil)
		r.sess.Call("/bad\xff", 1, nil)
		for _, s := range r.cli.take(t) {
			if got := attrs(s)["rpc.method_original"]; s.Name != trace.Other || len(got) > 260 || strings.Contains(got, "\xff") {
				t.Errorf("a name that cannot be one is %q, %q", s.Name, got)
			}
		}
	})
}

// A reason is cut, and made UTF-8: exporters refuse a span that is not.
func TestLongReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{routes: func(p tp.Peer) {
			tp.HandleCall(p, "/long", func(tp.CallCtx, *int) (int, error) {
				return 0, tp.NewRerror(4000, "m", strings.Repeat("ä", 50_000)).Err()
			})
		}})
		r.sess.Call("/long", 1, nil)
		s := find(t, r.cli.take(t), oteltrace.SpanKindClient, "/long")
		if n := len(s.Status.Description); n < 200 || n > 270 || strings.ToValidUTF8(s.Status.Description, "") != s.Status.Description {
			t.Errorf("the description is %d bytes: %q", n, s.Status.Description)
		}
	})
}

// Other propagators' fields are handled alike.
func TestPropagators(t *testing.T) {
	var s seen
	network := tptest.NewNetwork().Register(t)
	cfg := trace.Config{Propagators: propagation.Baggage{}, TracerProvider: newSpans().provider}
	p := tptest.NewPeer(t, tp.PeerConfig{Network: network}, trace.New(cfg))
	s.route(p)
	sess := tptest.Dial(t, tptest.NewPeer(t, tp.PeerConfig{Network: network}, trace.New(cfg)), tptest.Listen(t, p))
	bag, _ := baggage.Parse("a=1")
	if _, err := tp.Invoke[int](baggage.ContextWithBaggage(t.Context(), bag), sess, "/see", 1, tp.WithAddMeta("traceparent", "mine")); err != nil {
		t.Fatal(err)
	}
	if got := s.meta.String(); got != "traceparent=mine&baggage=a%3D1" {
		t.Errorf("the metadata is %s; want baggage written, and traceparent left alone", got)
	}
}
