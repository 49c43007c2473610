package framing

import (
	"strconv"

	"github.com/teleport-go/teleport/core/socket"
)

// StatusOK is the status of a message without an error.
const StatusOK = "code=0"

// Fields is a message as a payload has it; its slices are parts of the payload.
//
// The error of a reply is either metadata X-Reply-Error, as in v5, which is then
// removed from the metadata that a program sees, or a text of its own, the status,
// as in v7.
type Fields struct {
	Seq           int32
	Mtype, Codec  byte
	HasStatus     bool // the error is in Status, and X-Reply-Error is metadata like any other
	Own           bool // nothing else will use the memory of Body: it becomes the message's
	ServiceMethod []byte
	Status        []byte // as AppendStatus writes it
	Meta          []byte // a query string
	Body          []byte // encoded
}

// Fill sets the message to the fields, all but its pipe and its size. The body is
// handed over by UnmarshalBody, whose error Fill returns.
func (f *Fields) Fill(message socket.Message) error {
	m := socket.EnvelopeOf(message)
	m.SetSeq(f.Seq)
	m.SetMtype(f.Mtype)
	m.SetServiceMethodBytes(f.ServiceMethod)
	m.SetBodyCodec(f.Codec)
	meta := m.Meta()
	if len(f.Meta) > 0 || meta.Len() > 0 {
		meta.ParseBytes(f.Meta)
	}
	var rerr *socket.Rerror
	if IsReply(f.Mtype) {
		if f.HasStatus {
			rerr = ParseStatus(f.Status)
		} else {
			rerr = socket.NewRerrorFromMeta(meta)
		}
	}
	m.SetRerror(rerr)
	if !f.HasStatus && meta.Len() > 0 {
		meta.Del(socket.MetaReplyError)
	}
	if err := m.UnmarshalBody(f.Body); err != nil {
		return err
	}
	if f.Own {
		Own(m)
	}
	return nil
}

// ParseStatus returns the error of a reply with this status, nil if it has none.
func ParseStatus(b []byte) *socket.Rerror {
	if len(b) == 0 || string(b) == StatusOK {
		return nil
	}
	status := socket.AcquireMeta()
	defer socket.ReleaseMeta(status)
	status.ParseBytes(b)
	code, err := strconv.ParseInt(string(status.Peek("code")), 10, 32)
	if err != nil || code == 0 {
		return nil // as v5 and v7 read it
	}
	return socket.NewRerror(int32(code), string(status.Peek("msg")), string(status.Peek("cause")))
}

// AppendStatus appends the status of a message: StatusOK, or code, msg and cause
// of a reply's error as a query string. It may be called concurrently if nobody
// changes the message.
func AppendStatus(dst []byte, m socket.Message) []byte {
	rerr := m.Rerror()
	if !IsReply(m.Mtype()) || !rerr.HasError() {
		return append(dst, StatusOK...)
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

// AppendMeta appends the metadata of a message and, as X-Reply-Error, the error of a
// reply; such a key in the metadata itself is never sent. (Where the error is in the
// status, the metadata is sent as it is, by its own AppendBytes.) It may be called
// concurrently if nobody changes the message.
func AppendMeta(dst []byte, message socket.Message) []byte {
	m := socket.EnvelopeOf(message)
	if IsReply(m.Mtype()) && m.Rerror().HasError() {
		return appendMetaAndError(dst, m.Meta(), m.Rerror())
	}
	switch meta := m.Meta(); {
	case meta.Len() == 0:
		return dst
	case meta.Has(socket.MetaReplyError):
		return appendMetaAndError(dst, meta, nil)
	default:
		return meta.AppendBytes(dst)
	}
}

// appendMetaAndError appends meta with the error rerr, without any if that is nil.
func appendMetaAndError(dst []byte, meta *socket.Meta, rerr *socket.Rerror) []byte {
	own := socket.AcquireMeta()
	defer socket.ReleaseMeta(own)
	meta.CopyTo(own)
	own.Del(socket.MetaReplyError)
	rerr.SetToMeta(own)
	return own.AppendBytes(dst)
}
