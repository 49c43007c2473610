package trace

import (
	"context"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	oteltrace "go.opentelemetry.io/otel/trace"

	tp "github.com/teleport-go/teleport/core"
)

var w3c = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// Whatever metadata comes, reading gives a trace or none; and what is written
// behind it is all that is read again.
func FuzzCarrier(f *testing.F) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, seed := range []string{
		"",
		"traceparent=" + parent,
		"Traceparent=" + parent + "&tracestate=a%3D1%2Cb%3D2",
		"traceparent=" + parent + "&traceparent=" + parent,
		"traceparent=" + parent + "&TRACEPARENT=",
		"traceparent=01" + parent[2:] + "-more&baggage=k%3Dv%3Bp",
		"traceparent=ff" + parent[2:],
		"traceparent=" + strings.ToUpper(parent),
		"traceparent=%00%FF&tracestate=%3D%2C%2C&baggage=%3D%3B",
		"traceparent=" + strings.Repeat("0", maxField+1),
		"=&==&traceparent&baggage",
		"tracestate=" + strings.Repeat("a%3Db%2C", 40) + "&traceparent=" + parent,
	} {
		f.Add(seed)
	}
	fields := w3c.Fields()
	f.Fuzz(func(t *testing.T, text string) {
		var meta, rest tp.Meta
		meta.Parse(text)
		count := 0
		for k, v := range meta.All() {
			if strings.EqualFold(string(k), "traceparent") {
				count++
			}
			if !isFieldOf(k, fields) {
				rest.AddBytesKV(k, v)
			}
		}
		was := meta.String()
		sc := oteltrace.SpanContextFromContext(w3c.Extract(context.Background(), (*carrier)(&meta)))
		if meta.String() != was {
			t.Errorf("reading has changed %q to %q", was, meta.String())
		}
		if sc.IsValid() && count != 1 {
			t.Errorf("of %d values for traceparent one was believed", count)
		}
		dropFields(&meta, fields)
		if got, want := meta.String(), rest.String(); got != want {
			t.Errorf("without the fields there is %q; want %q", got, want)
		}
		mine := oteltrace.NewSpanContext(oteltrace.SpanContextConfig{TraceID: [16]byte{1}, SpanID: [8]byte{2}, TraceState: sc.TraceState()})
		meta.Parse(text)
		dropFields(&meta, fields)
		w3c.Inject(oteltrace.ContextWithSpanContext(context.Background(), mine), (*carrier)(&meta))
		back := oteltrace.SpanContextFromContext(w3c.Extract(context.Background(), (*carrier)(&meta)))
		if back.TraceID() != mine.TraceID() || back.SpanID() != mine.SpanID() || back.TraceState().String() != sc.TraceState().String() {
			t.Errorf("behind %q was written %s, %q, and read %s, %q", text, mine.SpanID(), sc.TraceState(), back.SpanID(), back.TraceState())
		}
	})
}

func TestCarrier(t *testing.T) {
	var meta tp.Meta
	meta.Parse("A=1&b=2&a=3&c=&B=4")
	c := (*carrier)(&meta)
	for key, want := range map[string]string{"a": "", "b": "", "c": "", "C": "", "d": ""} {
		if got := c.Get(key); got != want {
			t.Errorf("Get(%q) = %q; want %q", key, got, want)
		}
	}
	c.Set("a", "5")
	c.Set("d", "6")
	if got, want := meta.String(), "b=2&c&B=4&a=5&d=6"; got != want {
		t.Errorf("after Set there is %s; want %s", got, want)
	}
	if got, want := strings.Join(c.Keys(), " "), "b c B a d"; got != want {
		t.Errorf("Keys = %s; want %s", got, want)
	}
	if got := c.Get("A"); got != "5" {
		t.Errorf("Get(A) = %q; want 5", got)
	}
	for size, want := range map[int]int{maxField: maxField, maxField + 1: 0} {
		c.Set("long", strings.Repeat("x", size))
		if got := len(c.Get("long")); got != want {
			t.Errorf("of %d bytes %d are read; want %d", size, got, want)
		}
	}
}
