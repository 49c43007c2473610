package formcodec

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
)

// encoder appends pairs to b.
type encoder struct {
	b     []byte
	start int // offset of the form in b
	n     int // number of pairs so far
}

func (e *encoder) encode(v any) error {
	switch v := v.(type) {
	case nil:
		return nil
	case url.Values:
		return e.values(v)
	case map[string][]string:
		return e.values(v)
	case map[string]string:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if err := e.key(k); err != nil {
				return err
			}
			e.b = appendEscaped(e.b, v[k])
		}
		return nil
	}
	r := reflect.ValueOf(v)
	for range maxPointers {
		switch r.Kind() {
		case reflect.Pointer:
			if !r.IsNil() {
				r = r.Elem()
				continue
			}
			return refusal(r.Type())
		case reflect.Interface:
			if r.IsNil() {
				return nil
			}
			r = r.Elem()
			continue
		}
		break
	}
	p := planOf(r.Type())
	if p.err != nil {
		return p.err
	}
	if r.Kind() == reflect.Map {
		return e.encodeMap(p, r)
	}
	return e.encodeStruct(p, r)
}

// refusal returns why values of a type are refused, nil if they are not. It is for
// nil pointers, which have no value to encode.
func refusal(t reflect.Type) error {
	base, err := baseOf(t)
	if err != nil || base.Kind() == reflect.Interface {
		return err
	}
	return planOf(base).err
}

// key begins a pair.
func (e *encoder) key(k string) error {
	if err := e.pair(); err != nil {
		return err
	}
	e.b = append(appendEscaped(e.b, k), '=')
	return nil
}

// pair counts a pair and separates it from the previous one.
func (e *encoder) pair() error {
	if e.n++; e.n > maxPairs {
		return tooMany(maxPairs + 1)
	}
	if len(e.b) > e.start {
		e.b = append(e.b, '&')
	}
	return nil
}

func (e *encoder) values(v map[string][]string) error {
	for _, k := range slices.Sorted(maps.Keys(v)) {
		for _, text := range v[k] {
			if err := e.key(k); err != nil {
				return err
			}
			e.b = appendEscaped(e.b, text)
		}
	}
	return nil
}

func (e *encoder) encodeMap(p *plan, m reflect.Value) error {
	keys := m.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
	var key []byte
	for _, k := range keys {
		key = append(appendEscaped(key[:0], k.String()), '=')
		if err := e.encodeShape(&p.elem, string(key), m.MapIndex(k)); err != nil {
			return fmt.Errorf("key %s: %w", quote(k.String()), err)
		}
	}
	return nil
}

func (e *encoder) encodeStruct(p *plan, s reflect.Value) error {
	for i := range p.fields {
		f := &p.fields[i]
		v, ok := f.in(s)
		if !ok || f.omitEmpty && v.IsZero() {
			continue
		}
		if err := e.encodeShape(&f.shape, f.key, v); err != nil {
			return fmt.Errorf("field %q: %w", f.name, err)
		}
	}
	return nil
}

// in returns the field of a struct; ok is false if a pointer to it is nil.
func (f *field) in(s reflect.Value) (_ reflect.Value, ok bool) {
	for i, at := range f.index {
		if i > 0 {
			if s, ok = follow(s); !ok {
				return s, false
			}
		}
		s = s.Field(at)
	}
	return s, true
}

var errNilText = errors.New("a nil pointer in a list, where an empty text is a value")

// encodeShape appends the pairs of a value. The key is escaped and has its "=".
func (e *encoder) encodeShape(s *shape, key string, v reflect.Value) error {
	v, ok := follow(v)
	if !ok {
		return nil
	}
	if s.list == reflect.Invalid {
		return e.encodeText(s, key, v)
	}
	for i := range v.Len() {
		// A nil pointer keeps its place in the list, with an empty text.
		if _, ok := follow(v.Index(i)); !ok && !s.text.emptyIsNone {
			return errNilText
		}
		if err := e.encodeText(s, key, v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder) encodeText(s *shape, key string, v reflect.Value) error {
	if err := e.pair(); err != nil {
		return err
	}
	e.b = append(e.b, key...)
	v, ok := follow(v)
	if !ok {
		return nil
	}
	var err error
	e.b, err = s.text.append(e.b, v)
	return err
}
