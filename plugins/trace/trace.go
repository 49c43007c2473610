// Package trace is a plugin that records calls and pushes as spans of
// OpenTelemetry, and carries traces from peer to peer.
//
// A CALL is a client span where it is made and a server span where it is served, a
// PUSH a producer and a consumer span. The span travels in the metadata
// traceparent and tracestate of W3C Trace Context, with the baggage; the span of a
// message served is in the handler's Context, so what the handler sends with that
// context (tp.Invoke, tp.WithContext) belongs to the same trace. A span ends with
// its message, however that ends.
package trace

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	oteltrace "go.opentelemetry.io/otel/trace"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/labels"
	"github.com/teleport-go/teleport/core/socket"
)

// ScopeName is the name of the tracer.
const ScopeName = "github.com/teleport-go/teleport/plugins/trace"

const (
	// Unknown is the route of incoming messages that have no handler of their own.
	Unknown = labels.Unknown
	// Other is the route of outgoing messages beyond the first 500 paths, or of
	// a path over 200 bytes or not in UTF-8.
	Other = labels.Other
)

// Config says what is traced, and how. The zero value traces all, with the global
// TracerProvider of package otel.
type Config struct {
	// TracerProvider makes the spans; nil is otel.GetTracerProvider().
	TracerProvider oteltrace.TracerProvider
	// Propagators write traces into metadata and read them; nil is
	// propagation.TraceContext and propagation.Baggage.
	Propagators propagation.TextMapPropagator
	// Filter reports whether messages of a service method, without its query, are
	// traced. The others have no span, and their metadata is left alone. It is called
	// concurrently, in the reader too, must not block, and should always return the
	// same for a method. nil traces all.
	Filter func(method string) bool
	// Public reports whether the sender of a message is not trusted: then the span of
	// the message begins a trace of its own, with a link to the one the message names,
	// and the message's baggage is ignored. It is called concurrently, in the reader,
	// and must not block. nil trusts all.
	Public func(ctx tp.ReadCtx) bool
}

// plugin is the plugin; all but routes does not change.
type plugin struct {
	tracer      oteltrace.Tracer
	propagators propagation.TextMapPropagator
	fields      []string // that the propagators write
	filter      func(string) bool
	public      func(tp.ReadCtx) bool
	in, out     *routes
}

var (
	_ tp.PostRegPlugin         = (*plugin)(nil)
	_ tp.PreReadCallBodyPlugin = (*plugin)(nil)
	_ tp.PreReadPushBodyPlugin = (*plugin)(nil)
	_ tp.PreWriteCallPlugin    = (*plugin)(nil)
	_ tp.PreWritePushPlugin    = (*plugin)(nil)
	_ tp.PostExchangePlugin    = (*plugin)(nil)
	_ tp.NonBlockingPlugin     = (*plugin)(nil)
)

// New returns the plugin, for a peer; several may share it. Given to a group or a
// handler it traces the messages those serve, and none that are sent. Put it in
// front of plugins whose work the spans should include, and behind those that
// reroute.
//
// Spans begin and end in the reader: the processors and samplers of the
// TracerProvider must not block there, as the SDK's batch processor does not.
func New(cfg Config) tp.Plugin {
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = otel.GetTracerProvider()
	}
	if cfg.Propagators == nil {
		cfg.Propagators = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	}
	if cfg.Filter == nil {
		cfg.Filter = func(string) bool { return true }
	}
	p := &plugin{
		tracer:      cfg.TracerProvider.Tracer(ScopeName, oteltrace.WithSchemaURL(schemaURL)),
		propagators: cfg.Propagators,
		fields:      cfg.Propagators.Fields(),
		filter:      cfg.Filter,
		public:      cfg.Public,
	}
	p.in = newRoutes(Unknown, 0, cfg.Filter, oteltrace.SpanKindServer, oteltrace.SpanKindConsumer)
	p.out = newRoutes(Other, labels.MaxPaths, cfg.Filter, oteltrace.SpanKindClient, oteltrace.SpanKindProducer)
	return p
}

// Name returns "trace".
func (*plugin) Name() string { return "trace" }

// NonBlocking promises that no hook blocks.
func (*plugin) NonBlocking() {}

// PostReg makes the name of a handler the name of spans.
func (p *plugin) PostReg(h *tp.Handler) error {
	if !h.IsUnknown() {
		p.in.Add(h.Name())
	}
	return nil
}

// PreWriteCall begins the span of a call, and puts it into the metadata.
func (p *plugin) PreWriteCall(ctx tp.WriteCtx) *tp.Rerror {
	p.send(ctx)
	return nil
}

// PreWritePush begins the span of a push, and puts it into the metadata.
func (p *plugin) PreWritePush(ctx tp.WriteCtx) *tp.Rerror {
	p.send(ctx)
	return nil
}

// PreReadCallBody begins the span of a call that has a handler.
func (p *plugin) PreReadCallBody(ctx tp.ReadCtx) *tp.Rerror {
	p.serve(ctx)
	return nil
}

// PreReadPushBody begins the span of a push that has a handler.
func (p *plugin) PreReadPushBody(ctx tp.ReadCtx) *tp.Rerror {
	p.serve(ctx)
	return nil
}

// PostExchange ends the span of a message. One that was refused before its span
// could begin gets a span of no length.
func (p *plugin) PostExchange(ctx tp.PreCtx, r *tp.Rerror) {
	in, incoming := ctx.(tp.ReadCtx)
	if !incoming {
		if k := p.marked(ctx.(tp.WriteCtx).Output()); k != nil {
			k.end(r)
		}
		return
	}
	k := p.marked(in.Input())
	if k == nil && r.HasError() {
		k = p.serve(in)
	}
	if k != nil {
		k.end(r)
	}
}

// send begins the span of an outgoing message.
func (p *plugin) send(ctx tp.WriteCtx) {
	m := ctx.Output()
	path := labels.Path(m.ServiceMethod())
	to := p.out.Get(path)
	if to == p.out.Rest() {
		if !p.filter(path) { // first: a path that is not traced uses up no name
			return
		}
		to = p.out.Meet(path)
	}
	parent := m.Context()
	spanCtx, span := p.tracer.Start(parent, to.name, to.options(m)...)
	valid := span.SpanContext().IsValid()
	if valid {
		dropFields(m.Meta(), p.fields) // of a proxy, they are those of the message it has received
	}
	p.propagators.Inject(spanCtx, (*carrier)(m.Meta()))
	if valid {
		p.mark(m, spanCtx, span)
		describe(span, ctx, to, path)
	}
}

// serve begins the span of an incoming message; nil if it gets none.
func (p *plugin) serve(ctx tp.ReadCtx) *mark {
	m := ctx.Input()
	path := ctx.Path()
	from := p.in.Get(path)
	if !from.traced || from == p.in.Rest() && !p.filter(path) {
		return nil
	}
	base, options := m.Context(), from.options(m)
	named := hasField(m.Meta(), p.fields) // a trace, or baggage
	if named {
		far := p.propagators.Extract(base, (*carrier)(m.Meta()))
		if p.public == nil || !p.public(ctx) {
			base = far
		} else if remote := oteltrace.SpanContextFromContext(far); remote.IsValid() {
			options = append(options[:len(options):len(options)],
				oteltrace.WithNewRoot(), oteltrace.WithLinks(oteltrace.Link{SpanContext: remote}))
		}
	}
	spanCtx, span := p.tracer.Start(base, from.name, options...)
	if !span.SpanContext().IsValid() {
		if named {
			tp.WithContext(base)(m) // baggage travels without a trace, too
		}
		return nil
	}
	k := p.mark(m, spanCtx, span)
	describe(span, ctx, from, path)
	return k
}

// mark is the context of a message from the beginning of its span on. Its Value
// finds it through contexts derived from it.
type mark struct {
	context.Context
	owner *plugin
	of    tp.Message // a message sent by a handler has the mark of the one served, too
	span  oteltrace.Span
	ended atomic.Bool // of may be reused for another message by now
}

// Value finds the mark of a plugin by the plugin.
func (k *mark) Value(key any) any {
	if key == any(k.owner) {
		return k
	}
	return k.Context.Value(key)
}

func (p *plugin) mark(m tp.Message, ctx context.Context, span oteltrace.Span) *mark {
	k := &mark{Context: ctx, owner: p, of: m, span: span}
	m.(*socket.Envelope).SetContext(k) // the one kind of message there is; tp.WithContext costs an allocation
	return k
}

func (p *plugin) marked(m tp.Message) *mark {
	if k, ok := m.Context().Value(p).(*mark); ok && k.of == m && !k.ended.Load() {
		return k
	}
	return nil
}
