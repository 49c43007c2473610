package tp

import (
	"fmt"
	"go/token"
	"reflect"
	"runtime"
	"strings"
	"sync"
)

var (
	callCtxType = reflect.TypeFor[CallCtx]()
	pushCtxType = reflect.TypeFor[PushCtx]()
	rerrorType  = reflect.TypeFor[*Rerror]()
	errorType   = reflect.TypeFor[error]()
	lockerType  = reflect.TypeFor[sync.Locker]()
)

// shape is what the handlers of CALLs, or those of PUSHes, have in common.
type shape struct {
	kind    kind
	word    string // "call" or "push", in errors
	ctxType reflect.Type
	ctxName string
	want    string // the required signature, without its name
}

var (
	callShape = shape{kindCall, "call", callCtxType, "tp.CallCtx", "(arg *T) (R, *tp.Rerror)"}
	pushShape = shape{kindPush, "push", pushCtxType, "tp.PushCtx", "(arg *T) *tp.Rerror"}
)

// controllerHandlers makes a Handler for each method of a controller: a pointer to
// a struct that embeds the context. It returns the names of the struct and of the
// methods.
func controllerHandlers(s shape, ctrl any) (structName string, names []string, handlers []*Handler, err error) {
	factory, _ := ctrl.(CtrlPoolFunc)
	if f, ok := ctrl.(func() CtrlStructPtr); ok {
		factory = f
	}
	if factory != nil {
		ctrl = factory()
	}
	v := reflect.ValueOf(ctrl)
	if !v.IsValid() || v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return "", nil, nil, fmt.Errorf("tp: %s-handler: the type is not struct point: %T; pass new(X) where type X struct { %s }", s.word, ctrl, s.ctxName)
	}
	t := v.Type()
	prototype, field, err := controller(s, t, v.Elem())
	if err != nil {
		return "", nil, nil, err
	}
	maker := controllerMaker(prototype, field)
	if factory != nil {
		maker = factoryMaker(factory, field)
	}
	for i := range t.NumMethod() {
		m := t.Method(i)
		argElem, reply, bad := s.signature(m.Type, 1)
		if bad != "" {
			if _, inherited := s.ctxType.MethodByName(m.Name); inherited {
				continue // a method of the embedded context
			}
			return "", nil, nil, fmt.Errorf("tp: %s-handler: %s.%s %s; want func (*%s) %s%s",
				s.word, t.Elem(), m.Name, bad, t.Elem().Name(), m.Name, s.want)
		}
		names = append(names, m.Name)
		handlers = append(handlers, s.handler(argElem, reply, m.Func, maker))
	}
	if len(handlers) == 0 {
		return "", nil, nil, fmt.Errorf("tp: %s-handler: %s has no handler method; want func (*%s) Name%s", s.word, t.Elem(), t.Elem().Name(), s.want)
	}
	structName, _, _ = strings.Cut(t.Elem().Name(), "[") // of a generic type
	return structName, names, handlers, nil
}

// controller checks that t points to a struct that embeds the context, and returns a
// copy of the registered value and the index of the context's field.
func controller(s shape, t reflect.Type, registered reflect.Value) (prototype reflect.Value, field int, err error) {
	field = -1
	for i := range t.Elem().NumField() {
		if f := t.Elem().Field(i); f.Anonymous && f.Type == s.ctxType {
			field = i
		}
	}
	if field < 0 {
		return prototype, 0, fmt.Errorf("tp: %s-handler: the struct do not have anonymous field %s: %s; embed it directly: type %s struct { %s }",
			s.word, s.ctxName, t, t.Elem().Name(), s.ctxName)
	}
	if where := uncopyable(t.Elem(), t.Elem().Name()); where != "" {
		return prototype, 0, fmt.Errorf("tp: %s-handler: every call gets a copy of the controller, so it cannot hold %s by value; use a pointer", s.word, where)
	}
	prototype = reflect.New(t.Elem()).Elem()
	if registered.IsValid() {
		prototype.Set(registered)
	}
	return prototype, field, nil
}

// uncopyable names the first part of t that must not be copied: a lock or an atomic. A
// struct that a copy of locks too has its methods from a pointer or an interface.
func uncopyable(t reflect.Type, name string) string {
	if t.PkgPath() == "sync/atomic" || t.PkgPath() == "internal/runtime/atomic" ||
		t.Kind() == reflect.Struct && reflect.PointerTo(t).Implements(lockerType) && !t.Implements(lockerType) {
		return fmt.Sprintf("%s (%s)", name, t)
	}
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if where := uncopyable(f.Type, name+"."+f.Name); where != "" {
				return where
			}
		}
	case reflect.Array:
		return uncopyable(t.Elem(), name+"[]")
	}
	return ""
}

// CtrlStructPtr is a controller: a pointer to a struct that embeds its context.
type CtrlStructPtr = any

// CtrlPoolFunc makes the controller for each call, in place of a copy of a registered
// one. It must always return the same type. Pass it to RouteCall or RoutePush.
type CtrlPoolFunc func() CtrlStructPtr

// factoryMaker gets the controller of each call from the user's function.
func factoryMaker(factory CtrlPoolFunc, field int) func(*handlerCtx) reflect.Value {
	return func(c *handlerCtx) reflect.Value {
		v := reflect.ValueOf(factory())
		setContext(v.Elem().Field(field), c)
		return v
	}
}

// setContext stores c in the context field of a controller. It does so through a
// pointer of the right type: reflect's Set would look up all methods each time.
func setContext(field reflect.Value, c *handlerCtx) {
	switch f := field.Addr().Interface().(type) {
	case *CallCtx:
		*f = c
	case *PushCtx:
		*f = c
	}
}

// controllerMaker makes a copy of the prototype for each call, with its context set.
func controllerMaker(prototype reflect.Value, field int) func(*handlerCtx) reflect.Value {
	t := prototype.Type()
	return func(c *handlerCtx) reflect.Value {
		v := reflect.New(t)
		v.Elem().Set(prototype)
		setContext(v.Elem().Field(field), c)
		return v
	}
}

// funcHandler makes a Handler for a function or a method expression. It returns the
// function's name too.
func funcHandler(s shape, fn any) (name string, h *Handler, err error) {
	v := reflect.ValueOf(fn)
	if !v.IsValid() || v.Kind() != reflect.Func || v.IsNil() {
		return "", nil, fmt.Errorf("tp: %s-handler: not a function: %T; want func(%s, %s", s.word, fn, s.ctxName, s.want[1:])
	}
	full := runtime.FuncForPC(v.Pointer()).Name()
	name = strings.TrimSuffix(full, "[...]") // the suffix of a generic function
	name = name[strings.LastIndexByte(name, '.')+1:]
	t := v.Type()
	if t.NumIn() < 1 {
		return "", nil, fmt.Errorf("tp: %s-handler: %s needs %s as its first argument; want func(%s, %s", s.word, full, s.ctxName, s.ctxName, s.want[1:])
	}
	argElem, reply, bad := s.signature(t, 1)
	if bad != "" {
		return "", nil, fmt.Errorf("tp: %s-handler: %s %s; want func(%s, %s", s.word, full, bad, s.ctxName, s.want[1:])
	}
	first := t.In(0)
	maker := func(c *handlerCtx) reflect.Value { return reflect.ValueOf(c) }
	if first != s.ctxType {
		if first.Kind() != reflect.Pointer || first.Elem().Kind() != reflect.Struct {
			return "", nil, fmt.Errorf("tp: %s-handler: the first argument of %s must be %s or a struct pointer that embeds it, not %s", s.word, full, s.ctxName, first)
		}
		prototype, field, err := controller(s, first, reflect.Value{})
		if err != nil {
			return "", nil, err
		}
		maker = controllerMaker(prototype, field)
	}
	return name, s.handler(argElem, reply, v, maker), nil
}

// signature checks the parameters after the first skip ones, the receiver or the
// context, and the results. bad says what is wrong, "" if nothing is.
func (s shape) signature(t reflect.Type, skip int) (argElem, reply reflect.Type, bad string) {
	if n := t.NumIn() - skip; n != 1 {
		return nil, nil, fmt.Sprintf("needs one in argument, but have %d", n)
	}
	arg := t.In(skip)
	if arg.Kind() != reflect.Pointer {
		return nil, nil, fmt.Sprintf("arg type need be a pointer: %s", arg)
	}
	if !exported(arg.Elem()) {
		return nil, nil, fmt.Sprintf("arg type not exported: %s", arg)
	}
	outs := 2
	if s.kind == kindPush {
		outs = 1
	}
	if t.NumOut() != outs {
		word := map[int]string{1: "one out argument", 2: "two out arguments"}[outs]
		return nil, nil, fmt.Sprintf("needs %s, but have %d", word, t.NumOut())
	}
	if last := t.Out(outs - 1); last != rerrorType && last != errorType {
		word := map[int]string{1: "out argument", 2: "second out argument"}[outs]
		return nil, nil, fmt.Sprintf("%s %s is not *tp.Rerror", word, last)
	}
	if s.kind == kindCall {
		reply = t.Out(0)
		if !exported(reply) {
			return nil, nil, fmt.Sprintf("first out argument type not exported: %s", reply)
		}
	}
	return arg.Elem(), reply, ""
}

func exported(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath() == "" || token.IsExported(t.Name()) || t.Name() == ""
}

// handler makes the Handler that calls fn with the result of maker and the argument.
func (s shape) handler(argElem, reply reflect.Type, fn reflect.Value, maker func(*handlerCtx) reflect.Value) *Handler {
	newArg := func(*handlerCtx) any { return reflect.New(argElem).Interface() }
	asError := fn.Type().Out(fn.Type().NumOut()-1) == errorType
	return &Handler{
		kind: s.kind, argElem: argElem, replyType: reply, newArg: newArg,
		invoke: func(c *handlerCtx, arg any) (any, *Rerror) {
			in := [2]reflect.Value{maker(c), reflect.ValueOf(arg)}
			out := fn.Call(in[:])
			if r := failure(out[len(out)-1], asError); r != nil {
				return nil, r
			}
			if s.kind == kindPush {
				return nil, nil
			}
			return out[0].Interface(), nil
		},
	}
}

// failure returns the error in a handler's last result, nil for success.
func failure(v reflect.Value, asError bool) *Rerror {
	if v.IsNil() {
		return nil
	}
	if asError {
		return ToRerror(v.Interface().(error))
	}
	if r := v.Interface().(*Rerror); r.HasError() {
		return r
	}
	return nil
}
