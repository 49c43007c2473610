package cborcodec

import (
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codec/measure"
)

// format is how the library sees Go types.
var format = &measure.Format{
	Name: func(f reflect.StructField) (string, bool) {
		if !f.IsExported() && !f.Anonymous {
			return "", false
		}
		tag := f.Tag.Get("cbor")
		if tag == "" {
			tag = f.Tag.Get("json")
		}
		if tag == "-" {
			return "", false
		}
		name, _, _ := strings.Cut(tag, ",")
		return name, true
	},
	Methods: codec.Methods{
		Marshaler:   reflect.TypeFor[cbor.Marshaler](),
		Unmarshaler: reflect.TypeFor[cbor.Unmarshaler](),
	},
	MinValue: 1,
}

// checkSize returns an error if the value of data would exceed the limits, and reserves what
// it takes.
func checkSize(data []byte, v any, account codec.Account) error {
	m := format.MeterFor(account, len(data), len(data), v)
	if m == nil {
		return nil
	}
	s := scanner{Meter: m, rest: data}
	for !s.ended {
		if err := s.item(); err != nil {
			return err
		}
	}
	return m.Reserve(account)
}

// scanner reads the items of a body one by one. It ends at the first byte that is not
// well-formed: the library finds that, too, before it decodes.
type scanner struct {
	*measure.Meter
	rest  []byte
	open  []container
	ended bool
}

// container is an array, a map or a text in chunks that has begun.
type container struct {
	left uint64 // items
	kind byte   // major type
	key  bool   // the next item is a key
}

// The major types.
const (
	unsigned = iota
	negative
	bytesType
	textType
	arrayType
	mapType
	tagType
	simple
)

// indefinite is the number of items of a container that ends with a break.
const indefinite = math.MaxUint64

func (s *scanner) item() error {
	kind, n, ok := s.head()
	switch {
	case !ok:
		s.ended = true
		return nil
	case kind == tagType:
		return nil // the item that follows is the one
	case kind == simple && n == indefinite: // break
		s.close()
		return nil
	}
	in := s.top()
	isKey := in != nil && in.key
	if in != nil {
		in.key = !in.key && in.kind == mapType
		if in.left != indefinite {
			in.left--
		}
	}
	switch kind {
	case bytesType, textType:
		if n == indefinite {
			return s.begin(kind, n, s.Value())
		}
		if n > uint64(len(s.rest)) {
			s.ended = true
			return nil
		}
		text := s.rest[:n]
		s.rest = s.rest[n:]
		if isKey {
			s.Name(text)
			return nil
		}
		if in != nil && (in.kind == bytesType || in.kind == textType) {
			s.unwind()
			return nil // a chunk
		}
	case arrayType:
		return s.begin(kind, n, s.BeginList())
	case mapType:
		if n > math.MaxInt64 {
			n = min(n, indefinite)
		} else {
			n *= 2
		}
		return s.begin(kind, n, s.BeginMap())
	}
	if isKey {
		s.Name(number(kind, n))
		return nil
	}
	err := s.Value()
	s.unwind()
	return err
}

// number returns an integer as a field with keyasint has it in its tag.
func number(kind byte, n uint64) []byte {
	if kind == negative {
		return strconv.AppendInt(nil, -1-int64(n), 10)
	}
	return strconv.AppendUint(nil, n, 10)
}

func (s *scanner) begin(kind byte, n uint64, err error) error {
	s.open = append(s.open, container{n, kind, kind == mapType})
	s.unwind()
	return err
}

func (s *scanner) top() *container {
	if len(s.open) == 0 {
		return nil
	}
	return &s.open[len(s.open)-1]
}

// unwind closes the containers that have all their items.
func (s *scanner) unwind() {
	for in := s.top(); in != nil && in.left == 0; in = s.top() {
		s.close()
	}
	s.ended = s.ended || len(s.open) == 0
}

// close ends the innermost container.
func (s *scanner) close() {
	in := s.top()
	if in == nil {
		s.ended = true
		return
	}
	if in.kind == arrayType || in.kind == mapType {
		s.End()
	}
	s.open = s.open[:len(s.open)-1]
	s.unwind()
}

// head reads the head of an item: its major type, and its number, which is indefinite
// if it has none.
func (s *scanner) head() (kind byte, n uint64, ok bool) {
	if len(s.rest) == 0 {
		return 0, 0, false
	}
	kind, info := s.rest[0]>>5, s.rest[0]&31
	s.rest = s.rest[1:]
	switch {
	case info < 24:
		return kind, uint64(info), true
	case info == 31:
		return kind, indefinite, true
	case info > 27:
		return 0, 0, false
	}
	size := 1 << (info - 24)
	if len(s.rest) < size {
		return 0, 0, false
	}
	var b [8]byte
	copy(b[8-size:], s.rest[:size])
	s.rest = s.rest[size:]
	return kind, min(binary.BigEndian.Uint64(b[:]), indefinite-1), true
}

// limitError returns the errors of the library that are about its limits as errors of
// the codec's.
func limitError(err error) error {
	if nested := (*cbor.MaxNestedLevelError)(nil); errors.As(err, &nested) {
		return &codec.LimitError{What: "levels of nesting", Limit: maxNested, Found: maxNested + 1}
	}
	if list := (*cbor.MaxArrayElementsError)(nil); errors.As(err, &list) {
		return &codec.LimitError{What: "elements in an array", Limit: maxElements, Found: maxElements + 1}
	}
	if pairs := (*cbor.MaxMapPairsError)(nil); errors.As(err, &pairs) {
		return &codec.LimitError{What: "pairs in a map", Limit: maxElements, Found: maxElements + 1}
	}
	return err
}
