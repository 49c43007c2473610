package formcodec

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
)

var errNoPointer = errors.New("no pointer to a struct or a map, or nil")

func decode(data []byte, v any) error {
	switch v := v.(type) {
	case *url.Values:
		if v != nil {
			return fillValues(data, (*map[string][]string)(v))
		}
	case *map[string][]string:
		if v != nil {
			return fillValues(data, v)
		}
	case *map[string]string:
		if v != nil {
			return fillStrings(data, v)
		}
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Pointer, reflect.Map:
		if r.IsNil() {
			return errNoPointer
		}
	default:
		return errNoPointer
	}
	base, err := baseOf(r.Type())
	if err != nil {
		return err
	}
	if base.Kind() == reflect.Interface && base.NumMethod() == 0 {
		var m map[string][]string
		if err := fillValues(data, &m); err != nil {
			return err
		}
		if r, err = deref(r); err == nil {
			r.Set(reflect.ValueOf(url.Values(m)))
		}
		return err
	}
	p := planOf(base)
	if p.err != nil {
		return p.err
	}
	if r, err = deref(r); err != nil {
		return err
	}
	if r.Kind() == reflect.Map {
		return decodeMap(data, p, r)
	}
	return decodeStruct(data, p, r)
}

// fillValues adds the pairs of a form to a map and replaces the values of keys that
// are in it already. The map is not nil afterwards.
func fillValues(data []byte, m *map[string][]string) error {
	return fill(data, m, func(all map[string][]string, k, v []byte) {
		all[string(k)] = append(all[string(k)], string(v))
	})
}

// fillStrings is fillValues with the first value of each key.
func fillStrings(data []byte, m *map[string]string) error {
	return fill(data, m, func(all map[string]string, k, v []byte) {
		if _, ok := all[string(k)]; !ok {
			all[string(k)] = string(v)
		}
	})
}

func fill[V any](data []byte, m *map[string]V, add func(all map[string]V, k, v []byte)) error {
	all := make(map[string]V)
	for p := (pairs{rest: data}); ; {
		k, v, ok, err := p.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		add(all, k, v)
	}
	if *m == nil {
		*m = all
	} else {
		maps.Copy(*m, all)
	}
	return nil
}

func decodeMap(data []byte, p *plan, m reflect.Value) error {
	var all map[string][]string
	if err := fillValues(data, &all); err != nil {
		return err
	}
	if m.IsNil() {
		m.Set(reflect.MakeMapWithSize(m.Type(), len(all)))
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		elem := reflect.New(m.Type().Elem()).Elem()
		for i, text := range all[k] {
			if err := p.elem.set(elem, i, []byte(text)); err != nil {
				return fmt.Errorf("key %s: %s: %w", quote(k), quote(text), err)
			}
		}
		key := reflect.New(m.Type().Key()).Elem()
		key.SetString(k)
		m.SetMapIndex(key, elem)
	}
	return nil
}

func decodeStruct(data []byte, p *plan, s reflect.Value) error {
	var few [32]int
	seen := few[:] // the number of values so far, by field
	if len(p.fields) > len(seen) {
		seen = make([]int, len(p.fields))
	}
	for ps := (pairs{rest: data}); ; {
		k, v, ok, err := ps.next()
		if err != nil || !ok {
			return err
		}
		i, known := p.byName[string(k)]
		if !known {
			continue
		}
		f := &p.fields[i]
		if err := f.set(s, seen[i], v); err != nil {
			return fmt.Errorf("field %q: %s: %w", f.name, quote(v), err)
		}
		seen[i]++
	}
}

// set sets the field of a struct from the nth text of its name.
func (f *field) set(s reflect.Value, n int, text []byte) error {
	if !f.shape.wants(n, text) {
		return nil
	}
	for i, at := range f.index {
		if i > 0 {
			var err error
			if s, err = deref(s); err != nil {
				return err
			}
		}
		s = s.Field(at)
	}
	return f.shape.set(s, n, text)
}

// wants reports whether the nth text changes anything.
func (s *shape) wants(n int, text []byte) bool {
	return s.list != reflect.Invalid || n == 0 && !(s.text.emptyIsNone && len(text) == 0)
}

// set sets v, or what it points to, from the nth text for it.
func (s *shape) set(v reflect.Value, n int, text []byte) error {
	if !s.wants(n, text) {
		return nil
	}
	v, err := deref(v)
	if err != nil {
		return err
	}
	switch s.list {
	case reflect.Slice:
		if n == 0 {
			v.SetZero() // the old elements may be shared
			v.Grow(4)
		}
		v.Grow(1)
		v.SetLen(n + 1)
		v = v.Index(n)
		v.SetZero()
	case reflect.Array:
		if n == 0 {
			v.SetZero()
		}
		if n >= v.Len() {
			return nil
		}
		v = v.Index(n)
	}
	if s.text.emptyIsNone && len(text) == 0 {
		return nil
	}
	if v, err = deref(v); err != nil {
		return err
	}
	return s.text.set(v, text)
}
