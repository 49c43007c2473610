package thriftcodec

import (
	bin "encoding/binary"
	"reflect"
	"strconv"
	"strings"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codec/measure"
)

// format is how generated code decodes: fields have their numbers in a tag, such as
// `thrift:"name,1,required"`.
var format = &measure.Format{
	Name: func(f reflect.StructField) (string, bool) {
		parts := strings.Split(f.Tag.Get("thrift"), ",")
		if len(parts) < 2 {
			return "", false
		}
		return parts[1], true
	},
	MinValue: 1,
}

// checkSize returns an error if the value of data would exceed the limits, and reserves what
// it takes. It ends at the first byte that is no Thrift, which decoding finds, too.
func checkSize(data []byte, v any, account codec.Account) error {
	m := format.MeterFor(account, len(data), 0, v)
	if m == nil {
		return nil
	}
	s := scanner{Meter: m, rest: data}
	if err := s.value(thrift.STRUCT); err != nil {
		return err
	}
	return m.Reserve(account)
}

// scanner reads the values of a body one by one.
type scanner struct {
	*measure.Meter
	rest []byte
}

// cut returns the next n bytes. Without so many it returns nil, and nothing is left.
func (s *scanner) cut(n int) []byte {
	if n < 0 || n > len(s.rest) {
		s.rest = nil
		return nil
	}
	b := s.rest[:n:n]
	s.rest = s.rest[n:]
	return b
}

// number reads a length.
func (s *scanner) number() int {
	b := s.cut(4)
	if b == nil {
		return -1
	}
	return int(int32(bin.BigEndian.Uint32(b)))
}

// sizes are the lengths of values that all have the same, by their type.
var sizes = map[thrift.TType]int{
	thrift.BOOL: 1, thrift.BYTE: 1, thrift.DOUBLE: 8, thrift.I16: 2, thrift.I32: 4, thrift.I64: 8, thrift.UUID: 16,
}

// value measures a value.
func (s *scanner) value(kind thrift.TType) error {
	switch kind {
	case thrift.STRUCT:
		return s.fields()
	case thrift.LIST, thrift.SET:
		return s.list()
	case thrift.MAP:
		return s.pairs()
	case thrift.STRING:
		s.cut(s.number())
	default:
		n, ok := sizes[kind]
		if !ok {
			n = -1
		}
		s.cut(n)
	}
	return s.Value()
}

func (s *scanner) fields() error {
	if err := s.BeginMap(); err != nil {
		return err
	}
	defer s.End()
	for {
		kind := s.cut(1)
		if kind == nil || kind[0] == thrift.STOP {
			return nil
		}
		id := s.cut(2)
		if id == nil {
			return nil
		}
		var text [6]byte
		s.Name(strconv.AppendInt(text[:0], int64(int16(bin.BigEndian.Uint16(id))), 10))
		if err := s.value(thrift.TType(kind[0])); err != nil {
			return err
		}
	}
}

// list measures a list or a set. Generated code allocates memory for all elements once it
// knows how many there are.
func (s *scanner) list() error {
	kind, n := s.cut(1), s.number()
	if n < 0 {
		return nil
	}
	if err := s.BeginListOf(n); err != nil {
		return err
	}
	defer s.End()
	if size, ok := sizes[thrift.TType(kind[0])]; ok {
		if n > len(s.rest)/size {
			s.rest = nil
			return nil
		}
		s.cut(n * size)
		return nil
	}
	return s.elements(n, func() error { return s.value(thrift.TType(kind[0])) })
}

// elements calls value for n elements, or as many as there are.
func (s *scanner) elements(n int, value func() error) error {
	for range n {
		if len(s.rest) == 0 {
			return nil
		}
		if err := value(); err != nil {
			return err
		}
	}
	return nil
}

// pairs measures a map.
func (s *scanner) pairs() error {
	kinds, n := s.cut(2), s.number()
	if n < 0 {
		return nil
	}
	if err := s.BeginMapOf(n); err != nil {
		return err
	}
	defer s.End()
	return s.elements(n, func() error {
		if err := s.key(thrift.TType(kinds[0])); err != nil {
			return err
		}
		return s.value(thrift.TType(kinds[1]))
	})
}

// key measures a key, which is in the size of its pair unless it holds values itself.
func (s *scanner) key(kind thrift.TType) error {
	switch kind {
	case thrift.STRING:
		s.cut(s.number())
		return nil
	case thrift.STRUCT, thrift.LIST, thrift.SET, thrift.MAP:
		return s.value(kind)
	}
	n, ok := sizes[kind]
	if !ok {
		n = -1
	}
	s.cut(n)
	return nil
}
