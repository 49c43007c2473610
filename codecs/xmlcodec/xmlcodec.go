// Package xmlcodec encodes bodies as XML, with the standard library.
//
// It takes what encoding/xml takes: structs with their tags, and plain values.
package xmlcodec

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"

	"github.com/teleport-go/teleport/core/codec"
)

func init() { codec.Register(Codec{}) }

// Codec is the XML codec. Its methods may be called concurrently.
type Codec struct{}

var _ codec.Appender = Codec{}

// ID returns codec.XML.
func (Codec) ID() byte { return codec.XML }

// Name returns codec.NameXML.
func (Codec) Name() string { return codec.NameXML }

// Pure returns false: MarshalXML and MarshalText are code of the user.
func (Codec) Pure() bool { return false }

// Marshal returns v as XML; nil is no bytes.
func (c Codec) Marshal(v any) ([]byte, error) { return c.Append(nil, v) }

// Append appends v as XML to dst. If it fails it returns dst, unchanged in length.
func (Codec) Append(dst []byte, v any) ([]byte, error) {
	w := bytes.NewBuffer(dst)
	if err := xml.NewEncoder(w).Encode(v); err != nil {
		return dst, fmt.Errorf("xml codec: encode %T: %w", v, err)
	}
	return w.Bytes(), nil
}

// errTrailing is what is left behind the element that was decoded.
var errTrailing = errors.New("data behind the root element")

// Unmarshal decodes one XML element into the value v points to. Comments and
// white space may follow it, nothing else.
func (Codec) Unmarshal(data []byte, v any) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	err := d.Decode(v)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // no element at all
	}
	for err == nil {
		var t xml.Token
		switch t, err = d.Token(); t := t.(type) {
		case xml.StartElement, xml.EndElement:
			err = errTrailing
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				err = errTrailing
			}
		}
	}
	if err != io.EOF {
		return fmt.Errorf("xml codec: decode into %T: %w", v, err)
	}
	return nil
}
