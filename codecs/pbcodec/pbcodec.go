// Package pbcodec encodes bodies as protocol buffers.
//
// It takes generated messages. Where a message has generated fast methods
// (MarshalToSizedBufferVT, MarshalVT, SizeVT, UnmarshalVT, as vtprotobuf writes
// them) it uses these, else google.golang.org/protobuf.
//
// What is decoded owns its memory. A program that would rather have one
// allocation a message than one a field may ask for it, once, before its first peer:
//
//	codec.Replace(pbcodec.Codec{Alias: true})
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
// values they are given must not change meanwhile. The zero value is what is
// registered.
type Codec struct {
	// Alias makes Unmarshal save memory with messages that have the generated
	// methods for it; all others are decoded as ever.
	//
	// A message with UnmarshalVTUnsafe gets one copy of the body, made for it alone:
	// its strings and bytes are parts of that copy. So each of them keeps the whole
	// body in memory as long as it is kept itself (strings.Clone what is to live
	// long), and no bytes of it may be changed in place or appended to: what
	// lies behind them belongs to the next field (bytes.Clone them first). Where the
	// engine decodes into values that it uses again (HandleCallInto, tp.Reused) there
	// is not even the copy: there strings live no longer than the value.
	//
	// A message with ResetVT is emptied by it instead of by Reset: it keeps the room of
	// its lists, and what that code pools of it goes back to the pool. So nothing
	// but strings may be kept of what was decoded into a message before when
	// it is decoded into once more.
	//
	// What that code pools keeps the room of its bytes too, and here that is a part of
	// some body. UnmarshalVT would write there: messages of a pooled type that has bytes
	// are to be decoded by this codec alone, and nobody else may append to such bytes:
	// large bodies serve other messages later.
	Alias bool
}

var (
	_ codec.Appender      = Codec{}
	_ codec.SizedAppender = Codec{}
)

// The generated fast methods.
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
		UnmarshalVT(b []byte) error // merges, and keeps nothing of b
	}
	aliaser  interface{ UnmarshalVTUnsafe(b []byte) error } // merges, and keeps b
	recycler interface{ ResetVT() }
)

// ID returns codec.Protobuf.
func (Codec) ID() byte { return codec.Protobuf }

// Name returns codec.NameProtobuf.
func (Codec) Name() string { return codec.NameProtobuf }

// Pure returns true: only generated code runs.
func (Codec) Pure() bool { return true }

// Size returns the length of v's encoding, 0 for what cannot be encoded.
func (Codec) Size(v any) int {
	if s, ok := v.(sizer); ok {
		if isNil(v) {
			return 0
		}
		return s.SizeVT()
	}
	if m, ok := message(v); ok && !isNil(v) {
		return proto.Size(m)
	}
	return 0
}

// Marshal returns the encoding of a message. Nil, struct{} and *struct{} are the
// empty message, as a nil pointer of any message is.
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

// AppendSized is Append for a message of which Size has said size, and which has
// not changed since.
func (c Codec) AppendSized(dst []byte, v any, size int) ([]byte, error) {
	if size == 0 {
		return c.Append(dst, v) // nothing, or what Append refuses
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
	if m, ok := v.(sizedMarshaler); ok { // first: the road of speed
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
	if n != size { // it changed meanwhile, or counts what it does not write
		n = copy(room, room[size-n:])
	}
	return out[:len(dst)+n], nil
}

// Unmarshal resets the message v points to and decodes data into it. Nil,
// struct{} and *struct{} take anything.
func (c Codec) Unmarshal(data []byte, v any) error { return c.Decode(data, v, 0) }

// Borrows reports whether v, with Alias, would refer to what it is decoded from.
func (c Codec) Borrows(v any) bool {
	if !c.Alias {
		return false
	}
	_, ok := v.(aliaser)
	return ok
}

// Decode is Unmarshal. A fresh message is not emptied; to data that is lent a
// message that has UnmarshalVTUnsafe refers itself, with Alias, instead of a copy.
func (c Codec) Decode(data []byte, v any, mode codec.Mode) error {
	if m, ok := v.(unmarshaler); ok { // first: the road of speed
		if isNil(v) {
			return intoNil(v)
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
	o := proto.UnmarshalOptions{Merge: mode&codec.Fresh != 0} // else it is emptied first
	if err := o.Unmarshal(data, m); err != nil {
		return decodeError(v, err)
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
	if mode&codec.Lent == 0 {
		own := make([]byte, len(data))
		copy(own, data)
		data = own
	}
	return a.UnmarshalVTUnsafe(data)
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

// isNothing tells whether v stands for no body at all.
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
