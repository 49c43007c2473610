package jsonproto

import (
	"fmt"
	"strconv"

	"github.com/teleport-go/teleport/core/socket"
)

// FieldError is a frame that cannot be read, or a message that does not fit
// into one. If the whole frame has been read, so that the connection can go on,
// it matches [socket.ErrBadMessage].
type FieldError struct {
	Field string // which part of the frame: "size", "pipe", "seq", "body", …
	Fault string // what is wrong with it, with its value
	Err   error  // the cause; may be nil

	read bool // the whole frame has been read
}

func (e *FieldError) Error() string {
	text := "json: " + e.Field
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

func badAt(at int, fault string) error {
	return bad("document", fmt.Sprintf("%s at byte %d", fault, at), nil)
}

// isReply tells whether messages of this type carry an error.
func isReply(mtype byte) bool {
	return mtype == socket.TypeReply || mtype == socket.TypeAuthReply
}

// statusOK is the status of a V7 message without an error.
const statusOK = "code=0"

// appendPayload appends the document. Metadata and status are query strings, in
// which nothing has to be escaped. On an error it returns anything.
func appendPayload(dst []byte, m socket.Message, d Dialect) ([]byte, error) {
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendInt(dst, int64(m.Seq()), 10)
	dst = append(dst, `,"mtype":`...)
	dst = strconv.AppendUint(dst, uint64(m.Mtype()), 10)
	dst = append(dst, `,"serviceMethod":"`...)
	dst = appendEscaped(dst, m.ServiceMethod())
	if d == V7 {
		dst = append(dst, `","status":"`...)
		dst = appendStatus(dst, m)
	}
	dst = append(dst, `","meta":"`...)
	dst = appendMeta(dst, m, d)
	dst = append(dst, `","bodyCodec":`...)
	dst = strconv.AppendUint(dst, uint64(m.BodyCodec()), 10)
	dst = append(dst, `,"body":"`...)
	at := len(dst)
	dst, err := m.AppendBody(dst)
	if err != nil {
		return dst, err
	}
	return append(escapeTail(dst, at), '}'), nil
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
