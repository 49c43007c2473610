package xmlcodec

import (
	"encoding/xml"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/teleport-go/teleport/core/codec"
)

// replacement is what encoding/xml writes for what is no character of XML.
var replacement = []byte("\ufffd")

// traits describes what of the values of a type encoding/xml can lose. It is
// immutable.
type traits struct {
	lists      bool // lists of pointers, lists of lists, or interfaces, which may hold those
	interfaces bool
	opaque     bool // holds by value what only the methods of its pointer encode
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
	a.add(place{t, true, false})
	a.traits.lists = a.traits.lists || isList(t) || t.Kind() == reflect.Pointer && isList(t.Elem())
	known.Store(t, a.traits)
	return a.traits
}

// place is a type and where it is in the outermost one.
type place struct {
	reflect.Type
	byValue bool // no pointer or slice leads to it
	inList  bool
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
		a.interfaces, a.lists = true, true
	case reflect.Pointer:
		a.lists = a.lists || p.inList
		a.add(place{p.Elem(), false, p.inList})
	case reflect.Slice, reflect.Array:
		if isList(p.Type) {
			a.lists = a.lists || p.inList
			a.add(place{p.Elem(), p.byValue && p.Kind() == reflect.Array, true})
		}
	case reflect.Struct:
		for i := range p.NumField() {
			if f := p.Field(i); isVisible(f) {
				a.add(place{f.Type, p.byValue, false})
			}
		}
	}
}

// methods are those by which a type encodes and decodes itself.
var methods = codec.Methods{Marshaler: reflect.TypeFor[xml.Marshaler](), Unmarshaler: reflect.TypeFor[xml.Unmarshaler]()}

// isList reports whether t is written as an element for each of its elements.
func isList(t reflect.Type) bool {
	return (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) && t.Elem().Kind() != reflect.Uint8
}

func isVisible(f reflect.StructField) bool {
	return (f.IsExported() || f.Anonymous) && f.Tag.Get("xml") != "-"
}

var (
	errRoots     = errors.New("a list is not one element: put it into a struct")
	errNested    = errors.New("a list in a list has no element of its own: put it into a struct")
	errNil       = errors.New("nil in a list has no element")
	errCharacter = errors.New("not a character of XML")
)

// checker finds what was left out or altered of a value that has been encoded.
type checker struct {
	texts bool // some text may have been altered
}

func (c checker) root(v reflect.Value) error {
	for (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) && !v.IsNil() {
		v = v.Elem()
	}
	if v.IsValid() && isList(v.Type()) && !methods.Has(v.Type()) && v.Len() > 1 {
		return errRoots
	}
	return c.value(v, false)
}

func (c checker) value(v reflect.Value, inList bool) error {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			if inList {
				return errNil
			}
			return nil
		}
		v = v.Elem()
	}
	if !v.IsValid() {
		return nil
	}
	if methods.Has(v.Type()) {
		if !c.texts {
			return nil
		}
		text, err := methods.Text(v)
		return errors.Join(err, c.text(string(text)))
	}
	switch v.Kind() {
	case reflect.String:
		return c.text(v.String())
	case reflect.Slice, reflect.Array:
		if !isList(v.Type()) {
			return c.text(string(bytesOf(v)))
		}
		if inList {
			return errNested
		}
		for i := range v.Len() {
			if err := c.value(v.Index(i), true); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !isVisible(f) {
				continue
			}
			if err := c.value(v.Field(i), false); err != nil {
				return fmt.Errorf("field %s: %w", f.Name, err)
			}
		}
	}
	return nil
}

// bytesOf returns the bytes of a slice or an array.
func bytesOf(v reflect.Value) []byte {
	if v.Kind() == reflect.Slice || v.CanAddr() {
		return v.Bytes()
	}
	b := make([]byte, v.Len())
	reflect.Copy(reflect.ValueOf(b), v)
	return b
}

func (c checker) text(s string) error {
	if !c.texts {
		return nil
	}
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return fmt.Errorf("%s: byte %d, 0x%02x: %w", quote(s), i, s[i], errCharacter)
			}
		}
		if r < ' ' && !strings.ContainsRune("\t\n\r", r) || r == 0xfffe || r == 0xffff {
			return fmt.Errorf("%s: byte %d, %U: %w", quote(s), i, r, errCharacter)
		}
	}
	return nil
}

// maxDepth bounds checkTarget for a value that points to itself.
const maxDepth = 100

// checkTarget returns an error if decoding into v would skip an element, as
// encoding/xml does if it is for an interface that holds no pointer.
func checkTarget(v reflect.Value, depth int) error {
	t := v.Type()
	if depth == maxDepth || t.Kind() != reflect.Interface && !traitsOf(t).interfaces {
		return nil
	}
	switch t.Kind() {
	case reflect.Interface:
		if e := v.Elem(); e.Kind() == reflect.Pointer && !e.IsNil() {
			return checkTarget(e, depth+1)
		}
		return fmt.Errorf(`%v is skipped by encoding/xml: let it hold a pointer, or tag it xml:"-"`, t)
	case reflect.Pointer:
		if !v.IsNil() {
			return checkTarget(v.Elem(), depth+1)
		}
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if !isVisible(f) {
				continue
			}
			if err := checkTarget(v.Field(i), depth+1); err != nil {
				return fmt.Errorf("field %s: %w", f.Name, err)
			}
		}
		return nil
	}
	return fmt.Errorf(`%v holds an interface, which is skipped by encoding/xml: tag it xml:"-"`, t)
}
