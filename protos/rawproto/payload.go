package rawproto

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"sync"

	"github.com/teleport-go/teleport/core/socket"
)

// FieldError is a frame that cannot be read, or a message that does not fit
// into one. If the whole frame has been read, so that the connection can go on,
// it matches [socket.ErrBadMessage].
type FieldError struct {
	Field string // which part of the frame: "size", "seq", "service method", …
	Fault string // what is wrong with it, with its value
	Err   error  // the cause; may be nil

	read bool // the whole frame has been read
}

func (e *FieldError) Error() string {
	text := "raw: " + e.Field
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

func overEnd(field string, n int) error {
	return bad(field, fmt.Sprintf("of %d bytes is over the frame's end", n), nil)
}

func tooLong(field string, n int, unit string, limit int) error {
	return &FieldError{Field: field, Fault: fmt.Sprintf("of %d %s is longer than %d", n, unit, limit)}
}

// isReply tells whether messages of this type carry an error.
func isReply(mtype byte) bool {
	return mtype == socket.TypeReply || mtype == socket.TypeAuthReply
}

// appendPayload appends what goes through the pipe. On an error it returns
// anything.
func appendPayload(dst []byte, m socket.Message, d Dialect) ([]byte, error) {
	at := len(dst)
	dst = append(dst, 0)
	dst = strconv.AppendInt(dst, int64(m.Seq()), 36)
	dst[at] = byte(len(dst) - at - 1)
	dst = append(dst, m.Mtype())

	method := m.ServiceMethod()
	if len(method) > maxText {
		return dst, tooLong("service method", len(method), "bytes", maxText)
	}
	dst = append(dst, byte(len(method)))
	dst = append(dst, method...)

	var err error
	if d == V7 {
		if dst, err = appendStatus(dst, m); err != nil {
			return dst, err
		}
	}
	if dst, err = appendMeta(dst, m, d); err != nil {
		return dst, err
	}
	return m.AppendBody(append(dst, m.BodyCodec()))
}

// block16 writes the length of the block that begins at dst[at], two bytes.
func block16(dst []byte, at int, field string) ([]byte, error) {
	n := len(dst) - at - 2
	if n > maxBlock {
		return dst, tooLong(field, n, "bytes", maxBlock)
	}
	binary.BigEndian.PutUint16(dst[at:], uint16(n))
	return dst, nil
}

// appendStatus appends V7's status: code=0, or code, msg and cause.
func appendStatus(dst []byte, m socket.Message) ([]byte, error) {
	at := len(dst)
	dst = append(dst, 0, 0)
	rerr := m.Rerror()
	if !isReply(m.Mtype()) || !rerr.HasError() {
		return block16(append(dst, statusOK...), at, "status")
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
	return block16(dst, at, "status")
}

// appendMeta appends the metadata, and the error of a reply where the dialect
// has no other place for it. A key of that name in the metadata is never sent.
func appendMeta(dst []byte, m socket.Message, d Dialect) ([]byte, error) {
	at := len(dst)
	dst = append(dst, 0, 0)
	meta := m.Meta()
	if d == V7 {
		return block16(meta.AppendBytes(dst), at, "metadata")
	}
	var rerr *socket.Rerror
	if isReply(m.Mtype()) && m.Rerror().HasError() {
		rerr = m.Rerror()
	}
	if rerr == nil && (meta.Len() == 0 || !meta.Has(socket.MetaReplyError)) {
		return block16(meta.AppendBytes(dst), at, "metadata")
	}
	own := socket.AcquireMeta()
	defer socket.ReleaseMeta(own)
	meta.CopyTo(own)
	own.Del(socket.MetaReplyError)
	rerr.SetToMeta(own)
	return block16(own.AppendBytes(dst), at, "metadata")
}

// fields is a payload taken apart; its slices are parts of the payload.
type fields struct {
	seq                  int32
	mtype, codec         byte
	method, status, meta []byte
	body                 []byte
}

// parse takes a payload of the dialect apart.
func (f *fields) parse(b []byte, d Dialect) error {
	*f = fields{}
	seq, b, err := cut8(b, "seq")
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(string(seq), 36, 32)
	if err != nil {
		return bad("seq", fmt.Sprintf("%q is not a 32-bit number in base 36", seq), nil)
	}
	f.seq = int32(n)
	if len(b) == 0 {
		return overEnd("message type", 1)
	}
	f.mtype, b = b[0], b[1:]
	if f.method, b, err = cut8(b, "service method"); err != nil {
		return err
	}
	if d == V7 {
		if f.status, b, err = cut16(b, "status"); err != nil {
			return err
		}
	}
	if f.meta, b, err = cut16(b, "metadata"); err != nil {
		return err
	}
	if len(b) == 0 {
		return overEnd("body codec", 1)
	}
	f.codec, f.body = b[0], b[1:]
	return nil
}

func cut8(b []byte, field string) (text, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, overEnd("length of the "+field, 1)
	}
	n := int(b[0])
	if b = b[1:]; n > len(b) {
		return nil, nil, overEnd(field, n)
	}
	return b[:n], b[n:], nil
}

func cut16(b []byte, field string) (text, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, overEnd("length of the "+field, 2)
	}
	n := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n > len(b) {
		return nil, nil, overEnd(field, n)
	}
	return b[:n], b[n:], nil
}

// fill sets the message to the fields; the body is handed over as it is.
func (f *fields) fill(m socket.Message, d Dialect) error {
	m.SetSeq(f.seq)
	m.SetMtype(f.mtype)
	m.SetServiceMethodBytes(f.method)
	m.SetBodyCodec(f.codec)
	meta := m.Meta()
	if len(f.meta) > 0 || meta.Len() > 0 {
		meta.ParseBytes(f.meta)
	}
	var rerr *socket.Rerror
	if isReply(f.mtype) {
		rerr = f.rerror(meta, d)
	}
	m.SetRerror(rerr)
	if d != V7 && meta.Len() > 0 {
		meta.Del(socket.MetaReplyError)
	}
	if err := m.UnmarshalBody(f.body); err != nil {
		return bad("body", "", err)
	}
	return nil
}

// rerror returns the error that a reply carries.
func (f *fields) rerror(meta *socket.Meta, d Dialect) *socket.Rerror {
	if d != V7 {
		return socket.NewRerrorFromMeta(meta)
	}
	if string(f.status) == statusOK {
		return nil
	}
	status := socket.AcquireMeta()
	defer socket.ReleaseMeta(status)
	status.ParseBytes(f.status)
	code, err := strconv.ParseInt(string(status.Peek("code")), 10, 32)
	if err != nil || code == 0 {
		return nil // V7 reads it so
	}
	return socket.NewRerror(int32(code), string(status.Peek("msg")), string(status.Peek("cause")))
}

// scratch is a pooled buffer.
type scratch struct{ b []byte }

var scratches = sync.Pool{New: func() any { return &scratch{make([]byte, 0, 1<<10)} }}

func getScratch() *scratch { return scratches.Get().(*scratch) }

func (s *scratch) free() {
	if cap(s.b) > 1<<20 {
		return // one large message must not stay in memory
	}
	s.b = s.b[:0]
	scratches.Put(s)
}
