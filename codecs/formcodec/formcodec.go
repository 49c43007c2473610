// Package formcodec encodes bodies as forms: application/x-www-form-urlencoded,
// as browsers send them and as query strings are written.
//
// It carries maps with strings as keys (url.Values, map[string]string and their
// like) and structs, and pointers to both. A form is flat: each value in it is a
// text or a list of texts. A text is a string, a []byte (its bytes as they are), a
// bool, a number, a time.Time, or whatever has MarshalText and UnmarshalText; a
// list is a slice or an array of them. Anything else is refused with words, at
// the first use of the type.
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
//		Address           // its fields, as if they stood here
//	}
//
// The fields of a struct in a struct, embedded or not, stand in the place of that
// struct; it can have no name of its own. Where two fields have the same name, the
// one that is less deep counts; two that are equally deep are refused.
//
// A pointer that is nil and a slice that is empty make no pair. On reading, nil
// pointers get a new value when there is something for them.
//
// # Times
//
// A time is written as time.RFC3339Nano, unless time_format gives another layout.
// time_utc:"true" writes it in UTC, time_location:"Europe/Paris" as it is there. A
// layout without a zone is written and read in that location, or in the local time
// of the process if no tag names one: then all peers have to live in one zone.
//
// # Reading
//
// Keys are case-sensitive; those nobody asked for are ignored. Of several values
// where one is wanted the first counts. A value that is empty is no value for a
// number, a bool or a time: it leaves them as they are. A bool is what
// strconv.ParseBool reads, or "on", which a browser sends for a checked box.
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

// Marshal returns v as a form. nil and nil pointers are no bytes.
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

// Unmarshal decodes a form into v: a pointer to a struct, to a map or to an any,
// which becomes a url.Values; or a map that is not nil. What the form does not
// name stays as it is, lists it names are replaced. If it fails, v may hold a part
// of the form.
func (Codec) Unmarshal(data []byte, v any) error {
	if err := decode(data, v); err != nil {
		return fmt.Errorf("form codec: urlencoded string can not be decoded to %T type: %w", v, err)
	}
	return nil
}
