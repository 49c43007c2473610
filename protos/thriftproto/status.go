package thriftproto

import (
	"encoding/binary"
	"strconv"

	"github.com/teleport-go/teleport/core/socket"
)

// statusOK is the status of a V7 message without an error.
const statusOK = "code=0"

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

// statusError returns the error in V7's status.
func statusError(text []byte) *socket.Rerror {
	if string(text) == statusOK {
		return nil
	}
	status := socket.AcquireMeta()
	defer socket.ReleaseMeta(status)
	status.ParseBytes(text)
	code, err := strconv.ParseInt(string(status.Peek("code")), 10, 32)
	if err != nil || code == 0 {
		return nil // V7 reads it so
	}
	return socket.NewRerror(int32(code), string(status.Peek("msg")), string(status.Peek("cause")))
}

// Kinds of a TApplicationException.
const (
	unknownMethod      = 1
	invalidMessageType = 2
	missingResult      = 5
	internalError      = 6
	protocolError      = 7
)

// Kinds of fields.
const (
	stop   = 0
	i32    = 8
	str    = 11
	fields = 1 + 2 // bytes before a field's value
)

// appendException appends the error as a TApplicationException: 1: message,
// 2: kind.
func appendException(dst []byte, r *socket.Rerror) []byte {
	text := r.Err().Error()
	dst = append(dst, str, 0, 1)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(text)))
	dst = append(dst, text...)
	kind := uint32(internalError)
	switch r.Code {
	case socket.CodeNotFound:
		kind = unknownMethod
	case socket.CodeBadMessage:
		kind = protocolError
	case socket.CodeMtypeNotAllowed:
		kind = invalidMessageType
	}
	dst = append(dst, i32, 0, 2)
	dst = binary.BigEndian.AppendUint32(dst, kind)
	return append(dst, stop)
}

// exceptionError returns the error that a TApplicationException is. It takes what
// it understands, and what does not read is an error all the same.
func exceptionError(b []byte) *socket.Rerror {
	code, reason := socket.CodeInternalServerError, ""
	for len(b) >= fields+4 {
		kind, id, n := b[0], binary.BigEndian.Uint16(b[1:]), binary.BigEndian.Uint32(b[fields:])
		b = b[fields+4:]
		switch {
		case kind == str && id == 1 && uint64(n) <= uint64(len(b)):
			reason, b = string(b[:n]), b[n:]
		case kind == i32 && id == 2:
			code = exceptionCode(n)
		default:
			b = nil
		}
	}
	return socket.NewRerror(code, socket.CodeText(code), reason)
}

func exceptionCode(kind uint32) int32 {
	switch kind {
	case 0, missingResult, internalError:
		return socket.CodeInternalServerError
	case unknownMethod:
		return socket.CodeNotFound
	case invalidMessageType:
		return socket.CodeMtypeNotAllowed
	}
	return socket.CodeBadMessage // the rest is about what was sent
}
