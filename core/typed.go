package tp

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	"github.com/teleport-go/teleport/core/codec"
)

// Invoke is a typed Call: it waits for the reply, the end of ctx, or the end of
// the session, whichever is first. The error matches the tp.Err sentinels and
// the context errors (errors.Is); tp.ToRerror returns its Rerror. Invoke only reads
// arg, and not after it has returned. If Reply is a pointer type, the result points to
// a new value; without an error it is not nil, even if the reply's body is empty.
//
// c is a session, or a client that chooses one.
func Invoke[Reply any](ctx context.Context, c Caller, method string, arg any, set ...MessageSetting) (Reply, error) {
	var zero Reply
	t := reflect.TypeFor[Reply]()
	own, fast := c.(*session)
	if !fast {
		var reply Reply
		result := any(&reply)
		if t.Kind() == reflect.Pointer {
			reply = reflect.New(t.Elem()).Interface().(Reply)
			result = reply
		}
		all := append([]MessageSetting{WithContext(ctx)}, set...)
		if r := c.Call(method, arg, result, all...).Rerror(); r.HasError() {
			return zero, r.Err()
		}
		return reply, nil
	}
	var result any
	var box *Reply
	var pool *sync.Pool // of box, which is nil if the result is not returned by value
	if t.Kind() == reflect.Pointer {
		result = reflect.New(t.Elem()).Interface()
	} else {
		pool = resultPool[Reply](t)
		box = pool.Get().(*Reply)
		result = box
	}
	cmd := own.commandInto(ctx, result, nil, codec.Fresh, false)
	gone := cmd.begin(method, arg, set)
	if gone == nil {
		<-cmd.wake
	} else {
		cmd.await(gone)
	}
	r := cmd.invoked()
	var reply Reply
	if box == nil {
		reply = result.(Reply)
	} else {
		reply, *box = *box, zero
		pool.Put(box)
	}
	if r.HasError() {
		return zero, r.Err()
	}
	return reply, nil
}

// results holds a pool of results for each type of reply, so that Invoke does not
// allocate for results that it returns by value.
var results sync.Map // reflect.Type to *sync.Pool

func resultPool[Reply any](t reflect.Type) *sync.Pool {
	if p, ok := results.Load(t); ok {
		return p.(*sync.Pool)
	}
	p, _ := results.LoadOrStore(t, &sync.Pool{New: func() any { return new(Reply) }})
	return p.(*sync.Pool)
}

// HandleCall registers a typed function as the handler of a CALL, which runs without
// reflection. It returns the service method: what the peer's mapper makes of the
// group's prefix and method. A method that begins with "/" is appended to the prefix
// unchanged. HandleCall panics if f is nil or the route is taken.
//
// The argument belongs to f for ever; the engine only reads the reply. An error that
// tp.ToRerror knows keeps its code; any other has code -1.
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

// HandlePush is HandleCall for the handler of a PUSH. An error of f is logged.
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

// pointerShaped reports whether a value of t is stored in an interface without
// being copied to the heap.
func pointerShaped(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Interface:
		return true
	}
	return false
}
