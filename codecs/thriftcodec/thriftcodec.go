// Package thriftcodec encodes bodies as Thrift structs.
//
// It supports types that implement thrift.TStruct, which Thrift's compiler generates
// for structs, unions, exceptions, and the arguments and result of a method. A body
// is the struct alone, in Thrift's binary protocol.
package thriftcodec

import (
	"context"
	"fmt"
	"reflect"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/teleport-go/teleport/core/codec"
)

func init() { codec.Register(Codec{}) }

// Codec is the thrift codec. Its methods may be called concurrently; a value must not
// change while it is encoded.
type Codec struct{}

var (
	_ codec.Appender = Codec{}
	_ codec.Measurer = Codec{}
)

// ID returns codec.Thrift.
func (Codec) ID() byte { return codec.Thrift }

// Name returns codec.NameThrift.
func (Codec) Name() string { return codec.NameThrift }

// Pure returns false: the Write method of a TStruct may be code of the user.
func (Codec) Pure() bool { return false }

// Marshal returns the encoding of v as Append does.
func (c Codec) Marshal(v any) ([]byte, error) { return c.Append(nil, v) }

// Append appends the encoding of v, which must be a thrift.TStruct. Nil, struct{},
// *struct{} and nil pointers are encoded as the struct without fields: one byte, 0.
// If it fails it returns dst, unchanged in length.
func (Codec) Append(dst []byte, v any) ([]byte, error) {
	if isEmpty(v) {
		return append(dst, thrift.STOP), nil
	}
	s, ok := v.(thrift.TStruct)
	if !ok {
		return dst, noStruct(v)
	}
	p := writer(dst)
	defer p.free()
	if err := s.Write(context.Background(), p); err != nil {
		return dst, fmt.Errorf("thrift codec: encode %T: %w", v, err)
	}
	return p.mem.buf, nil
}

// Unmarshal decodes data, which must be one whole struct, into the thrift.TStruct
// v. As usual with Thrift, fields that are not in data stay as they were. If v is nil,
// a struct{} or a *struct{} it ignores data.
//
// It is an error if the value would exceed [codec.Limits]. What the elements of lists,
// sets and maps take is known from the tags of generated fields: in structs without
// them only the depth is limited.
func (c Codec) Unmarshal(data []byte, v any) error { return c.DecodeMeasured(data, v, 0, nil) }

// DecodeMeasured is Unmarshal with an account.
func (Codec) DecodeMeasured(data []byte, v any, _ codec.Mode, account codec.Account) error {
	switch v.(type) {
	case nil, struct{}, *struct{}:
		return nil
	}
	s, ok := v.(thrift.TStruct)
	if !ok {
		return noStruct(v)
	}
	if isNil(v) {
		return fmt.Errorf("thrift codec: decode into %T: it is nil", v)
	}
	if err := checkSize(data, v, account); err != nil {
		return fmt.Errorf("thrift codec: decode into %T: %w", v, err)
	}
	p := reader(data)
	defer p.free()
	if err := s.Read(context.Background(), p); err != nil {
		return fmt.Errorf("thrift codec: decode into %T: %w", v, err)
	}
	if n := p.mem.left(); n > 0 {
		return fmt.Errorf("thrift codec: decode into %T: %d bytes after the struct", v, n)
	}
	return nil
}

// isEmpty reports whether v is encoded as a struct without fields.
func isEmpty(v any) bool {
	switch v.(type) {
	case nil, struct{}, *struct{}:
		return true
	case thrift.TStruct:
		return isNil(v)
	}
	return false
}

func isNil(v any) bool {
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Pointer && r.IsNil()
}

func noStruct(v any) error {
	return fmt.Errorf("thrift codec: %T does not implement thrift.TStruct", v)
}
