package tp

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/bufpool"
	"github.com/teleport-go/teleport/core/internal/poison"
)

// HandleCallInto registers a typed function as the handler of a CALL whose
// argument and reply are pooled: the form of a handler that allocates least. It
// returns the service method, as HandleCall does.
//
// Ownership: arg and reply, and all they point to, belong to the engine. Until f
// returns it may read arg and fill reply, which is zero when f is called and may
// hold parts of arg; f must copy what is to live longer, and must not store other
// memory in arg, except that it may grow a []byte ([slices.Grow]). After the reply was sent and the last hook has run, both are emptied
// and serve another call: no plugin may keep them either.
//
// The argument is emptied to its zero value, with two exceptions that keep their
// buffers: a []byte is cut to length 0, and a type that declares a ResetVT method
// (vtprotobuf's pool feature) is emptied by that.
func HandleCallInto[Arg, Reply any](r Router, method string, f func(ctx CallCtx, arg *Arg, reply *Reply) error, plugin ...Plugin) string {
	if f == nil {
		panic(fmt.Sprintf("tp: HandleCallInto %q: the function is nil", method))
	}
	pool := &sync.Pool{New: func() any { return new(pooled[Arg, Reply]) }}
	empty := emptier[Arg]()
	return r.routeGroup().handle(method, &Handler{
		reuses:    true,
		argElem:   reflect.TypeFor[Arg](),
		replyType: reflect.TypeFor[Reply](),
		newArg: func(c *handlerCtx) any {
			p := pool.Get().(*pooled[Arg, Reply])
			p.pool, p.empty = pool, empty
			c.release, c.memory = p, &p.memory
			return &p.arg
		},
		invoke: func(c *handlerCtx, _ any) (any, *Rerror) {
			p := c.release.(*pooled[Arg, Reply])
			if err := f(c, &p.arg, &p.reply); err != nil {
				return nil, ToRerror(err)
			}
			return &p.reply, nil
		},
	}, plugin)
}

// pooled is the argument and the reply of a call; free returns it to the pool.
type pooled[A, R any] struct {
	pool  *sync.Pool
	empty func(*A)
	arg   A
	reply R

	memory []byte // the encoded argument, which arg may refer to
}

func (p *pooled[A, R]) free() {
	var zero R
	p.reply = zero // first: it may hold parts of arg
	p.empty(&p.arg)
	if cap(p.memory) > decodeInReader {
		bufpool.Put(p.memory)
		p.memory = nil
	}
	p.memory = spent(p.memory)
	if !poison.On() { // else the values stay empty, where a handler that kept them can see it
		p.pool.Put(p)
	}
}

// spent returns the memory that a value may have referred to, ready for the next
// value, or nil if it is not to be used again.
func spent(b []byte) []byte {
	if poison.On() {
		poison.Scribble(b)
		return nil
	}
	if cap(b) > decodeInReader {
		return nil
	}
	return b
}

// emptier returns the function that empties a value of type T.
func emptier[T any]() func(*T) {
	if empty, ok := any(emptyBytes).(func(*T)); ok {
		return empty
	}
	if t := reflect.TypeFor[*T](); t.Implements(resetterType) && !promotes(t.Elem(), resetterType) {
		return func(v *T) { any(v).(resetter).ResetVT() }
	}
	return func(v *T) {
		var zero T
		*v = zero
	}
}

type resetter interface{ ResetVT() }

var resetterType = reflect.TypeFor[resetter]()

func emptyBytes(b *[]byte) {
	*b = (*b)[:0]
	if cap(*b) > decodeInReader {
		bufpool.Put(*b)
		*b = nil
	}
}

// promotes reports whether the struct t may have the method of i from an embedded
// field: then the method would empty only a part of t.
func promotes(t, i reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for n := range t.NumField() {
		f := t.Field(n)
		if f.Anonymous && (f.Type.Implements(i) || reflect.PointerTo(f.Type).Implements(i)) {
			return true
		}
	}
	return false
}

// Reused is a result for InvokeInto that serves many calls: a value, and the memory
// that its strings and bytes may lie in. A call with a *Reused[T] decodes into
// Value. If the codec lets a value alias its body (pbcodec.Codec{Alias: true}), the
// call allocates nothing, and what Value holds is valid only until the next call:
// copy what is to live longer (strings.Clone). With other codecs a *Reused[T] works
// like a *T. The zero value is ready for use. It must not be used by two calls at
// once.
type Reused[T any] struct {
	Value  T
	memory []byte
}

func (r *Reused[T]) reused() (value any, memory *[]byte) {
	if r == nil {
		return nil, nil
	}
	r.memory = spent(r.memory)
	return &r.Value, &r.memory
}

// InvokeInto is Invoke with a result of the caller's: the reply's body is decoded
// into the value that result points to, so that one value can serve many calls. A
// []byte is overwritten if it is large enough. For other values the codec decides
// about the old contents: protobuf empties the value, JSON keeps the fields that are
// not in the body. After an empty body the result is zero. A nil result drops the
// body. After an error the result may be half filled. The result must not be used
// elsewhere until InvokeInto has returned. See Reused for a result with memory of its
// own.
func InvokeInto(ctx context.Context, c Caller, method string, arg, result any, set ...MessageSetting) error {
	own, fast := c.(*session)
	var memory *[]byte
	if r, ok := result.(interface{ reused() (any, *[]byte) }); ok {
		result, memory = r.reused()
	}
	if !fast {
		return callInto(c, method, arg, result, append([]MessageSetting{WithContext(ctx)}, set...))
	}
	cmd := own.commandInto(ctx, result, memory, 0, true)
	gone := cmd.begin(method, arg, set)
	if gone == nil {
		<-cmd.wake
	} else {
		cmd.await(gone)
	}
	return cmd.invoked().Err()
}

// callInto is InvokeInto of a Caller that is no session of this package.
func callInto(c Caller, method string, arg, result any, set []MessageSetting) error {
	if v := reflect.ValueOf(result); v.Kind() == reflect.Pointer && !v.IsNil() {
		v.Elem().SetZero()
	}
	return c.Call(method, arg, result, set...).Rerror().Err()
}

// commandInto returns a pooled command for a call whose reply is decoded into result. The
// caller begins it, waits, and then calls invoked.
func (s *session) commandInto(ctx context.Context, result any, memory *[]byte, mode codec.Mode, over bool) *callCmd {
	cmd := s.command()
	cmd.result, cmd.memory, cmd.mode, cmd.over = result, memory, mode, over
	if ctx != nil {
		cmd.out.SetContext(ctx)
	}
	return cmd
}

// invoked is the rest of a call with a pooled command, after the wait.
func (cmd *callCmd) invoked() *Rerror {
	cmd.end()
	r := cmd.rerr
	cmd.recycle()
	return r
}
