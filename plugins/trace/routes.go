package trace

import (
	"go.opentelemetry.io/otel/attribute"
	oteltrace "go.opentelemetry.io/otel/trace"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/labels"
)

// route is what the spans of one name begin with. It does not change.
type route struct {
	name       string
	traced     bool
	call, push []oteltrace.SpanStartOption
}

func (r *route) options(m tp.Message) []oteltrace.SpanStartOption {
	if m.Mtype() == tp.TypePush {
		return r.push
	}
	return r.call
}

type routes = labels.Set[*route]

// newRoutes returns the routes of one direction. For a path that has no name of its
// own the filter is called each time.
func newRoutes(rest string, most int, filter func(string) bool, call, push oteltrace.SpanKind) *routes {
	return labels.New(rest, most, func(name string) *route {
		begin := func(kind oteltrace.SpanKind) []oteltrace.SpanStartOption {
			return []oteltrace.SpanStartOption{oteltrace.WithSpanKind(kind), oteltrace.WithAttributes(
				attribute.String(keySystemName, "teleport"), attribute.String(keySystem, "teleport"), attribute.String(keyMethod, name))}
		}
		return &route{name: name, traced: name == rest || filter(name), call: begin(call), push: begin(push)}
	})
}
