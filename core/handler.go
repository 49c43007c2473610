package tp

import (
	"maps"
	"reflect"
	"sync/atomic"

	"github.com/teleport-go/teleport/core/internal/event"
	"github.com/teleport-go/teleport/core/internal/inlining"
	"github.com/teleport-go/teleport/core/internal/throttle"
)

// Handler is a route and the function that serves it. It does not change once
// registered.
type Handler struct {
	name      string
	kind      kind
	unknown   bool
	ordered   bool
	reuses    bool         // arguments are pooled, and serve many calls
	stream    bool         // it serves streams
	argElem   reflect.Type // the type newArg's result points to; nil for unknown handlers
	replyType reflect.Type // nil for a PUSH
	plugins   *PluginContainer
	doc       string
	labels    map[string]string
	panics    throttle.Throttle // limits the log lines about panics
	inlining  inlining.Record
	replySize atomic.Int64 // of the largest recent replies, in bytes; 1: they are small; 0: there was none
	answered  event.Event  // there was one
	blind     atomic.Int32 // how many run, or wait to, that began before that

	// newArg returns the pointer to decode the body into. It may set c.release,
	// which is called when the argument is not used any more.
	newArg func(c *handlerCtx) any
	// invoke runs the user's function. The reply is nil for a PUSH. It may set
	// c.release, which is called when the reply was sent.
	invoke func(c *handlerCtx, arg any) (reply any, rerr *Rerror)
}

// Name returns the service method of the route.
func (h *Handler) Name() string { return h.name }

// ArgElemType returns the type of the argument, to which the handler gets a pointer;
// nil for the unknown handlers.
func (h *Handler) ArgElemType() reflect.Type { return h.argElem }

// NewArgValue returns a pointer to a new argument. It panics for the unknown handlers.
func (h *Handler) NewArgValue() reflect.Value { return reflect.New(h.argElem) }

// ReplyType returns the type of the reply; nil for a PUSH.
func (h *Handler) ReplyType() reflect.Type { return h.replyType }

// IsCall reports whether the handler serves CALLs.
func (h *Handler) IsCall() bool { return h.kind == kindCall }

// IsPush reports whether the handler serves PUSHes.
func (h *Handler) IsPush() bool { return h.kind == kindPush }

// IsUnknown reports whether the handler serves the messages, or the streams, that have no
// route.
func (h *Handler) IsUnknown() bool { return h.unknown }

// PluginContainer returns the plugins whose hooks run for the handler.
func (h *Handler) PluginContainer() *PluginContainer { return h.plugins }

// Doc returns what Doc has set, "" if nothing.
func (h *Handler) Doc() string { return h.doc }

// Labels returns a copy of the labels, which is never nil.
func (h *Handler) Labels() map[string]string {
	labels := make(map[string]string, len(h.labels))
	maps.Copy(labels, h.labels)
	return labels
}

// IsStream reports whether the handler serves streams: then the CALL opens one, ArgElemType
// is what the handler receives, and ReplyType what it sends.
func (h *Handler) IsStream() bool { return h.stream }

// encoded reports whether the handler gets the body of a request as it came.
func (h *Handler) encoded() bool { return h.unknown || h.stream }

// RouterTypeName returns CALL, PUSH, UNKNOWN_CALL, UNKNOWN_PUSH or UNKNOWN_STREAM.
func (h *Handler) RouterTypeName() string {
	name := "CALL"
	if h.kind == kindPush {
		name = "PUSH"
	}
	if h.unknown && h.stream {
		return "UNKNOWN_STREAM"
	}
	if h.unknown {
		return "UNKNOWN_" + name
	}
	return name
}

// largeReply is the smallest reply, in bytes, whose size its route remembers.
const largeReply = 32 << 10

// noteReply remembers the size of a reply of the route if it is large, or the first. If
// replies become smaller, so does what is remembered. An error tells nothing: it may be that
// of a call that has not run, and a peer could make many before it asks for what is large.
func (h *Handler) noteReply(n int64) {
	old := h.replySize.Load()
	if n < largeReply && old == 1 {
		return
	}
	if n = max(n, old-old/8); n < largeReply {
		n = 1
	}
	h.replySize.Store(n)
	if old == 0 {
		h.answered.Fire()
	}
}

// freer is an argument or reply whose memory is used again after the reply was sent.
type freer interface{ free() }

// A handlerOption is passed to a registration like a plugin, and is none.
type handlerOption func(*Handler)

// Name is that of a Plugin.
func (handlerOption) Name() string { return "option of a route" }

// forRoutes says to a PluginContainer that this is no plugin.
func (handlerOption) forRoutes() {}

// Ordered makes a route serve the messages of one session one at a time, in the
// order of their arrival. Pass it to a registration like a plugin, or to SubRoute for each
// route of the group.
func Ordered() Plugin { return handlerOption(func(h *Handler) { h.ordered = true }) }

// Doc says what a route does, for lists of a peer's handlers: see Handler.Doc.
// Pass it to a registration like a plugin.
func Doc(text string) Plugin { return handlerOption(func(h *Handler) { h.doc = text }) }

// Label gives a route a label, such as its owner or its version: see Handler.Labels. A
// second value of a key replaces the first. Pass it to a registration like a plugin, or to
// SubRoute for all routes of the group.
func Label(key, value string) Plugin {
	return handlerOption(func(h *Handler) {
		h.labels = h.Labels()
		h.labels[key] = value
	})
}
