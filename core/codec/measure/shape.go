package measure

import (
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/teleport-go/teleport/core/codec"
)

// Format is how a library that decodes by reflection sees Go types. Its fields do not
// change after the first use; its methods may be called concurrently.
type Format struct {
	// Name returns the name of a field in the encoding. It returns false if the field
	// is not encoded. An empty name of an embedded struct means that the fields in it
	// are as if they were declared outside.
	Name func(f reflect.StructField) (name string, ok bool)
	// Methods are those by which a type decodes itself. What such a value takes is
	// its own matter: its size is counted, not what it refers to.
	Methods codec.Methods
	// MinValue is how many bytes a value in a list takes at least in the encoding.
	MinValue int
	// Path separates the names of elements around a field in its name; empty if there
	// is no such thing.
	Path string
	// Others is the name of the field for what no other field has the name of; empty
	// if there is no such thing.
	Others string
	// Repeats reports that a field which is a list takes an element for each time its
	// name occurs, instead of a list.
	Repeats bool

	plans sync.Map // reflect.Type → *plan
}

// shape describes what values of a type take. It is immutable once its format has
// returned it.
type shape struct {
	kind kind
	size int // of the value itself
	elem *shape
	key  int // size of the key of a map
	// The fields of a struct.
	exact  map[string]*shape
	folded map[string]*shape // by the name in lower case
	order  []*shape
	others *shape
}

type kind uint8

const (
	leaf    kind = iota
	pointer      // to elem
	list         // a slice
	array        // its elements are in it
	mapping      // a map
	record       // a struct
	dynamic      // an any: what it holds depends on the body
)

// What an any takes for what it holds.
const (
	anySize  = 2 * wordSize
	anyValue = 2 * wordSize // a text or a number
	anyList  = 3 * wordSize
	anyMap   = 6 * wordSize
)

// planFor returns the plan of the value that v points to, nil if v is no pointer, or
// nil.
func (f *Format) planFor(v any) *plan {
	r := reflect.ValueOf(v)
	for r.Kind() == reflect.Pointer && !r.IsNil() && isFull(r.Elem()) {
		r = r.Elem()
		if r.Kind() == reflect.Interface {
			r = r.Elem()
		}
	}
	if r.Kind() == reflect.Map { // some codecs fill it in place
		return f.planOf(r.Type())
	}
	if r.Kind() != reflect.Pointer || r.IsNil() {
		return nil
	}
	return f.planOf(r.Type().Elem())
}

// isFull reports whether v is a pointer, or an interface that holds one: values are
// decoded into what it points to.
func isFull(v reflect.Value) bool {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	return v.Kind() == reflect.Pointer && !v.IsNil()
}

// plan is the shape of what a body is decoded into, and what is known of it.
type plan struct {
	*shape
	worst int // what one value of the body takes at most, wherever it is
}

func (f *Format) planOf(t reflect.Type) *plan {
	if p, ok := f.plans.Load(t); ok {
		return p.(*plan)
	}
	b := builder{f, make(map[reflect.Type]*shape)}
	p := &plan{shape: b.shape(t)}
	for _, s := range b.known {
		p.worst = max(p.worst, s.worst())
	}
	f.plans.Store(t, p)
	return p
}

// worst returns what one value takes at most that is an element or a field of a value of
// the shape, or the value itself.
func (s *shape) worst() int {
	switch s.kind {
	case pointer, array:
		return s.elem.outside()
	case list:
		return s.elem.size + s.elem.outside()
	case mapping:
		return FirstEntry(s.key, s.elem.size) + s.elem.outside()
	case dynamic:
		return FirstEntry(anySize, anySize) + anyMap
	case record:
		most := 0
		for _, f := range s.order {
			most = max(most, f.outside())
		}
		return most
	}
	return 0
}

// outside returns what a value of the shape refers to, at most, without its elements.
func (s *shape) outside() int {
	t, held := s.target()
	if t.kind == mapping || t.kind == dynamic {
		held += anyMap
	}
	return held
}

// maxPointers bounds target for a type that is a pointer to itself.
const maxPointers = 8

// target returns what a value of the shape points to, through all pointers, and how many
// bytes that is beside the value itself.
func (s *shape) target() (*shape, int) {
	held := 0
	for range maxPointers {
		if s.kind != pointer {
			break
		}
		s = s.elem
		held += s.size
	}
	return s, held
}

type builder struct {
	*Format
	known map[reflect.Type]*shape
}

// shape returns the shape of a type, which may be incomplete until the outermost call
// has returned.
func (b *builder) shape(t reflect.Type) *shape {
	if s, ok := b.known[t]; ok {
		return s
	}
	s := &shape{size: int(t.Size())}
	b.known[t] = s
	if b.hasMethods(t) {
		return s
	}
	switch t.Kind() {
	case reflect.Pointer:
		s.kind, s.elem = pointer, b.shape(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Uint8 {
			s.kind, s.elem = list, b.shape(t.Elem())
		}
	case reflect.Array:
		if t.Elem().Kind() != reflect.Uint8 {
			s.kind, s.elem = array, b.shape(t.Elem())
		}
	case reflect.Map:
		s.kind, s.key, s.elem = mapping, int(t.Key().Size()), b.shape(t.Elem())
	case reflect.Interface:
		if t.NumMethod() == 0 {
			s.kind = dynamic
		}
	case reflect.Struct:
		size := s.size
		*s = *newRecord()
		s.size = size
		b.fields(s, t, nil)
	}
	return s
}

// fields adds the fields of the struct t to s. Those of embedded structs come after, as
// the outer ones hide them.
func (b *builder) fields(s *shape, t reflect.Type, around []reflect.Type) {
	var inner []reflect.Type
	for i := range t.NumField() {
		f := t.Field(i)
		name, ok := b.Name(f)
		if !ok {
			continue
		}
		base := f.Type
		if base.Kind() == reflect.Pointer {
			base = base.Elem()
		}
		if f.Anonymous && name == "" && base.Kind() == reflect.Struct && !b.hasMethods(base) {
			if !slices.Contains(around, base) {
				inner = append(inner, base)
			}
			continue
		}
		if !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		s.add(b.Format, name, b.shape(f.Type))
	}
	for _, t := range inner {
		b.fields(s, t, append(around, t))
	}
}

func (b *builder) hasMethods(t reflect.Type) bool {
	return b.Methods.Unmarshaler != nil && b.Methods.Has(t)
}

// add adds a field to the shape of a struct, unless it has one of that name.
func (s *shape) add(f *Format, name string, field *shape) {
	s.order = append(s.order, field)
	if f.Path != "" {
		if outer, rest, ok := strings.Cut(name, f.Path); ok {
			around := s.exact[outer]
			if around == nil || around.kind != record {
				around = newRecord()
				s.put(outer, around)
			}
			around.add(f, rest, field)
			return
		}
	}
	if name == f.Others && name != "" {
		s.others = field
		return
	}
	s.put(name, field)
}

func newRecord() *shape {
	return &shape{kind: record, exact: make(map[string]*shape), folded: make(map[string]*shape)}
}

func (s *shape) put(name string, field *shape) {
	if s.exact[name] == nil {
		s.exact[name] = field
	}
	if low := strings.ToLower(name); s.folded[low] == nil {
		s.folded[low] = field
	}
}

// field returns the field with that name in the encoding, as libraries find it: first
// by the name as it is, then without regard to case.
func (s *shape) field(name []byte) *shape {
	if f := s.exact[string(name)]; f != nil {
		return f
	}
	if f := s.folded[strings.ToLower(string(name))]; f != nil {
		return f
	}
	if slices.ContainsFunc(name, func(c byte) bool { return c >= utf8.RuneSelf }) { // such as ſ, which folds to s
		for known, f := range s.folded {
			if strings.EqualFold(known, string(name)) {
				return f
			}
		}
	}
	return s.others
}
