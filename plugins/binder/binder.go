// Package binder is a plugin that fills in and checks the arguments of handlers
// by the tags of their fields:
//
//	type Divide struct {
//		A   int    `param:"<range:-1000:1000>"`
//		B   int    `param:"<nonzero><rerr:1001:division by zero>"`
//		Who string `param:"<meta:user><len:1:64>"`
//	}
//
// It works on arguments that are structs, of calls and of pushes, after they were
// decoded and before the handler runs. What fails is the reply; a push is dropped.
//
// A tag is a row of <key> and <key:value>; text between them is ignored, as
// are spaces around keys and values. \< and \> are the characters. A field with
// the tag "-" or without a tag is left alone.
//
//	<meta> <meta:name>   fill it from the metadata; if the key is absent it stays as decoded
//	<swap> <swap:name>   fill it from ctx.Swap()
//	<len:a:b>            length of a string (bytes), slice, array or map
//	<range:a:b>          number; each one of a slice or array
//	<nonzero>            not the zero value, and no empty slice or map
//	<regexp:expr>        a string matches; each one of a slice or array
//	<rerr:code:message>  code and message of the error; 0 and nothing keep the usual
//	<desc:text>          for people
//
// a:b is from a to b, both included; a: and :b leave one side open; a alone is
// exactly a. Names are the field's in snake case unless they are given. Structs in
// the argument that have no tag are walked, a struct with one is a value.
package binder

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"

	tp "github.com/teleport-go/teleport/core"
)

// ErrorFunc makes the error of an argument that was refused: handler is the service
// method, param the parameter's name (empty if a validator refused it), reason the
// text for people. It is called concurrently. The error is not changed; nil means
// the default error.
type ErrorFunc func(handler, param, reason string) *tp.Rerror

// StructArgsBinder is the plugin. One may be given to many peers, groups and
// handlers; its methods may be called concurrently, while it serves.
type StructArgsBinder struct {
	errFunc  atomic.Pointer[ErrorFunc]
	validate atomic.Pointer[func(any) error]
	plans    sync.Map // reflect.Type of a struct to *plan
}

var (
	_ tp.PostRegPlugin          = (*StructArgsBinder)(nil)
	_ tp.PostReadCallBodyPlugin = (*StructArgsBinder)(nil)
	_ tp.PostReadPushBodyPlugin = (*StructArgsBinder)(nil)
)

// NewStructArgsBinder returns the plugin. fn is as for SetErrorFunc.
func NewStructArgsBinder(fn ErrorFunc) *StructArgsBinder {
	b := new(StructArgsBinder)
	b.SetErrorFunc(fn)
	return b
}

// SetErrorFunc sets the function that makes the errors. nil is the default: 400 "Invalid
// Parameter", whose reason is JSON: {"handler": …, "param": …, "reason": …}.
func (b *StructArgsBinder) SetErrorFunc(fn ErrorFunc) {
	if fn == nil {
		fn = invalidParameter
	}
	b.errFunc.Store(&fn)
}

// SetValidator sets a function that checks every argument that is a struct, with
// or without tags, once the tags are satisfied. It gets the pointer that the
// handler will get, and may be called concurrently. The text of its error is the
// reason; an error made by Rerror.Err is the reply as it is. nil, the default,
// checks nothing.
func (b *StructArgsBinder) SetValidator(validate func(arg any) error) {
	if validate == nil {
		b.validate.Store(nil)
		return
	}
	b.validate.Store(&validate)
}

// Name returns "StructArgsBinder".
func (*StructArgsBinder) Name() string { return "StructArgsBinder" }

// PostReg compiles the tags of a handler's argument. An error says which field of
// which struct has a tag that cannot work.
func (b *StructArgsBinder) PostReg(h *tp.Handler) error {
	t := h.ArgElemType()
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	_, err := b.plan(t)
	return err
}

// PostReadCallBody fills in and checks the argument of a CALL.
func (b *StructArgsBinder) PostReadCallBody(ctx tp.ReadCtx) *tp.Rerror { return b.bind(ctx) }

// PostReadPushBody fills in and checks the argument of a PUSH.
func (b *StructArgsBinder) PostReadPushBody(ctx tp.ReadCtx) *tp.Rerror { return b.bind(ctx) }

// plan returns the plan for arguments of a type. It is not looked up by the name of
// the handler: peers that share the plugin may have other handlers of that name.
func (b *StructArgsBinder) plan(t reflect.Type) (*plan, error) {
	if p, ok := b.plans.Load(t); ok {
		return p.(*plan), nil
	}
	p, err := compile(t)
	if err != nil {
		return nil, err
	}
	b.plans.Store(t, p)
	return p, nil
}

func (b *StructArgsBinder) bind(ctx tp.ReadCtx) *tp.Rerror {
	arg := ctx.Input().Body()
	v := reflect.ValueOf(arg)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil
	}
	// A route that was registered before the plugin has not been through PostReg.
	p, err := b.plan(v.Elem().Type())
	if err != nil {
		return tp.NewRerror(tp.CodeInternalServerError, tp.CodeText(tp.CodeInternalServerError), err.Error())
	}
	for i := range p.params {
		param := &p.params[i]
		if err := param.apply(ctx, v.Elem()); err != nil {
			return param.rename(b.refusal(ctx, param.name, err.Error()))
		}
	}
	if validate := b.validate.Load(); validate != nil {
		if err := (*validate)(arg); err != nil {
			if tp.Code(err) != tp.CodeUnknownError {
				return tp.ToRerror(err)
			}
			return b.refusal(ctx, "", err.Error())
		}
	}
	return nil
}

// refusal is always an error: an ErrorFunc cannot let an argument pass.
func (b *StructArgsBinder) refusal(ctx tp.ReadCtx, param, reason string) *tp.Rerror {
	if r := (*b.errFunc.Load())(ctx.Path(), param, reason); r.HasError() {
		return r
	}
	return invalidParameter(ctx.Path(), param, reason)
}

func invalidParameter(handler, param, reason string) *tp.Rerror {
	return tp.NewRerror(tp.CodeBadMessage, "Invalid Parameter",
		fmt.Sprintf(`{"handler": %s, "param": %s, "reason": %s}`, quoted(handler), quoted(param), quoted(reason)))
}

// quoted is a string of JSON, for people: < and > stay what they are.
func quoted(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return `""` // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}
