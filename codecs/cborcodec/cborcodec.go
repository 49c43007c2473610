// Package cborcodec encodes bodies as CBOR (RFC 8949): compact, and without a
// schema.
//
// Structs are maps with the names of their fields, or of their cbor or json tags,
// as keys. The encoding is the core deterministic one: the same value has always
// the same bytes.
package cborcodec

import (
	"bytes"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/teleport-go/teleport/core/codec"
)

func init() { codec.Register(Codec{}) }

// Codec is the CBOR codec. Its methods may be called concurrently.
type Codec struct{}

var _ codec.Appender = Codec{}

// Limits for what comes from outside. Arrays and maps take memory only as their
// elements arrive; these bound what a few bytes can claim.
const (
	maxNested   = 64
	maxElements = 1 << 20
)

var (
	encoding = must(cbor.CoreDetEncOptions().UserBufferEncMode())
	decoding = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:  maxNested,
		MaxArrayElements: maxElements,
		MaxMapPairs:      maxElements,
		UTF8:             cbor.UTF8RejectInvalid,
	}.DecMode())
)

// must panics if the options above contradict each other.
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

// Pure returns false: MarshalCBOR and MarshalBinary are code of the user.
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

// Unmarshal decodes one CBOR item into the value v points to. Bytes behind it, a
// key twice in a map, text that is not UTF-8, more than 64 levels and more than
// 2^20 elements in one array or map are errors.
func (Codec) Unmarshal(data []byte, v any) error {
	if err := decoding.Unmarshal(data, v); err != nil {
		return fmt.Errorf("cbor codec: decode into %T: %w", v, err)
	}
	return nil
}
