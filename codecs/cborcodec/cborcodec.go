// Package cborcodec encodes bodies as CBOR (RFC 8949): compact, and without a
// schema.
//
// Structs are maps with the names of their fields, or of their cbor or json tags,
// as keys. The encoding is the core deterministic one: equal values have equal bytes.
//
// A time is text as RFC 3339 defines it, with nanoseconds and the offset of its zone
// (tag 0); a zero time is null. A type with MarshalBinary is a byte string, one with
// MarshalText only is text. In an any, a map is decoded as a map[string]any: keys of
// another type are an error there.
package cborcodec

import (
	"bytes"
	"fmt"
	"reflect"

	"github.com/fxamacker/cbor/v2"

	"github.com/teleport-go/teleport/core/codec"
)

func init() { codec.Register(Codec{}) }

// Codec is the CBOR codec. Its methods may be called concurrently.
type Codec struct{}

var (
	_ codec.Appender = Codec{}
	_ codec.Measurer = Codec{}
)

// Limits for foreign data. Memory for arrays and maps is allocated as their elements
// are decoded; these bound what a few bytes can claim.
const (
	maxNested   = 64
	maxElements = 1 << 20
)

var (
	encoding = must(encOptions().UserBufferEncMode())
	decoding = must(cbor.DecOptions{
		DefaultMapType:   reflect.TypeFor[map[string]any](),
		TextUnmarshaler:  cbor.TextUnmarshalerTextString,
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:  maxNested,
		MaxArrayElements: maxElements,
		MaxMapPairs:      maxElements,
		UTF8:             cbor.UTF8RejectInvalid,
	}.DecMode())
)

func encOptions() cbor.EncOptions {
	o := cbor.CoreDetEncOptions()
	o.Time, o.TimeTag = cbor.TimeRFC3339Nano, cbor.EncTagRequired
	o.TextMarshaler = cbor.TextMarshalerTextString
	return o
}

// must panics if the options contradict each other.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// ID returns codec.CBOR.
func (Codec) ID() byte { return codec.CBOR }

// Name returns codec.NameCBOR.
func (Codec) Name() string { return codec.NameCBOR }

// Pure returns false: MarshalCBOR, MarshalBinary and MarshalText are code of the user.
func (Codec) Pure() bool { return false }

// Marshal returns v as CBOR; nil is the one byte of null.
func (c Codec) Marshal(v any) ([]byte, error) { return c.Append(nil, v) }

// Append appends v as CBOR to dst. If it fails it returns dst, unchanged in length.
func (Codec) Append(dst []byte, v any) ([]byte, error) {
	w := bytes.NewBuffer(dst)
	if err := encoding.MarshalToBuffer(v, w); err != nil {
		return dst, fmt.Errorf("cbor codec: encode %T: %w", v, err)
	}
	return w.Bytes(), nil
}

// Unmarshal decodes one CBOR item into the value v points to. Bytes after it, duplicate
// keys in a map, text that is not UTF-8, more than 64 levels and more than 2^20 elements
// in one array or map are errors, and so is a value that would exceed [codec.Limits], as
// far as its types do not decode themselves by UnmarshalCBOR.
func (c Codec) Unmarshal(data []byte, v any) error { return c.DecodeMeasured(data, v, 0, nil) }

// DecodeMeasured is Unmarshal with an account.
func (Codec) DecodeMeasured(data []byte, v any, _ codec.Mode, account codec.Account) error {
	err := checkSize(data, v, account)
	if err == nil {
		err = limitError(decoding.Unmarshal(data, v))
	}
	if err != nil {
		return fmt.Errorf("cbor codec: decode into %T: %w", v, err)
	}
	return nil
}
