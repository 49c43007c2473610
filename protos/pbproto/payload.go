package pbproto

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// FieldError is a frame that cannot be read, or a message that does not fit
// into one. If the whole frame has been read, so that the connection can go on,
// it matches [socket.ErrBadMessage].
type FieldError = framing.FieldError

const errs = framing.Errors(Name)

func badField(number uint64, fault string) error { return errs.Bad(fieldName(number), fault, nil) }

func fieldName(number uint64) string { return "field " + strconv.FormatUint(number, 10) }

// wire is how a field is written; absent is one that is not.
type wire byte

const (
	varint  wire = 0
	fixed64 wire = 1
	length  wire = 2 // bytes behind their number
	fixed32 wire = 5
	absent  wire = 8
)

func (w wire) String() string {
	switch w {
	case varint:
		return "a varint"
	case fixed64:
		return "eight bytes"
	case length:
		return "a string of bytes"
	case fixed32:
		return "four bytes"
	}
	return "of wire type " + strconv.Itoa(int(w))
}

func wrongType(number uint64, got, want wire) error {
	return badField(number, fmt.Sprintf("is %v, want %v", got, want))
}

// appendPayload appends the message; fields that are zero are left out. On an
// error the slice it returns may hold anything.
func appendPayload(dst []byte, m socket.Message, d Dialect) ([]byte, error) {
	dst = appendHead(dst, m, d)
	number := byte(6)
	if d == V7 {
		number++
	}
	room := varintLen(bodyGuess(m.Body()))
	dst, at := open(dst, number, room)
	dst, err := m.AppendBody(dst)
	return shut(dst, at, room), err
}

// appendHead appends all that comes before the body.
func appendHead(dst []byte, m socket.Message, d Dialect) []byte {
	dst = appendInt(dst, 1, int64(m.Seq()))
	dst = appendInt(dst, 2, int64(m.Mtype()))
	if method := m.ServiceMethod(); method != "" {
		dst = binary.AppendUvarint(append(dst, 3<<3|byte(length)), uint64(len(method)))
		dst = append(dst, method...)
	}
	next := byte(4)
	if d == V7 {
		var at int
		dst, at = open(dst, next, 1)
		dst = shut(framing.AppendStatus(dst, m), at, 1)
		next++
	}
	dst, at := open(dst, next, 1)
	if d == V7 {
		dst = m.Meta().AppendBytes(dst)
	} else {
		dst = framing.AppendMeta(dst, m)
	}
	dst = shut(dst, at, 1)
	return appendInt(dst, next+1, int64(m.BodyCodec()))
}

func appendInt(dst []byte, number byte, v int64) []byte {
	if v == 0 {
		return dst
	}
	return binary.AppendUvarint(append(dst, number<<3|byte(varint)), uint64(v))
}

// open begins a field of unknown length, for which it reserves room bytes. What is
// appended then is the field, until shut.
func open(dst []byte, number byte, room int) (_ []byte, at int) {
	dst = append(dst, number<<3|byte(length))
	return append(dst, make([]byte, room)...), len(dst)
}

// shut writes the length of the field whose length is at dst[at], and removes an
// empty field.
func shut(dst []byte, at, room int) []byte {
	n := len(dst) - at - room
	if n == 0 {
		return dst[:at-1]
	}
	if need := varintLen(n); need != room {
		dst = slices.Grow(dst, max(need-room, 0))[:at+need+n]
		copy(dst[at+need:], dst[at+room:at+room+n])
	}
	binary.PutUvarint(dst[at:], uint64(n))
	return dst
}

func varintLen(n int) int {
	i := 1
	for ; n > 0x7f; n >>= 7 {
		i++
	}
	return i
}

// bodyGuess is about the length of the encoded body, so that it need not be
// moved when that is known.
func bodyGuess(body any) int {
	switch b := body.(type) {
	case []byte:
		return len(b)
	case *[]byte:
		if b != nil {
			return len(*b)
		}
	case string:
		return len(b)
	}
	return 1 << 7
}

// fields is a payload taken apart, by number; its slices are parts of the
// payload.
type fields struct {
	kind  [8]wire
	num   [8]uint64
	bytes [8][]byte
}

// parse takes a payload apart. Of a field that comes twice the last is taken, and
// one that neither dialect has is skipped.
func (f *fields) parse(b []byte) error {
	for i := range f.kind {
		f.kind[i] = absent
	}
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return errs.Bad("tag", fmt.Sprintf("% x is none", b[:min(len(b), binary.MaxVarintLen64)]), nil)
		}
		b = b[n:]
		number, kind := tag>>3, wire(tag&7)
		var v uint64
		var text []byte
		switch kind {
		case varint, length:
			if v, n = binary.Uvarint(b); n <= 0 {
				return badField(number, "has a varint that does not end")
			}
			if b = b[n:]; kind == length {
				if v > uint64(len(b)) {
					return errs.OverEnd(fieldName(number), v)
				}
				text, b = b[:v], b[v:]
			}
		case fixed64, fixed32:
			n = 4
			if kind == fixed64 {
				n = 8
			}
			if n > len(b) {
				return errs.OverEnd(fieldName(number), uint64(n))
			}
			b = b[n:]
		default:
			return badField(number, "is "+kind.String())
		}
		if number >= uint64(len(f.kind)) {
			continue
		}
		if err := f.set(number, kind); err != nil {
			return err
		}
		f.num[number], f.bytes[number] = v, text
	}
	return nil
}

// set notes how a field is written. What 5 and 6 have to be depends on the
// dialect, but neither can be both.
func (f *fields) set(number uint64, kind wire) error {
	want := length
	switch number {
	case 1, 2:
		want = varint
	case 5, 6:
		if want = f.kind[number]; want == absent && (kind == varint || kind == length) {
			want = kind
		} else if want == absent {
			want = varint
		}
	}
	if kind != want {
		return wrongType(number, kind, want)
	}
	f.kind[number] = kind
	return nil
}

// fill sets the message to the fields as dialect d has them.
func (f *fields) fill(m socket.Message, d Dialect, own bool) error {
	// int32 is written in 64 bits; some write a negative one in 32.
	seq := f.num[1]
	if v := int64(seq); v < math.MinInt32 || v > math.MaxUint32 {
		return badField(1, fmt.Sprintf("(sequence number) of %d is beyond 32 bits", v))
	}
	if f.num[2] > math.MaxUint8 {
		return badField(2, fmt.Sprintf("(message type) of %d is beyond a byte", f.num[2]))
	}
	out := framing.Fields{Seq: int32(seq), Mtype: byte(f.num[2]), ServiceMethod: f.bytes[3], Own: own}
	codec := f.num[5]
	if d == V7 {
		codec = f.num[6]
		out.HasStatus = true
		out.Status, out.Meta, out.Body = f.bytes[4], f.bytes[5], f.bytes[7]
	} else {
		out.Meta, out.Body = f.bytes[4], f.bytes[6]
	}
	if codec > math.MaxUint8 {
		return errs.Bad("body codec", fmt.Sprintf("of %d is beyond a byte", codec), nil)
	}
	out.Codec = byte(codec)
	if err := out.Fill(m); err != nil {
		return errs.Bad("body", "", err)
	}
	return nil
}
