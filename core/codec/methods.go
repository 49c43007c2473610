package codec

import (
	"encoding"
	"reflect"
)

// Methods are the interfaces of a format by which a type encodes and decodes itself,
// such as json.Marshaler and json.Unmarshaler. encoding.TextMarshaler and
// encoding.TextUnmarshaler count as well.
//
// It is for codecs that use a library of the format by reflection, and need to know
// what the library does with a type.
type Methods struct{ Marshaler, Unmarshaler reflect.Type }

var (
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// Has reports whether values of type t, or pointers to them, have one of the methods.
// Of a pointer or an interface it reports false.
func (m Methods) Has(t reflect.Type) bool {
	if t.Kind() == reflect.Interface || t.Kind() == reflect.Pointer {
		return false
	}
	p := reflect.PointerTo(t)
	return m.marshals(p) || p.Implements(m.Unmarshaler) || p.Implements(textUnmarshaler)
}

func (m Methods) marshals(t reflect.Type) bool {
	return t.Implements(m.Marshaler) || t.Implements(textMarshaler)
}

// Opaque reports whether t is a struct without exported fields, such as big.Int, that
// only a pointer to it encodes: a library does not find the methods of a value that is
// not addressable, and encodes no field.
func (m Methods) Opaque(t reflect.Type) bool {
	if t.Kind() != reflect.Struct || m.marshals(t) {
		return false
	}
	for i := range t.NumField() {
		if t.Field(i).IsExported() {
			return false
		}
	}
	return m.marshals(reflect.PointerTo(t))
}

// Text returns the result of the MarshalText method of v, or of a pointer to it; nil
// if it has none, or if it has the method of the format, which comes first.
func (m Methods) Text(v reflect.Value) ([]byte, error) {
	if !v.CanInterface() || reflect.PointerTo(v.Type()).Implements(m.Marshaler) {
		return nil, nil
	}
	if t, ok := Addressable(v.Interface()).(encoding.TextMarshaler); ok {
		return t.MarshalText()
	}
	return nil, nil
}

// Addressable returns a pointer to a copy of v, which is not nil.
func Addressable(v any) any {
	p := reflect.New(reflect.TypeOf(v))
	p.Elem().Set(reflect.ValueOf(v))
	return p.Interface()
}
