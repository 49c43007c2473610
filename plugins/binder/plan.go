package binder

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode"

	tp "github.com/teleport-go/teleport/core"
)

// plan is what is done with arguments of one type. It does not change.
type plan struct{ params []param }

// param is one field with a tag.
type param struct {
	name    string // in errors
	index   []int  // of the field, for reflect
	fill    func(ctx tp.ReadCtx, field reflect.Value) error
	checks  []check
	code    int32  // of the error; 0 keeps
	message string // of the error; empty keeps
}

// check is one condition. Its error is the reason.
type check func(field reflect.Value) error

// apply fills in and checks the parameter of an argument.
func (p *param) apply(ctx tp.ReadCtx, arg reflect.Value) error {
	field := arg.FieldByIndex(p.index)
	if p.fill != nil {
		if err := p.fill(ctx, field); err != nil {
			return err
		}
	}
	for _, c := range p.checks {
		if err := c(field); err != nil {
			return err
		}
	}
	return nil
}

// rename puts in what the tag says of the error. r may be shared.
func (p *param) rename(r *tp.Rerror) *tp.Rerror {
	if p.code == 0 && p.message == "" {
		return r
	}
	r = r.Copy()
	if p.code != 0 {
		r.Code = p.code
	}
	if p.message != "" {
		r.Message = p.message
	}
	return r
}

// compile reads the tags of a struct.
func compile(t reflect.Type) (*plan, error) {
	p := new(plan)
	if err := p.walk(t, nil, "", true); err != nil {
		return nil, fmt.Errorf("binder: %w", err)
	}
	return p, nil
}

// walk adds the fields of t, which is at index in the argument. flat says that its
// fields are the argument's own: all of them are embedded.
func (p *plan) walk(t reflect.Type, index []int, prefix string, flat bool) error {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(index[:len(index):len(index)], i)
		text, tagged := f.Tag.Lookup(tagName)
		switch {
		case text == tagIgnore:
		case tagged:
			pa, err := newParam(f, text)
			if err != nil {
				return fmt.Errorf("%s.%s %w", t, f.Name, err)
			}
			pa.index, pa.name = at, prefix+pa.name
			p.params = append(p.params, pa)
		case f.Type.Kind() == reflect.Struct && f.Anonymous:
			if err := p.walk(f.Type, at, prefix, flat); err != nil {
				return err
			}
		case f.Type.Kind() == reflect.Struct && f.IsExported():
			if err := p.walk(f.Type, at, prefix+snake(f.Name)+".", false); err != nil {
				return err
			}
		case f.Anonymous && f.IsExported() && flat:
			return fmt.Errorf("%s.%s anonymous field can only be struct type", t, f.Name)
		}
	}
	return nil
}

func newParam(f reflect.StructField, text string) (pa param, err error) {
	if !f.IsExported() {
		return pa, fmt.Errorf("can not be a non-settable field")
	}
	if f.Type.Kind() == reflect.Pointer {
		return pa, fmt.Errorf("can not be a pointer field")
	}
	t, err := parseTag(text)
	if err != nil {
		return pa, fmt.Errorf("invalid `param` tag: %w", err)
	}
	if t.has(keyRerr) {
		if pa.code, pa.message, err = parseRerr(t[keyRerr]); err != nil {
			return pa, err
		}
	}
	if err := pa.fillFrom(f, t); err != nil {
		return pa, err
	}
	return pa, pa.addChecks(f.Type, t)
}

// parseRerr reads code:message.
func parseRerr(text string) (code int32, message string, err error) {
	number, message, found := strings.Cut(text, ":")
	number = strings.TrimSpace(number)
	n := int64(0)
	if number != "" {
		n, err = strconv.ParseInt(number, 10, 32)
	}
	if !found || err != nil {
		return 0, "", fmt.Errorf("invalid `rerr` tag (correct example: `<rerr: 100001: Invalid Parameter>`)")
	}
	return int32(n), strings.TrimSpace(message), nil
}

// fillFrom finds out where the value comes from, and names the parameter.
func (p *param) fillFrom(f reflect.StructField, t tag) error {
	switch {
	case t.has(keyMeta) && t.has(keySwap):
		return fmt.Errorf("can not be from both meta and swap")
	case t.has(keyMeta):
		if !fromTexts(f.Type) {
			return fmt.Errorf("can not be from meta: %s", f.Type)
		}
		name := named(t[keyMeta], f)
		p.name, p.fill = name, func(ctx tp.ReadCtx, field reflect.Value) error {
			return setTexts(field, ctx.Input().Meta().PeekMulti(name))
		}
	case t.has(keySwap):
		name := named(t[keySwap], f)
		p.name, p.fill = name, func(ctx tp.ReadCtx, field reflect.Value) error {
			v, ok := ctx.Swap().Load(name)
			if !ok {
				return nil
			}
			return setValue(field, v)
		}
	default:
		p.name = snake(f.Name)
	}
	return nil
}

func named(name string, f reflect.StructField) string {
	if name == "" {
		return snake(f.Name)
	}
	return name
}

// addChecks adds the conditions in the order in which they are tried.
func (p *param) addChecks(t reflect.Type, tags tag) error {
	if text, ok := tags[keyLen]; ok {
		switch t.Kind() {
		case reflect.String, reflect.Slice, reflect.Map, reflect.Array:
		default:
			return fmt.Errorf("invalid `len` tag for field value")
		}
		if err := p.addCheck(lengthCheck(text)); err != nil {
			return err
		}
	}
	if text, ok := tags[keyRange]; ok {
		if !isNumber(memberOf(t)) {
			return fmt.Errorf("invalid `range` tag for non-number field")
		}
		if err := p.addCheck(eachOf(t, rangeCheck)(text)); err != nil {
			return err
		}
	}
	if tags.has(keyNonzero) {
		p.checks = append(p.checks, nonzeroCheck)
	}
	if text, ok := tags[keyRegexp]; ok {
		if memberOf(t).Kind() != reflect.String {
			return fmt.Errorf("invalid `regexp` tag for non-string field")
		}
		if err := p.addCheck(eachOf(t, regexpCheck)(text)); err != nil {
			return err
		}
	}
	return nil
}

func (p *param) addCheck(c check, err error) error {
	if err != nil {
		return fmt.Errorf("invalid validation failed: %w", err)
	}
	p.checks = append(p.checks, c)
	return nil
}

// memberOf is the type of a slice's or an array's elements; of all else itself.
func memberOf(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
		return t.Elem()
	}
	return t
}

// snake makes aa_bb of AaBb: an upper-case letter begins a word unless it follows
// another one.
func snake(name string) string {
	var b strings.Builder
	prev := '_'
	for _, r := range name {
		if unicode.IsUpper(r) && !unicode.IsUpper(prev) && prev != '_' {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
		prev = r
	}
	return b.String()
}
