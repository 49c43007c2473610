// Package pbcodec encodes bodies as protocol buffers.
//
// It takes generated messages. Where a message has generated fast methods
// (MarshalToSizedBufferVT, MarshalVT, SizeVT, UnmarshalVT, as vtprotobuf writes
// them) it uses these, else google.golang.org/protobuf.
package pbcodec

import (
	"fmt"
	"reflect"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"github.com/teleport-go/teleport/core/codec"
)

func init() { codec.Register(Codec{}) }

// Codec is the protobuf codec. Its methods may be called concurrently; the
// values they are given must not change meanwhile.
type Codec struct{}

var (
	_ codec.Appender = Codec{}
	_ codec.Sizer    = Codec{}
)

// The generated fast methods.
type (
	sizer         interface{ SizeVT() int }
	sizedMarshals interface {
		sizer
		// MarshalToSizedBufferVT writes to the end of b; n is how many bytes.
		MarshalToSizedBufferVT(b []byte) (n int, err error)
	}
	marshaler   interface{ MarshalVT() ([]byte, error) }
	unmarshaler interface {
		Reset()
		UnmarshalVT(b []byte) error // merges, and keeps nothing of b
	}
)

// ID returns codec.Protobuf.
func (Codec) ID() byte { return codec.Protobuf }

// Name returns codec.NameProtobuf.
func (Codec) Name() string { return codec.NameProtobuf }

// Pure returns true: only generated code runs.
func (Codec) Pure() bool { return true }

// Size returns the length of v's encoding, 0 for what cannot be encoded.
func (Codec) Size(v any) int {
	if isEmpty(v) {
		return 0
	}
	if s, ok := v.(sizer); ok {
		return s.SizeVT()
	}
	if m, ok := message(v); ok {
		return proto.Size(m)
	}
	return 0
}

// Marshal returns the encoding of a message. Nil, struct{} and *struct{} are the
// empty message, as a nil pointer of any message is.
func (c Codec) Marshal(v any) ([]byte, error) {
	if m, ok := v.(marshaler); ok && !isEmpty(v) {
		b, err := m.MarshalVT()
		if err != nil {
			return nil, encodeError(v, err)
		}
		return b, nil
	}
	b, err := c.Append(nil, v)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Append appends what Marshal returns to dst. If it fails it returns dst,
// unchanged in length.
func (Codec) Append(dst []byte, v any) ([]byte, error) {
	if isEmpty(v) {
		return dst, nil
	}
	switch m := v.(type) {
	case sizedMarshals:
		size := m.SizeVT()
		out := slices.Grow(dst, size)
		room := out[len(dst) : len(dst)+size]
		n, err := m.MarshalToSizedBufferVT(room)
		if err != nil {
			return dst, encodeError(v, err)
		}
		if n != size { // it changed meanwhile, or counts what it does not write
			n = copy(room, room[size-n:])
		}
		return out[:len(dst)+n], nil
	case marshaler:
		b, err := m.MarshalVT()
		if err != nil {
			return dst, encodeError(v, err)
		}
		return append(dst, b...), nil
	}
	m, ok := message(v)
	if !ok {
		return dst, noMessage(v)
	}
	out, err := proto.MarshalOptions{}.MarshalAppend(dst, m)
	if err != nil {
		return dst, encodeError(v, err)
	}
	return out, nil
}

// Unmarshal resets the message v points to and decodes data into it. Nil,
// struct{} and *struct{} take anything.
func (Codec) Unmarshal(data []byte, v any) error {
	switch v.(type) {
	case nil, struct{}, *struct{}:
		return nil
	}
	if isNil(v) {
		return fmt.Errorf("protobuf codec: decode into %T: it is nil", v)
	}
	var err error
	if m, ok := v.(unmarshaler); ok {
		m.Reset()
		err = m.UnmarshalVT(data)
	} else if m, ok := message(v); ok {
		err = proto.Unmarshal(data, m)
	} else {
		return noMessage(v)
	}
	if err != nil {
		return fmt.Errorf("protobuf codec: decode into %T: %w", v, err)
	}
	return nil
}

// message returns v as a message of today; those of the first generation of
// generated code are wrapped.
func message(v any) (proto.Message, bool) {
	switch m := v.(type) {
	case proto.Message:
		return m, true
	case protoadapt.MessageV1:
		return protoadapt.MessageV2Of(m), true
	}
	return nil, false
}

// isEmpty tells whether v is encoded as no bytes, whatever methods it has.
func isEmpty(v any) bool {
	switch v.(type) {
	case nil, struct{}, *struct{}:
		return true
	case proto.Message, marshaler, sizer, protoadapt.MessageV1:
		return isNil(v)
	}
	return false
}

func isNil(v any) bool {
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Pointer && r.IsNil()
}

func noMessage(v any) error {
	return fmt.Errorf("protobuf codec: %T does not implement proto.Message", v)
}

func encodeError(v any, err error) error {
	return fmt.Errorf("protobuf codec: encode %T: %w", v, err)
}
