// Package jsoncodec encodes bodies as JSON, with the standard library.
//
// It supports what encoding/json supports and escapes as json.Marshal does. What
// encoding/json alters without an error is an error here, or arrives:
//
//   - Text that is not UTF-8 is refused in both directions, where encoding/json
//     writes and reads U+FFFD.
//   - An integer that is decoded into an any and does not fit a float64, as the ids
//     of some databases, is a json.Number there. All other numbers are float64.
//   - A struct that is passed by value and holds a big.Int, or another struct
//     without exported fields, is encoded by the methods that its pointer has.
//
// A body whose value would exceed [codec.Limits] is refused before it is decoded, as far
// as the types do not decode themselves by UnmarshalJSON.
package jsoncodec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
	"unicode/utf8"

	"github.com/teleport-go/teleport/core/codec"
)

func init() { codec.Register(Codec{}) }

// Codec is the JSON codec. Its methods may be called concurrently.
type Codec struct{}

var (
	_ codec.Appender = Codec{}
	_ codec.Measurer = Codec{}
)

// ID returns codec.JSON.
func (Codec) ID() byte { return codec.JSON }

// Name returns codec.NameJSON.
func (Codec) Name() string { return codec.NameJSON }

// Pure returns false: MarshalJSON and MarshalText are code of the user.
func (Codec) Pure() bool { return false }

// Marshal returns v as JSON; nil is null.
func (Codec) Marshal(v any) ([]byte, error) {
	arg, err := prepare(v)
	if err != nil {
		return nil, encodeError(v, err)
	}
	b, err := json.Marshal(arg)
	if err == nil {
		err = checkTexts(b, v)
	}
	if err != nil {
		return nil, encodeError(v, err)
	}
	return b, nil
}

// Append appends v as JSON to dst. If it fails it returns dst, unchanged in
// length.
func (Codec) Append(dst []byte, v any) ([]byte, error) {
	arg, err := prepare(v)
	if err != nil {
		return dst, encodeError(v, err)
	}
	a := appenders.Get().(*appender)
	a.b = dst
	err = a.enc.Encode(arg) // writes once, and only if it succeeds
	b := a.b
	a.b = nil
	appenders.Put(a)
	if err == nil {
		err = checkTexts(b[len(dst):], v)
	}
	if err != nil {
		return dst, encodeError(v, err)
	}
	return b[:len(b)-1], nil // without the newline that Encode adds
}

// byteOrderMark is what some editors and libraries write before UTF-8.
var byteOrderMark = []byte("\ufeff")

// Unmarshal decodes JSON into the value v points to. A byte order mark before it is
// skipped.
func (c Codec) Unmarshal(data []byte, v any) error { return c.DecodeMeasured(data, v, 0, nil) }

// DecodeMeasured is Unmarshal with an account.
func (Codec) DecodeMeasured(data []byte, v any, _ codec.Mode, account codec.Account) error {
	data = bytes.TrimPrefix(data, byteOrderMark)
	if err := unmarshal(data, v, account); err != nil {
		return fmt.Errorf("json codec: decode into %T: %w", v, err)
	}
	return nil
}

func unmarshal(data []byte, v any, account codec.Account) error {
	if !utf8.Valid(data) {
		return notUTF8(string(data))
	}
	if err := checkSurrogates(data); err != nil {
		return err
	}
	if err := checkSize(data, v, account); err != nil {
		return err
	}
	if hasLongInteger(data) && traitsOf(reflect.TypeOf(v)).interfaces && json.Valid(data) {
		return unmarshalNumbers(data, v)
	}
	return json.Unmarshal(data, v)
}

func encodeError(v any, err error) error {
	return fmt.Errorf("json codec: encode %T: %w", v, err)
}

// appender is an encoder that appends to b: unlike json.Marshal it allocates no
// memory for the result.
type appender struct {
	b   []byte
	enc *json.Encoder
}

var appenders = sync.Pool{New: func() any {
	a := new(appender)
	a.enc = json.NewEncoder(a)
	return a
}}

// Write never fails: the encoder would return the error for ever.
func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}
