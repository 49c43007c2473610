package trace

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	oteltrace "go.opentelemetry.io/otel/trace"

	tp "github.com/teleport-go/teleport/core"
)

// route is what the spans of one name begin with. It does not change.
type route struct {
	name       string
	traced     bool
	call, push []oteltrace.SpanStartOption
}

var untraced = new(route)

func (r *route) options(m tp.Message) []oteltrace.SpanStartOption {
	if m.Mtype() == tp.TypePush {
		return r.push
	}
	return r.call
}

// routes finds the route of a name. One that is there is found without a lock.
type routes struct {
	call, push oteltrace.SpanKind
	byName     atomic.Pointer[map[string]*route]
	others     *route // of all names that are not there

	mu sync.Mutex // guards changes
}

func (r *routes) init(others string, call, push oteltrace.SpanKind) {
	r.call, r.push = call, push
	r.others = r.make(others, true)
	r.byName.Store(&map[string]*route{})
}

func (r *routes) make(name string, traced bool) *route {
	begin := func(kind oteltrace.SpanKind) []oteltrace.SpanStartOption {
		return []oteltrace.SpanStartOption{oteltrace.WithSpanKind(kind), oteltrace.WithAttributes(
			attribute.String(keySystemName, "teleport"), attribute.String(keySystem, "teleport"), attribute.String(keyMethod, name))}
	}
	return &route{name: name, traced: traced, call: begin(r.call), push: begin(r.push)}
}

// find returns the route of a name, nil if it is not there.
func (r *routes) find(name string) *route { return (*r.byName.Load())[name] }

// rest returns what a name that is not there has in common with its like.
func (r *routes) rest(name string, filter func(string) bool) *route {
	if !filter(name) {
		return untraced
	}
	return r.others
}

// add makes the route of a name, if there are fewer than most; 0 is no limit.
func (r *routes) add(name string, most int, traced bool) *route {
	if most > 0 && len(*r.byName.Load()) >= most {
		return r.others // without the lock: there are only ever more
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.byName.Load()
	if known := old[name]; known != nil {
		return known
	}
	if most > 0 && len(old) >= most {
		return r.others
	}
	all := maps.Clone(old)
	made := r.make(strings.Clone(name), traced)
	all[made.name] = made
	r.byName.Store(&all)
	return made
}

// pathOf is a service method without its query.
func pathOf(method string) string {
	if i := strings.IndexAny(method, "?#"); i >= 0 {
		return method[:i]
	}
	return method
}

// short tells whether a path may be a name.
func short(path string) bool { return len(path) <= maxPath && utf8.ValidString(path) }
