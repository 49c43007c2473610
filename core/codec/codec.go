// Package codec defines the interface of the codecs, which encode the bodies of
// messages, and registers them by id and by name.
//
// A codec is a module of its own that registers itself when it is imported:
//
//	import _ "github.com/teleport-go/teleport/codecs/jsoncodec"
//
// All functions of the package may be called concurrently.
package codec

import (
	"errors"

	"github.com/teleport-go/teleport/core/internal/registry"
)

// Codec encodes and decodes bodies. Its methods are called concurrently.
type Codec interface {
	// ID returns the codec's id on the wire; it is not 0 and never changes.
	ID() byte
	// Name returns the codec's name; it is not empty and never changes.
	Name() string
	// Marshal returns the encoding of v, which may be nil. The result belongs to
	// the caller.
	Marshal(v any) ([]byte, error)
	// Unmarshal decodes data into the value v points to. It does not modify data and
	// does not retain any part of it.
	Unmarshal(data []byte, v any) error
}

// Appender is a Codec that can append to a buffer of the caller.
type Appender interface {
	Codec
	// Append appends the encoding of v to dst and returns the extended buffer. If
	// it fails it returns dst, unchanged in length. It does not retain dst.
	Append(dst []byte, v any) ([]byte, error)
	// Pure reports whether Append calls no code of the user, such as MarshalJSON,
	// whatever v is. Append may then be called while a lock is held.
	Pure() bool
}

// IDs of the project's codecs, so that a protocol can name one without importing
// it. IDs from 1 to 127 are reserved for the project, 240 to 255 for tests; all
// other codecs choose from 128 to 239.
const (
	JSON     byte = 'j'
	Protobuf byte = 'p'
	Thrift   byte = 't'
	Form     byte = 'f'
	Plain    byte = 's'
	XML      byte = 'x'
	CBOR     byte = 'c'
)

// Names of the codecs of this repository.
const (
	NameJSON     = "json"
	NameProtobuf = "protobuf"
	NameThrift   = "thrift"
	NameForm     = "form"
	NamePlain    = "plain"
	NameXML      = "xml"
	NameCBOR     = "cbor"
)

// The id and the name that mean no codec.
const (
	NilCodecID   byte = 0
	NilCodecName      = ""
)

// ErrUnsupported is wrapped by the error of a look-up that finds no codec.
var ErrUnsupported = errors.New("unsupported codec")

const home = "github.com/teleport-go/teleport/codecs/"

var codecs = registry.New[Codec]("codec", ErrUnsupported,
	registry.Known{ID: JSON, Name: NameJSON, Import: home + "jsoncodec"},
	registry.Known{ID: Protobuf, Name: NameProtobuf, Import: home + "pbcodec"},
	registry.Known{ID: Thrift, Name: NameThrift, Import: home + "thriftcodec"},
	registry.Known{ID: Form, Name: NameForm, Import: home + "formcodec"},
	registry.Known{ID: Plain, Name: NamePlain, Import: home + "plaincodec"},
	registry.Known{ID: XML, Name: NameXML, Import: home + "xmlcodec"},
	registry.Known{ID: CBOR, Name: NameCBOR, Import: home + "cborcodec"},
)

// Register registers a codec. It panics if its id or its name is taken, or if the id
// is 0 or the name empty. It is meant for init functions.
func Register(c Codec) { codecs.Register(c) }

// Replace registers a codec in place of those that have its id or its name, such as a
// faster JSON codec. It panics if the id is 0 or the name empty. It is meant for main,
// before messages are sent.
func Replace(c Codec) { codecs.Replace(c) }

// Get returns the codec with that id. The error wraps ErrUnsupported and names
// the import that may be missing.
func Get(id byte) (Codec, error) { return codecs.Get(id) }

// GetByName returns the codec with that name. The error is that of Get.
func GetByName(name string) (Codec, error) { return codecs.GetByName(name) }

// All returns the registered codecs in the order of their ids.
func All() []Codec { return codecs.All() }

// Marshal encodes v with the codec of that id.
func Marshal(id byte, v any) ([]byte, error) {
	c, err := Get(id)
	if err != nil {
		return nil, err
	}
	return c.Marshal(v)
}

// Unmarshal decodes data into v with the codec of that id.
func Unmarshal(id byte, data []byte, v any) error {
	c, err := Get(id)
	if err != nil {
		return err
	}
	return c.Unmarshal(data, v)
}

// MarshalByName encodes v with the codec of that name.
func MarshalByName(name string, v any) ([]byte, error) {
	c, err := GetByName(name)
	if err != nil {
		return nil, err
	}
	return c.Marshal(v)
}

// UnmarshalByName decodes data into v with the codec of that name.
func UnmarshalByName(name string, data []byte, v any) error {
	c, err := GetByName(name)
	if err != nil {
		return err
	}
	return c.Unmarshal(data, v)
}

// AppendBody appends the encoding of v to dst, in place if c is an Appender. If
// it fails it returns dst, unchanged in length.
func AppendBody(dst []byte, c Codec, v any) ([]byte, error) {
	var err error
	var out []byte
	if a, ok := c.(Appender); ok {
		out, err = a.Append(dst, v)
	} else if out, err = c.Marshal(v); err == nil {
		out = append(dst, out...)
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}
