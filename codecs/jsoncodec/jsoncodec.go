// Package jsoncodec encodes bodies as JSON, with the standard library.
//
// It takes what encoding/json takes and escapes as json.Marshal does.
package jsoncodec

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/teleport-go/teleport/core/codec"
)

func init() { codec.Register(Codec{}) }

// Codec is the JSON codec. Its methods may be called concurrently.
type Codec struct{}

var _ codec.Appender = Codec{}

// ID returns codec.JSON.
func (Codec) ID() byte { return codec.JSON }

// Name returns codec.NameJSON.
func (Codec) Name() string { return codec.NameJSON }

// Pure returns false: MarshalJSON and MarshalText are code of the user.
func (Codec) Pure() bool { return false }

// Marshal returns v as JSON; nil is null.
func (Codec) Marshal(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, encodeError(v, err)
	}
	return b, nil
}

// Append appends v as JSON to dst. If it fails it returns dst, unchanged in
// length.
func (Codec) Append(dst []byte, v any) ([]byte, error) {
	a := appenders.Get().(*appender)
	a.b = dst
	err := a.enc.Encode(v) // writes once, and only if all went well
	b := a.b
	a.b = nil
	appenders.Put(a)
	if err != nil {
		return dst, encodeError(v, err)
	}
	return b[:len(b)-1], nil // without the newline that Encode adds
}

// Unmarshal decodes JSON into the value v points to.
func (Codec) Unmarshal(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("json codec: decode into %T: %w", v, err)
	}
	return nil
}

func encodeError(v any, err error) error {
	return fmt.Errorf("json codec: encode %T: %w", v, err)
}

// appender is an encoder that appends to b: unlike json.Marshal it needs no
// memory of its own for the result.
type appender struct {
	b   []byte
	enc *json.Encoder
}

var appenders = sync.Pool{New: func() any {
	a := new(appender)
	a.enc = json.NewEncoder(a)
	return a
}}

// Write never fails: a failure would stick to the encoder.
func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}
