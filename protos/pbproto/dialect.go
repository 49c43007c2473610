package pbproto

import (
	"math"

	"github.com/teleport-go/teleport/core/socket/framing"
)

// Dialect is a numbering of the fields.
type Dialect byte

const (
	// V5 is the layout of Teleport v5. An error of a reply travels as metadata
	// X-Reply-Error.
	V5 Dialect = 1 + iota
	// V7 is the layout of eRPC v6 and v7, which has a field for the error of a
	// reply.
	V7
)

var dialects = []framing.Dialect{V5: {Name: "v5"}, V7: {Name: "v7"}}

// String returns "v5" or "v7".
func (d Dialect) String() string { return framing.Text(dialects, d) }

func (d Dialect) other() Dialect {
	if d == V5 {
		return V7
	}
	return V5
}

// dialect returns the dialect in which the fields were written. Where neither the
// codec nor the body is there, it is V7 if field 4 reads like its status.
func (f *fields) dialect() (Dialect, error) {
	five, seven := f.fits(V5), f.fits(V7)
	switch {
	case five != nil && seven != nil:
		return 0, five
	case seven != nil:
		return V5, nil
	case five != nil, f.kind[7] != absent, f.statusFits():
		return V7, nil
	}
	return V5, nil
}

// fits reports whether fields 5 and 6 are of the dialect's types.
func (f *fields) fits(d Dialect) error {
	want5, want6 := varint, length
	if d == V7 {
		want5, want6 = length, varint
	}
	if k := f.kind[5]; k != absent && k != want5 {
		return wrongType(5, k, want5)
	}
	if k := f.kind[6]; k != absent && k != want6 {
		return wrongType(6, k, want6)
	}
	return nil
}

// statusFits reports whether V7 would have written field 4 as the status.
func (f *fields) statusFits() bool {
	return f.num[2] <= math.MaxUint8 && framing.IsStatus(byte(f.num[2]), f.bytes[4])
}

// recognise tells protobuf frames from those of the other protocols: a payload
// begins with the tag of the sequence number, or of the message type where that is
// 0.
func recognise(prefix []byte) (match bool, need int) {
	return framing.Recognise(prefix, func(payload []byte) bool {
		return payload[0] == 1<<3 || payload[0] == 2<<3
	})
}

// begins reports whether a payload can begin with this byte. It is the tag of a field,
// in whatever order others write them: a number above 0, and no group.
func begins(first byte) bool {
	const i64, i32 = 1, 5
	switch first & 7 {
	case byte(varint), byte(length), i64, i32:
		return first>>3 > 0
	}
	return false
}
