package tp

import (
	"context"
	"reflect"
	"sync"

	"github.com/teleport-go/teleport/core/codec"
)

// Invoke is a typed Call: it waits for the reply, the end of ctx, or the end of
// the session, whichever is first. The error matches the tp.Err sentinels and
// the context errors (errors.Is); tp.ToRerror gives the Rerror back. arg is only
// read, and not after Invoke has returned. A Reply of a pointer type gets a new
// value; it is not nil even if the reply's body is empty.
func Invoke[Reply any](ctx context.Context, s CtxSession, method string, arg any, set ...MessageSetting) (Reply, error) {
	var zero Reply
	t := reflect.TypeFor[Reply]()
	own, fast := s.(*session)
	if !fast {
		var reply Reply
		result := any(&reply)
		if t.Kind() == reflect.Pointer {
			reply = reflect.New(t.Elem()).Interface().(Reply)
			result = reply
		}
		all := append([]MessageSetting{WithContext(ctx)}, set...)
		if r := s.Call(method, arg, result, all...).Rerror(); r.HasError() {
			return zero, r.Err()
		}
		return reply, nil
	}
	if t.Kind() == reflect.Pointer {
		reply := reflect.New(t.Elem()).Interface().(Reply)
		if r := own.invoke(ctx, method, arg, reply, nil, codec.Fresh, false, set); r.HasError() {
			return zero, r.Err()
		}
		return reply, nil
	}
	pool := resultPool[Reply](t)
	box := pool.Get().(*Reply)
	r := own.invoke(ctx, method, arg, box, nil, codec.Fresh, false, set)
	reply := *box
	*box = zero
	pool.Put(box)
	if r.HasError() {
		return zero, r.Err()
	}
	return reply, nil
}

// results holds a pool of results for each type of reply, so that Invoke needs no
// memory for what it returns by value.
var results sync.Map // reflect.Type to *sync.Pool

func resultPool[Reply any](t reflect.Type) *sync.Pool {
	if p, ok := results.Load(t); ok {
		return p.(*sync.Pool)
	}
	p, _ := results.LoadOrStore(t, &sync.Pool{New: func() any { return new(Reply) }})
	return p.(*sync.Pool)
}
