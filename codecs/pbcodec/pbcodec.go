// Package pbcodec encodes bodies as protocol buffers.
//
// It supports generated messages. If a message has the methods that vtprotobuf
// generates (MarshalToSizedBufferVT, MarshalVT, SizeVT, UnmarshalVT) it uses them,
// otherwise google.golang.org/protobuf.
//
// A decoded message owns its memory. A program that prefers one allocation per
// message to one per field opts in, once, before its first peer:
//
//	codec.Replace(pbcodec.Codec{Alias: true})
package pbcodec

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/codec/measure"
)

func init() { codec.Register(Codec{}) }

// Codec is the protobuf codec. Its methods may be called concurrently; a value must
// not change while it is encoded. The zero value is the codec that is registered.
type Codec struct {
	// Alias makes Unmarshal allocate less for messages that have the generated methods
	// named below. It does not affect other messages.
	//
	// A message with UnmarshalVTUnsafe is decoded from one copy of the body, which
	// nothing else uses: its strings and bytes are slices of the copy. Each of them
	// therefore retains the whole body (use strings.Clone for those that live long), and
	// its bytes must not be modified or appended to, since the bytes that follow are
	// those of the next field (use bytes.Clone first). If the engine decodes into pooled
	// values (HandleCallInto, tp.Reused) it omits the copy, too: the strings are valid
	// only as long as the value.
	//
	// A message with ResetVT is reset by it instead of by Reset: it retains the capacity
	// of its lists, and returns pooled messages to their pool. Of the earlier content of
	// a message only strings may therefore be retained when it is decoded into again.
	//
	// Pooled messages also retain the capacity of their bytes, which here is a part of
	// some body, and UnmarshalVT writes there. Messages of a pooled type that has bytes
	// must therefore be decoded by this codec only, and the program must not append to
	// such bytes: the memory of large bodies is used for other messages later.
	Alias bool
}

var (
	_ codec.Appender      = Codec{}
	_ codec.SizedAppender = Codec{}
	_ codec.Measurer      = Codec{}
)

// The methods that vtprotobuf generates.
type (
	sizer          interface{ SizeVT() int }
	sizedMarshaler interface {
		sizer
		// MarshalToSizedBufferVT writes to the end of b; n is how many bytes.
		MarshalToSizedBufferVT(b []byte) (n int, err error)
	}
	marshaler   interface{ MarshalVT() ([]byte, error) }
	unmarshaler interface {
		Reset()
		UnmarshalVT(b []byte) error // merges, and does not retain b
	}
	aliaser  interface{ UnmarshalVTUnsafe(b []byte) error } // merges, and retains b
	recycler interface{ ResetVT() }
)

// ID returns codec.Protobuf.
func (Codec) ID() byte { return codec.Protobuf }

// Name returns codec.NameProtobuf.
func (Codec) Name() string { return codec.NameProtobuf }

// Pure returns true: Append calls generated code only.
func (Codec) Pure() bool { return true }

// Size returns the length of the encoding of v. It is below 0 for a value that cannot be
// encoded, and for one with no other method than MarshalVT, which does not say.
func (Codec) Size(v any) int {
	if s, ok := v.(sizer); ok {
		if isNil(v) {
			return 0
		}
		return s.SizeVT()
	}
	if m, ok := message(v); ok {
		if isNil(v) {
			return 0
		}
		return proto.Size(m)
	}
	if isNothing(v) {
		return 0
	}
	return -1
}

// Marshal returns the encoding of a message. Nil, struct{}, *struct{} and nil pointers
// to messages are encoded as the empty message.
func (c Codec) Marshal(v any) ([]byte, error) {
	if m, ok := v.(marshaler); ok && !isNil(v) {
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

// AppendSized is Append for a message for which Size has returned size, and which has
// not changed since.
func (c Codec) AppendSized(dst []byte, v any, size int) ([]byte, error) {
	if size <= 0 {
		return c.Append(dst, v) // no bytes, an error, or an unknown size
	}
	if m, ok := v.(sizedMarshaler); ok {
		return appendSized(dst, m, size)
	}
	if _, ok := v.(marshaler); ok {
		return c.Append(dst, v)
	}
	m, ok := message(v)
	if !ok {
		return dst, noMessage(v)
	}
	out, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(slices.Grow(dst, size), m)
	if err != nil {
		return dst, encodeError(v, err)
	}
	return out, nil
}

// Append appends what Marshal returns to dst. If it fails it returns dst,
// unchanged in length.
func (Codec) Append(dst []byte, v any) ([]byte, error) {
	if m, ok := v.(sizedMarshaler); ok { // first, since it is the fastest
		if isNil(v) {
			return dst, nil
		}
		return appendSized(dst, m, m.SizeVT())
	}
	if isNothing(v) {
		return dst, nil
	}
	if m, ok := v.(marshaler); ok {
		if isNil(v) {
			return dst, nil
		}
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
	if isNil(v) {
		return dst, nil
	}
	out, err := proto.MarshalOptions{}.MarshalAppend(dst, m)
	if err != nil {
		return dst, encodeError(v, err)
	}
	return out, nil
}

func appendSized(dst []byte, m sizedMarshaler, size int) ([]byte, error) {
	out := slices.Grow(dst, size)
	room := out[len(dst) : len(dst)+size]
	n, err := m.MarshalToSizedBufferVT(room)
	if err != nil {
		return dst, encodeError(m, err)
	}
	if n != size { // it has changed, or counts bytes that it does not write
		n = copy(room, room[size-n:])
	}
	return out[:len(dst)+n], nil
}

// Unmarshal resets the message v points to and decodes data into it. If v is nil, a
// struct{} or a *struct{} it ignores data.
//
// It is an error if the value would exceed [codec.Limits]. Messages that are no
// proto.Message are not measured.
func (c Codec) Unmarshal(data []byte, v any) error { return c.Decode(data, v, 0) }

// Borrows reports whether Alias is set and v has UnmarshalVTUnsafe.
func (c Codec) Borrows(v any) bool {
	if !c.Alias {
		return false
	}
	_, ok := v.(aliaser)
	return ok
}

// Decode is Unmarshal. It does not reset a fresh message. If Alias is set, a message
// with UnmarshalVTUnsafe refers to borrowed data instead of a copy.
func (c Codec) Decode(data []byte, v any, mode codec.Mode) error {
	return c.DecodeMeasured(data, v, mode, nil)
}

// DecodeMeasured is Decode with an account.
func (c Codec) DecodeMeasured(data []byte, v any, mode codec.Mode, account codec.Account) error {
	if m, ok := v.(unmarshaler); ok { // first, since it is the fastest
		if isNil(v) {
			return intoNil(v)
		}
		if err := checkSize(data, v, false, account); err != nil {
			return decodeError(v, err)
		}
		if err := c.unmarshal(data, m, mode); err != nil {
			return decodeError(v, err)
		}
		return nil
	}
	if isNothing(v) {
		return nil
	}
	m, ok := message(v)
	if !ok {
		return noMessage(v)
	}
	if isNil(v) {
		return intoNil(v)
	}
	if err := checkSize(data, m, true, account); err != nil {
		return decodeError(v, err)
	}
	o := proto.UnmarshalOptions{
		Merge:          mode&codec.Fresh != 0, // without it a message is reset first
		RecursionLimit: measure.Depth(),
	}
	if err := o.Unmarshal(data, m); err != nil {
		return decodeError(v, cmp.Or(checkSize(data, m, false, nil), err))
	}
	return nil
}

func (c Codec) unmarshal(data []byte, m unmarshaler, mode codec.Mode) error {
	if mode&codec.Fresh == 0 {
		if r, ok := m.(recycler); ok && c.Alias {
			r.ResetVT()
		} else {
			m.Reset()
		}
	}
	if !c.Alias {
		return m.UnmarshalVT(data)
	}
	a, ok := m.(aliaser)
	if !ok {
		return m.UnmarshalVT(data)
	}
	if mode&codec.Borrowed == 0 {
		own := make([]byte, len(data))
		copy(own, data)
		data = own
	}
	return a.UnmarshalVTUnsafe(data)
}

// message returns v as a proto.Message. It wraps messages of the first version of the
// Go API.
func message(v any) (proto.Message, bool) {
	switch m := v.(type) {
	case proto.Message:
		return m, true
	case protoadapt.MessageV1:
		return protoadapt.MessageV2Of(m), true
	}
	return nil, false
}

// isNothing reports whether v means no body at all.
func isNothing(v any) bool {
	switch v.(type) {
	case nil, struct{}, *struct{}:
		return true
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

func intoNil(v any) error {
	return fmt.Errorf("protobuf codec: decode into %T: it is nil", v)
}

func encodeError(v any, err error) error {
	return fmt.Errorf("protobuf codec: encode %T: %w", v, err)
}

func decodeError(v any, err error) error {
	return fmt.Errorf("protobuf codec: decode into %T: %w", v, err)
}
