package thriftproto

import (
	"encoding/binary"

	"github.com/teleport-go/teleport/core/socket"
)

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

// exceptionError returns the error of a TApplicationException. A field that is not
// understood ends it, and one that cannot be read is an error without text.
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
	return socket.CodeBadMessage // the rest are faults of the request
}
