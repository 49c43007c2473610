package jsoncodec

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sync"

	"github.com/teleport-go/teleport/core/codec"
)

// traits describes what of the values of a type encoding/json can lose. It is
// immutable.
type traits struct {
	interfaces bool
	opaque     bool  // holds by value what only the methods of its pointer encode
	err        error // why values of the type are not encoded
}

var known sync.Map // reflect.Type → traits

func traitsOf(t reflect.Type) traits {
	if t == nil {
		return traits{}
	}
	if x, ok := known.Load(t); ok {
		return x.(traits)
	}
	a := analysis{seen: make(map[place]bool)}
	a.add(place{t, true})
	known.Store(t, a.traits)
	return a.traits
}

// prepare returns what encoding/json is to encode for v: v, or a pointer to a copy of
// it, so that it finds the methods of pointers.
func prepare(v any) (any, error) {
	switch v.(type) {
	case nil, string, bool, int, int64, float64, *string, map[string]string, []string:
		return v, nil
	}
	t := traitsOf(reflect.TypeOf(v))
	if t.err != nil || !t.opaque {
		return v, t.err
	}
	return codec.Addressable(v), nil
}

// place is a type and where it is in the outermost one.
type place struct {
	reflect.Type
	byValue bool // no pointer or slice leads to it
}

type analysis struct {
	traits
	seen map[place]bool
}

func (a *analysis) add(p place) {
	if a.seen[p] {
		return
	}
	a.seen[p] = true
	if methods.Has(p.Type) {
		a.opaque = a.opaque || p.byValue && methods.Opaque(p.Type)
		return
	}
	switch p.Kind() {
	case reflect.Interface:
		a.interfaces = true
	case reflect.Pointer, reflect.Slice:
		a.add(place{p.Elem(), false})
	case reflect.Array:
		a.add(place{p.Elem(), p.byValue})
	case reflect.Map:
		if e := p.Elem(); methods.Opaque(e) {
			a.err = fmt.Errorf("the values of %v have their methods by pointer: want map[%v]*%v", p.Type, p.Key(), e)
		}
		a.add(place{p.Elem(), false})
	case reflect.Struct:
		for i := range p.NumField() {
			if f := p.Field(i); isVisible(f) {
				a.add(place{f.Type, p.byValue})
			}
		}
	}
}

// methods are those by which a type encodes and decodes itself.
var methods = codec.Methods{Marshaler: reflect.TypeFor[json.Marshaler](), Unmarshaler: reflect.TypeFor[json.Unmarshaler]()}

func isVisible(f reflect.StructField) bool {
	return (f.IsExported() || f.Anonymous) && f.Tag.Get("json") != "-"
}
