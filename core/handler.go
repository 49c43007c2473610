package tp

import (
	"reflect"

	"github.com/teleport-go/teleport/core/internal/inlining"
	"github.com/teleport-go/teleport/core/internal/throttle"
)

// Handler is a route and what serves it. It does not change once registered.
type Handler struct {
	name      string
	kind      kind
	unknown   bool
	ordered   bool
	reuses    bool         // arguments have served other calls
	argElem   reflect.Type // of what newArg points to; nil for unknown handlers
	replyType reflect.Type // nil for a PUSH
	plugins   *PluginContainer
	panics    throttle.Throttle // of the lines about them
	inlining  inlining.Record

	// newArg makes what the body is decoded into: a pointer. It may set c.release
	// to have it back.
	newArg func(c *handlerCtx) any
	// invoke runs the user's function. The reply is nil for a PUSH. It may set
	// c.release to be told when the reply was sent.
	invoke func(c *handlerCtx, arg any) (reply any, rerr *Rerror)
}

// Name returns the service method.
func (h *Handler) Name() string { return h.name }

// ArgElemType returns the type of the argument the handler gets a pointer to;
// nil for the unknown handlers.
func (h *Handler) ArgElemType() reflect.Type { return h.argElem }

// NewArgValue returns a pointer to a new argument.
func (h *Handler) NewArgValue() reflect.Value { return reflect.New(h.argElem) }

// ReplyType returns the type of the reply; nil for a PUSH.
func (h *Handler) ReplyType() reflect.Type { return h.replyType }

// IsCall reports whether it serves CALLs.
func (h *Handler) IsCall() bool { return h.kind == kindCall }

// IsPush reports whether it serves PUSHes.
func (h *Handler) IsPush() bool { return h.kind == kindPush }

// IsUnknown reports whether it serves what has no route.
func (h *Handler) IsUnknown() bool { return h.unknown }

// PluginContainer returns the plugins the handler sees.
func (h *Handler) PluginContainer() *PluginContainer { return h.plugins }

// RouterTypeName returns CALL, PUSH, UNKNOWN_CALL or UNKNOWN_PUSH.
func (h *Handler) RouterTypeName() string {
	name := "CALL"
	if h.kind == kindPush {
		name = "PUSH"
	}
	if h.unknown {
		return "UNKNOWN_" + name
	}
	return name
}

// freer is a reply whose memory is used again once it was sent.
type freer interface{ free() }

type orderedPlugin struct{}

func (orderedPlugin) Name() string { return "ordered" }

// Ordered makes a route serve the messages of one session one at a time, in the
// order of their arrival. It is given to a registration like a plugin.
func Ordered() Plugin { return orderedPlugin{} }
