// Package xmlcodec encodes bodies as XML, with the standard library.
//
// It supports what encoding/xml supports: structs with their tags, and plain
// values. What encoding/xml drops or alters without an error is an error here:
// characters that XML does not have, lists in lists, nil pointers in lists, and
// interfaces on decoding.
package xmlcodec

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"time"

	"github.com/teleport-go/teleport/core/codec"
)

func init() { codec.Register(Codec{}) }

// Codec is the XML codec. Its methods may be called concurrently.
type Codec struct{}

var (
	_ codec.Appender = Codec{}
	_ codec.Measurer = Codec{}
)

// ID returns codec.XML.
func (Codec) ID() byte { return codec.XML }

// Name returns codec.NameXML.
func (Codec) Name() string { return codec.NameXML }

// Pure returns false: MarshalXML and MarshalText are code of the user.
func (Codec) Pure() bool { return false }

// Marshal returns v as XML. The encoding of nil has no bytes.
func (c Codec) Marshal(v any) ([]byte, error) { return c.Append(nil, v) }

// Append appends v as XML to dst. If it fails it returns dst, unchanged in length.
func (Codec) Append(dst []byte, v any) ([]byte, error) {
	t := traitsOf(reflect.TypeOf(v))
	w := bytes.NewBuffer(dst)
	arg := v
	if t.opaque {
		arg = codec.Addressable(v) // so that encoding/xml finds the methods
	}
	err := xml.NewEncoder(w).Encode(arg)
	if err == nil {
		texts := bytes.Contains(w.Bytes()[len(dst):], replacement)
		if t.lists || texts {
			err = checker{texts}.root(reflect.ValueOf(v))
		}
	}
	if err != nil {
		return dst, fmt.Errorf("xml codec: encode %T: %w", v, err)
	}
	return w.Bytes(), nil
}

// Unmarshal decodes one XML element into the value v points to. It may be followed
// by comments and white space only. The declaration may name UTF-8, US-ASCII or
// ISO-8859-1 as the character set.
//
// It is an error if the value has an interface, unless that holds a pointer:
// encoding/xml would skip the element. It is also an error if the value would exceed
// [codec.Limits], as far as its types do not decode themselves by UnmarshalXML; the
// attributes of one element count as well.
func (c Codec) Unmarshal(data []byte, v any) error { return c.DecodeMeasured(data, v, 0, nil) }

// DecodeMeasured is Unmarshal with an account.
func (Codec) DecodeMeasured(data []byte, v any, _ codec.Mode, account codec.Account) error {
	if err := unmarshal(data, v, account); err != nil {
		return fmt.Errorf("xml codec: decode into %T: %w", v, plainError(err))
	}
	return nil
}

var (
	errNoPointer = errors.New("no pointer, or nil")
	errTrailing  = errors.New("data after the root element")
)

func unmarshal(data []byte, v any, account codec.Account) error {
	r := reflect.ValueOf(v)
	if r.Kind() != reflect.Pointer || r.IsNil() {
		return errNoPointer
	}
	if traitsOf(r.Type()).interfaces {
		if err := checkTarget(r, 0); err != nil {
			return err
		}
	}
	if err := checkSize(data, v, account); err != nil {
		return err
	}
	d := xml.NewDecoder(bytes.NewReader(data))
	d.CharsetReader = charsetReader
	if err := d.Decode(v); err == io.EOF {
		return io.ErrUnexpectedEOF // no element at all
	} else if err != nil {
		return err
	}
	for {
		t, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement, xml.EndElement:
			return errTrailing
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return errTrailing
			}
		}
	}
}

// plainError returns err without the names of Go functions and layouts.
func plainError(err error) error {
	if num := (*strconv.NumError)(nil); errors.As(err, &num) {
		return fmt.Errorf("%s: %w", quote(num.Num), num.Err)
	}
	if parse := (*time.ParseError)(nil); errors.As(err, &parse) {
		return fmt.Errorf("%s is not a time of RFC 3339", quote(parse.Value))
	}
	if set := (*charsetError)(nil); errors.As(err, &set) {
		return set
	}
	return err
}

// quote quotes the start of a text.
func quote(text string) string {
	const most = 32
	return fmt.Sprintf("%q", text[:min(len(text), most)])
}
