package pbproto

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/teleport-go/teleport/core/socket"
)

// FieldError is a frame that cannot be read, or a message that does not fit
// into one. If the whole frame has been read, so that the connection can go on,
// it matches [socket.ErrBadMessage].
type FieldError struct {
	Field string // which part of the frame: "size", "pipe", "field 5", …
	Fault string // what is wrong with it, with its value
	Err   error  // the cause; may be nil

	read bool // the whole frame has been read
}

func (e *FieldError) Error() string {
	text := "protobuf: " + e.Field
	if e.Fault != "" {
		text += " " + e.Fault
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause and, where it applies, socket.ErrBadMessage.
func (e *FieldError) Unwrap() []error {
	var errs []error
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	if e.read {
		errs = append(errs, socket.ErrBadMessage)
	}
	return errs
}

func bad(field, fault string, cause error) error {
	return &FieldError{Field: field, Fault: fault, Err: cause, read: true}
}

func badField(number uint64, fault string) error {
	return bad("field "+strconv.FormatUint(number, 10), fault, nil)
}

func overEnd(field string, n uint64) error {
	return bad(field, fmt.Sprintf("of %d bytes is over the frame's end", n), nil)
}

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

// isReply tells whether messages of this type carry an error.
func isReply(mtype byte) bool {
	return mtype == socket.TypeReply || mtype == socket.TypeAuthReply
}

// appendPayload appends the message; fields that are zero are left out. On an
// error it returns anything.
func appendPayload(dst []byte, m socket.Message, d Dialect) ([]byte, error) {
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
		dst = shut(appendStatus(dst, m), at, 1)
		next++
	}
	dst, at := open(dst, next, 1)
	dst = shut(appendMeta(dst, m, d), at, 1)
	dst = appendInt(dst, next+1, int64(m.BodyCodec()))

	room := varintLen(bodyGuess(m.Body()))
	dst, at = open(dst, next+2, room)
	dst, err := m.AppendBody(dst)
	return shut(dst, at, room), err
}

func appendInt(dst []byte, number byte, v int64) []byte {
	if v == 0 {
		return dst
	}
	return binary.AppendUvarint(append(dst, number<<3|byte(varint)), uint64(v))
}

// open begins a field of unknown length, with room for so many bytes of it. What
// is appended then is the field, until shut.
func open(dst []byte, number byte, room int) (_ []byte, at int) {
	dst = append(dst, number<<3|byte(length))
	return append(dst, make([]byte, room)...), len(dst)
}

// shut writes the length of the field whose length is at dst[at], and takes an
// empty one away.
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

// appendStatus appends V7's status: code=0, or code, msg and cause.
func appendStatus(dst []byte, m socket.Message) []byte {
	rerr := m.Rerror()
	if !isReply(m.Mtype()) || !rerr.HasError() {
		return append(dst, statusOK...)
	}
	status := socket.AcquireMeta()
	defer socket.ReleaseMeta(status)
	status.SetUint("code", int(rerr.Code))
	if rerr.Message != "" {
		status.Add("msg", rerr.Message)
	}
	// The cause is there even when it is empty, with the "=" that metadata
	// leaves out. A key without a value is its escaped text and no more.
	dst = append(status.AppendBytes(dst), "&cause="...)
	if rerr.Reason != "" {
		status.Reset()
		status.Add(rerr.Reason, "")
		dst = status.AppendBytes(dst)
	}
	return dst
}

// appendMeta appends the metadata, and the error of a reply where the dialect
// has no other place for it. A key of that name in the metadata is never sent.
func appendMeta(dst []byte, m socket.Message, d Dialect) []byte {
	meta := m.Meta()
	if d == V7 {
		return meta.AppendBytes(dst)
	}
	var rerr *socket.Rerror
	if isReply(m.Mtype()) && m.Rerror().HasError() {
		rerr = m.Rerror()
	}
	if rerr == nil && (meta.Len() == 0 || !meta.Has(socket.MetaReplyError)) {
		return meta.AppendBytes(dst)
	}
	own := socket.AcquireMeta()
	defer socket.ReleaseMeta(own)
	meta.CopyTo(own)
	own.Del(socket.MetaReplyError)
	rerr.SetToMeta(own)
	return own.AppendBytes(dst)
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
			return bad("tag", fmt.Sprintf("% x is none", b[:min(len(b), binary.MaxVarintLen64)]), nil)
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
					return overEnd("field "+strconv.FormatUint(number, 10), v)
				}
				text, b = b[:v], b[v:]
			}
		case fixed64, fixed32:
			n = 4
			if kind == fixed64 {
				n = 8
			}
			if n > len(b) {
				return overEnd("field "+strconv.FormatUint(number, 10), uint64(n))
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

// fill sets the message to the fields; the body is handed over as it is.
func (f *fields) fill(m socket.Message, d Dialect) error {
	// int32 is written in 64 bits; some write a negative one in 32.
	seq := f.num[1]
	if v := int64(seq); v < math.MinInt32 || v > math.MaxUint32 {
		return badField(1, fmt.Sprintf("(sequence number) of %d is beyond 32 bits", v))
	}
	if f.num[2] > math.MaxUint8 {
		return badField(2, fmt.Sprintf("(message type) of %d is beyond a byte", f.num[2]))
	}
	meta4, codec, body := f.bytes[4], f.num[5], f.bytes[6]
	if d == V7 {
		meta4, codec, body = f.bytes[5], f.num[6], f.bytes[7]
	}
	if codec > math.MaxUint8 {
		return bad("body codec", fmt.Sprintf("of %d is beyond a byte", codec), nil)
	}
	mtype := byte(f.num[2])
	m.SetSeq(int32(seq))
	m.SetMtype(mtype)
	m.SetServiceMethodBytes(f.bytes[3])
	m.SetBodyCodec(byte(codec))
	meta := m.Meta()
	if len(meta4) > 0 || meta.Len() > 0 {
		meta.ParseBytes(meta4)
	}
	var rerr *socket.Rerror
	if isReply(mtype) {
		rerr = f.rerror(meta, d)
	}
	m.SetRerror(rerr)
	if d != V7 && meta.Len() > 0 {
		meta.Del(socket.MetaReplyError)
	}
	if err := m.UnmarshalBody(body); err != nil {
		return bad("body", "", err)
	}
	return nil
}

// rerror returns the error that a reply carries.
func (f *fields) rerror(meta *socket.Meta, d Dialect) *socket.Rerror {
	if d != V7 {
		return socket.NewRerrorFromMeta(meta)
	}
	b := f.bytes[4]
	if len(b) == 0 || string(b) == statusOK {
		return nil
	}
	status := socket.AcquireMeta()
	defer socket.ReleaseMeta(status)
	status.ParseBytes(b)
	code, err := strconv.ParseInt(string(status.Peek("code")), 10, 32)
	if err != nil || code == 0 {
		return nil // V7 reads it so
	}
	return socket.NewRerror(int32(code), string(status.Peek("msg")), string(status.Peek("cause")))
}
