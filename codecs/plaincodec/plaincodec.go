// Package plaincodec encodes bodies as plain text: strings and bytes as they
// are, numbers and booleans as they are written in Go.
//
// It supports string, []byte, bool, all integers and floats, types with one of
// these as their underlying type, and pointers to all of them.
package plaincodec

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/teleport-go/teleport/core/codec"
)

func init() { codec.Register(Codec{}) }

// Codec is the plain text codec. Its methods may be called concurrently.
type Codec struct{}

var _ codec.Appender = Codec{}

// ID returns codec.Plain.
func (Codec) ID() byte { return codec.Plain }

// Name returns codec.NamePlain.
func (Codec) Name() string { return codec.NamePlain }

// Pure returns true: no method of v is called.
func (Codec) Pure() bool { return true }

// Marshal returns v as text. nil and nil pointers are no bytes.
func (c Codec) Marshal(v any) ([]byte, error) {
	b, err := c.Append(nil, v)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Append appends v as text to dst. If it fails it returns dst, unchanged.
func (Codec) Append(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return dst, nil
	case string:
		return append(dst, v...), nil
	case *string:
		if v == nil {
			return dst, nil
		}
		return append(dst, *v...), nil
	case []byte:
		return append(dst, v...), nil
	case *[]byte:
		if v == nil {
			return dst, nil
		}
		return append(dst, *v...), nil
	}
	r := reflect.ValueOf(v)
	for r.Kind() == reflect.Pointer {
		if !carries(r.Type()) {
			break
		}
		if r.IsNil() {
			return dst, nil
		}
		r = r.Elem()
	}
	switch r.Kind() {
	case reflect.String:
		return append(dst, r.String()...), nil
	case reflect.Bool:
		return strconv.AppendBool(dst, r.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(dst, r.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(dst, r.Uint(), 10), nil
	case reflect.Float32, reflect.Float64:
		return strconv.AppendFloat(dst, r.Float(), 'f', -1, r.Type().Bits()), nil
	}
	if isBytes(r.Type()) {
		return append(dst, r.Bytes()...), nil
	}
	return dst, fmt.Errorf("plain codec: %T can not be directly converted to []byte type", v)
}

// Unmarshal sets the value v points to from text; it allocates a value for each nil
// pointer on the way. A time.Duration is an integer, in nanoseconds, or text such as
// "5s". No bytes mean no value: they empty a string or a []byte and leave anything
// else as it is. If the text does not fit the value it is not changed.
//
// A v that is a []byte itself, not a pointer to one, is filled from its start, as in
// v5 and v7; the bytes after the text stay. A longer text is an error.
func (Codec) Unmarshal(data []byte, v any) error {
	switch v := v.(type) {
	case *string:
		if v != nil {
			*v = string(data)
			return nil
		}
	case *[]byte:
		if v != nil {
			*v = append(make([]byte, 0, len(data)), data...)
			return nil
		}
	}
	r := reflect.ValueOf(v)
	if r.IsValid() && isBytes(r.Type()) {
		if len(data) > r.Len() {
			return decodeError(v, data, fmt.Errorf("%d bytes into a slice of %d", len(data), r.Len()))
		}
		copy(r.Bytes(), data)
		return nil
	}
	if r.Kind() != reflect.Pointer || r.IsNil() || !carries(r.Type()) {
		return decodeError(v, nil, nil)
	}
	// The text is parsed into a new value, so that a failure changes nothing.
	target := r.Elem()
	for target.Kind() == reflect.Pointer && !target.IsNil() {
		target = target.Elem()
	}
	value := reflect.New(base(target.Type())).Elem()
	if set, err := parse(data, value); err != nil {
		return decodeError(v, data, err)
	} else if !set {
		return nil
	}
	for target.Kind() == reflect.Pointer {
		target.Set(reflect.New(target.Type().Elem()))
		target = target.Elem()
	}
	target.Set(value)
	return nil
}

// parse sets value, which is no pointer, from text. It reports whether there was
// anything to set.
func parse(data []byte, value reflect.Value) (bool, error) {
	switch value.Kind() {
	case reflect.String:
		value.SetString(string(data))
		return true, nil
	case reflect.Slice:
		value.SetBytes(append(make([]byte, 0, len(data)), data...))
		return true, nil
	}
	if len(data) == 0 {
		return false, nil
	}
	if len(data) > maxNumber {
		return false, strconv.ErrSyntax
	}
	var err error
	switch t := value.Type(); value.Kind() {
	case reflect.Bool:
		var x bool
		x, err = strconv.ParseBool(string(data))
		value.SetBool(x)
	case reflect.Float32, reflect.Float64:
		var x float64
		x, err = strconv.ParseFloat(string(data), t.Bits())
		value.SetFloat(x)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var x int64
		if x, err = strconv.ParseInt(string(data), 10, t.Bits()); err != nil && t == durationType {
			if d, derr := time.ParseDuration(string(data)); derr == nil {
				x, err = int64(d), nil
			}
		}
		value.SetInt(x)
	default:
		var x uint64
		x, err = strconv.ParseUint(string(data), 10, t.Bits())
		value.SetUint(x)
	}
	// The error of strconv quotes the whole input, decodeError only its start.
	if num := new(strconv.NumError); errors.As(err, &num) {
		err = num.Err
	}
	return true, err
}

var durationType = reflect.TypeFor[time.Duration]()

// maxNumber is more bytes than any number needs: the smallest float64 has 326
// without an exponent, and some writers pad with zeros.
const maxNumber = 1024

// carries reports whether the codec supports the type.
func carries(t reflect.Type) bool {
	switch t = base(t); t.Kind() {
	case reflect.String, reflect.Bool,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64:
		return true
	}
	return isBytes(t)
}

// maxPointers bounds base for a type that is a pointer to itself.
const maxPointers = 8

// base returns the type that t points to, through all pointers, or t itself.
func base(t reflect.Type) reflect.Type {
	for range maxPointers {
		if t.Kind() != reflect.Pointer {
			break
		}
		t = t.Elem()
	}
	return t
}

func isBytes(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}

func decodeError(v any, data []byte, err error) error {
	const most = 32
	text := fmt.Sprintf("plain codec: []byte can not be directly converted to %T type", v)
	if err == nil {
		return errors.New(text)
	}
	return fmt.Errorf("%s: %.*q: %w", text, most, data, err)
}
