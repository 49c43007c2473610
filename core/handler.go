package tp

import (
	"fmt"
	"reflect"
	"sync"

	"github.com/teleport-go/teleport/core/internal/inlining"
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
	panics    throttle // of the lines about them
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

// HandleCall registers a typed function as the handler of a CALL, without
// reflection when it runs, and returns the service method: what the peer's mapper
// makes of the group's prefix and method. A method that begins with "/" goes
// behind the prefix as it is.
// The argument belongs to f for ever; the reply is only read. An error that
// tp.ToRerror knows keeps its code, any other is code -1.
func HandleCall[Arg, Reply any](r Router, method string, f func(ctx CallCtx, arg *Arg) (Reply, error), plugin ...Plugin) string {
	if f == nil {
		panic(fmt.Sprintf("tp: HandleCall %q: the function is nil", method))
	}
	h := &Handler{
		argElem:   reflect.TypeFor[Arg](),
		replyType: reflect.TypeFor[Reply](),
		newArg:    func(*handlerCtx) any { return new(Arg) },
	}
	if pointerShaped(h.replyType) {
		h.invoke = func(c *handlerCtx, arg any) (any, *Rerror) {
			reply, err := f(c, arg.(*Arg))
			if err != nil {
				return nil, ToRerror(err)
			}
			return reply, nil
		}
	} else {
		// A value in an interface is an allocation; a pointer to a pooled one is not.
		boxes := &sync.Pool{New: func() any { return new(replyBox[Reply]) }}
		h.invoke = func(c *handlerCtx, arg any) (any, *Rerror) {
			reply, err := f(c, arg.(*Arg))
			if err != nil {
				return nil, ToRerror(err)
			}
			box := boxes.Get().(*replyBox[Reply])
			box.pool, box.value = boxes, reply
			c.release = box
			return &box.value, nil
		}
	}
	return r.routeGroup().handle(method, h, plugin)
}

// HandlePush registers a typed function as the handler of a PUSH, as HandleCall.
func HandlePush[Arg any](r Router, method string, f func(ctx PushCtx, arg *Arg) error, plugin ...Plugin) string {
	if f == nil {
		panic(fmt.Sprintf("tp: HandlePush %q: the function is nil", method))
	}
	return r.routeGroup().handle(method, &Handler{
		kind:    kindPush,
		argElem: reflect.TypeFor[Arg](),
		newArg:  func(*handlerCtx) any { return new(Arg) },
		invoke: func(c *handlerCtx, arg any) (any, *Rerror) {
			if err := f(c, arg.(*Arg)); err != nil {
				return nil, ToRerror(err)
			}
			return nil, nil
		},
	}, plugin)
}

type replyBox[R any] struct {
	pool  *sync.Pool
	value R
}

func (b *replyBox[R]) free() {
	var zero R
	b.value = zero
	b.pool.Put(b)
}

// freer is a reply whose memory is used again once it was sent.
type freer interface{ free() }

// pointerShaped reports whether a value of t goes into an interface without
// being copied to the heap.
func pointerShaped(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Interface:
		return true
	}
	return false
}

type orderedPlugin struct{}

func (orderedPlugin) Name() string { return "ordered" }

// Ordered makes a route serve the messages of one session one at a time, in the
// order of their arrival. It is given to a registration like a plugin.
func Ordered() Plugin { return orderedPlugin{} }
