// Package formcodec encodes bodies as forms: application/x-www-form-urlencoded,
// as browsers send them and as query strings are written.
//
// It supports maps with strings as keys (such as url.Values and map[string]string),
// structs, and pointers to both. A form is flat: each value in it is a text or a list
// of texts. A text is a string, a []byte (its bytes as they are), a bool, a number, a
// time.Time, a time.Duration, or a type with MarshalText and UnmarshalText; a list is a
// slice or an array of them. All other types are an error that names the field.
//
// # Structs
//
// The pairs come in the order of the fields:
//
//	type Order struct {
//		ID      int       `form:"id"`
//		Note    string    `form:"note,omitempty"` // no pair if it is ""
//		Tags    []string  // a pair for each tag, with the key Tags
//		Secret  string    `form:"-"` // never
//		Day     time.Time `time_format:"2006-01-02" time_utc:"true"`
//		Address           // its fields, as if they were declared here
//	}
//
// A struct in a struct, embedded or not, is replaced by its fields; it cannot have a
// name. Of two fields with the same name the less deeply nested one counts; two at the
// same depth are an error.
//
// A nil pointer and an empty slice have no pair, so an empty slice is decoded as a nil
// one. A nil pointer in a list is an empty text, if that is no value of its type, as of
// numbers; otherwise it is an error. Decoding allocates values for nil pointers as
// needed.
//
// # Times
//
// A time is written as time.RFC3339Nano, unless time_format gives another layout.
// time_utc:"true" writes it in UTC, time_location:"Europe/Paris" in that location. A
// layout without a zone is written and read in that location, or in the local time
// of the process if no tag names one: then all peers have to be in one zone.
//
// # Decoding
//
// Keys are case-sensitive; unknown ones are ignored. Of several values for a single
// text the first counts. An empty text is no value of a number, a bool or a time and
// leaves them as they are. A bool is what strconv.ParseBool accepts, or "on", which
// browsers send for a checked box. A time.Duration is an integer, in nanoseconds, as
// it is encoded, or text such as "5s".
package formcodec

import (
	"fmt"

	"github.com/teleport-go/teleport/core/codec"
)

func init() { codec.Register(Codec{}) }

// maxPairs is how many pairs a form has at most, read or written, and how many
// fields a struct.
const maxPairs = 10_000

// Codec is the form codec. Its methods may be called concurrently.
type Codec struct{}

var _ codec.Appender = Codec{}

// ID returns codec.Form.
func (Codec) ID() byte { return codec.Form }

// Name returns codec.NameForm.
func (Codec) Name() string { return codec.NameForm }

// Pure returns false: MarshalText is code of the user.
func (Codec) Pure() bool { return false }

// Marshal returns v as a form. The encoding of nil and of nil pointers has no bytes.
func (c Codec) Marshal(v any) ([]byte, error) { return c.Append(nil, v) }

// Append appends v as a form to dst. If it fails it returns dst, unchanged in
// length.
func (Codec) Append(dst []byte, v any) ([]byte, error) {
	e := encoder{b: dst, start: len(dst)}
	if err := e.encode(v); err != nil {
		return dst, fmt.Errorf("form codec: %T can not be encoded to urlencoded string: %w", v, err)
	}
	return e.b, nil
}

// Unmarshal decodes a form into v: a pointer to a struct, to a map or to an any, which
// is set to a url.Values; or a map that is not nil. Fields and keys that are not in the
// form stay as they are, lists that are in it are replaced. If it fails, v may hold a
// part of the form.
func (Codec) Unmarshal(data []byte, v any) error {
	if err := decode(data, v); err != nil {
		return fmt.Errorf("form codec: urlencoded string can not be decoded to %T type: %w", v, err)
	}
	return nil
}
