package formcodec

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

const (
	maxPointers = 8  // bounds baseOf for a type that is a pointer to itself
	maxDepth    = 32 // of structs in structs
)

// plan describes how values of a type are encoded and decoded. It is immutable.
type plan struct {
	err    error // why the type is refused; the other fields are empty then
	elem   shape // of the values of a map
	fields []field
	byName map[string]int // index in fields
}

// field is a field of a struct, or of a struct inside.
type field struct {
	name      string
	key       string // the name, escaped, and "="
	goName    string // for errors: Outer.Inner
	index     []int  // of the fields that lead to it from the outermost struct
	omitEmpty bool
	shape     shape
}

// shape describes the value of a name: one text, or a list of texts. There may be
// pointers to the list and to each text.
type shape struct {
	list reflect.Kind // Slice, Array, or Invalid for one text
	text text
}

var plans sync.Map // reflect.Type of a struct or a map → *plan

func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	p, err := newPlan(t)
	if err != nil {
		p = &plan{err: err}
	}
	known, _ := plans.LoadOrStore(t, p)
	return known.(*plan)
}

var errFlat = errors.New("a form is a struct, or a map with strings as keys")

func newPlan(t reflect.Type) (*plan, error) {
	switch t.Kind() {
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return nil, errFlat
		}
		elem, err := shapeOf(t.Elem(), "")
		return &plan{elem: elem}, err
	case reflect.Struct:
		var all fields
		if err := all.add(t, nil, ""); err != nil {
			return nil, err
		}
		if len(all.list) == 0 && isText(t) {
			return nil, errFlat // as time.Time
		}
		chosen, err := all.choose()
		if err != nil {
			return nil, err
		}
		p := &plan{fields: chosen, byName: make(map[string]int, len(chosen))}
		for i, f := range chosen {
			p.byName[f.name] = i
		}
		return p, nil
	}
	return nil, errFlat
}

// fields collects the fields of a struct.
type fields struct {
	list []field
	path []reflect.Type // the structs around the current one
}

// add adds the fields of the struct t, which is at index.
func (all *fields) add(t reflect.Type, index []int, goName string) error {
	if slices.Contains(all.path, t) {
		return fmt.Errorf("field %s: %v is inside itself, and a form is flat", goName, t)
	}
	if len(all.path) == maxDepth {
		return fmt.Errorf("field %s: structs are nested deeper than %d", goName, maxDepth)
	}
	all.path = append(all.path, t)
	defer func() { all.path = all.path[:len(all.path)-1] }()
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, tagged := cutTag(f)
		if !tagged && options == "-" {
			continue
		}
		base, err := baseOf(f.Type)
		inner := err == nil && base.Kind() == reflect.Struct && !isText(base)
		if !f.IsExported() && !(f.Anonymous && inner) {
			continue
		}
		goName := strings.TrimPrefix(goName+"."+f.Name, ".")
		if err != nil {
			return fmt.Errorf("field %s: %w", goName, err)
		}
		index := append(slices.Clip(index), i)
		if inner {
			if tagged {
				return fmt.Errorf("field %s: a form is flat: a struct cannot have the name %q", goName, name)
			}
			if err := all.add(base, index, goName); err != nil {
				return err
			}
			continue
		}
		s, err := shapeOf(f.Type, f.Tag)
		if err != nil {
			return fmt.Errorf("field %s: %w", goName, err)
		}
		if len(all.list) == maxPairs {
			return fmt.Errorf("field %s: more than %d fields", goName, maxPairs)
		}
		all.list = append(all.list, field{
			name:      name,
			key:       string(appendEscaped(nil, name)) + "=",
			goName:    goName,
			index:     index,
			omitEmpty: options == "omitempty",
			shape:     s,
		})
	}
	return nil
}

// cutTag returns the name of a field, whether a tag gives it, and the options that
// follow the name in the tag. A field to leave out has no tag and the option "-".
func cutTag(f reflect.StructField) (name, options string, tagged bool) {
	tag := f.Tag.Get("form")
	if tag == "-" {
		return "", "-", false
	}
	name, options, _ = strings.Cut(tag, ",")
	if name == "" {
		return f.Name, options, false
	}
	return name, options, true
}

// choose returns one field for each name: the least deeply nested one.
func (all *fields) choose() ([]field, error) {
	best := make(map[string]int)
	for i, f := range all.list {
		if j, ok := best[f.name]; !ok || len(f.index) < len(all.list[j].index) {
			best[f.name] = i
		}
	}
	var chosen []field
	for i, f := range all.list {
		first := all.list[best[f.name]]
		if best[f.name] == i {
			chosen = append(chosen, f)
		} else if len(f.index) == len(first.index) {
			return nil, fmt.Errorf("fields %s and %s have the same name %q", first.goName, f.goName, f.name)
		}
	}
	return chosen, nil
}

// shapeOf returns the shape of a value of type t, in a field with that tag.
func shapeOf(t reflect.Type, tag reflect.StructTag) (shape, error) {
	base, err := baseOf(t)
	if err != nil {
		return shape{}, err
	}
	if s, err := textOf(base, tag); err != errNoText {
		return shape{text: s}, err
	}
	if kind := base.Kind(); kind == reflect.Slice || kind == reflect.Array {
		elem, err := baseOf(base.Elem())
		if err != nil {
			return shape{}, err
		}
		if s, err := textOf(elem, tag); err != errNoText {
			return shape{kind, s}, err
		}
	}
	return shape{}, fmt.Errorf("a form cannot carry %v", t)
}

// baseOf returns what t points to, through all pointers, or t itself.
func baseOf(t reflect.Type) (reflect.Type, error) {
	base := t
	for range maxPointers {
		if base.Kind() != reflect.Pointer {
			return base, nil
		}
		base = base.Elem()
	}
	return nil, fmt.Errorf("%v is too many pointers in a row", t)
}

// follow returns what v points to, through all pointers, or v itself; ok is false
// if one of them is nil.
func follow(v reflect.Value) (reflect.Value, bool) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return v, false
		}
		v = v.Elem()
	}
	return v, true
}

// deref returns what v points to, as follow does, and allocates a value for each nil
// pointer on the way.
func deref(v reflect.Value) (reflect.Value, error) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			if !v.CanSet() {
				return v, fmt.Errorf("the embedded pointer to %v is nil, and not exported", v.Type().Elem())
			}
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	return v, nil
}
