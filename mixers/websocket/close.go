package websocket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/teleport-go/teleport/core/socket"
)

// Close codes of RFC 6455, section 7.4.1, that this package sends.
const (
	CloseNormal      uint16 = 1000 // the session was closed
	CloseGoingAway   uint16 = 1001 // the peer shuts down
	CloseProtocol    uint16 = 1002 // the other side has violated RFC 6455
	CloseUnsupported uint16 = 1003 // the messages are of another sub-protocol
	CloseNoStatus    uint16 = 1005 // never sent: a close frame had no code
	CloseInvalid     uint16 = 1007 // a text message was not UTF-8
	ClosePolicy      uint16 = 1008 // the session was refused: by a plugin, by CloseWith, or its id is taken
	CloseTooLarge    uint16 = 1009 // a message was over the size limit
	CloseUnexpected  uint16 = 1011 // anything else has failed on this side
)

// CloseError is why a connection has failed, with the close code that this side has sent,
// or has received.
type CloseError struct {
	Code uint16
	Text string
}

func (e *CloseError) Error() string {
	return fmt.Sprintf("websocket: %s (close code %d)", e.Text, e.Code)
}

// violation is the error of a frame that RFC 6455 does not allow.
func violation(format string, args ...any) error {
	return &CloseError{CloseProtocol, fmt.Sprintf(format, args...)}
}

// codeOf returns the close code for an error of Unpack; 0: the connection has failed, and
// there is nobody to receive a code.
func codeOf(err error) uint16 {
	var e *CloseError
	switch {
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, socket.ErrSizeLimit):
		return CloseTooLarge
	case errors.Is(err, socket.ErrUnsupportedProto):
		return CloseUnsupported
	case errors.Is(err, socket.ErrMemory):
		return CloseUnexpected
	}
	return 0
}

// AppendFarewell appends the close frame, unless one was sent. Its reason is the message of
// a refusal, behind its code: "403 Forbidden".
func (p *wsProto) AppendFarewell(dst []byte, r socket.Reason) []byte {
	if p.left.Swap(true) {
		return dst
	}
	code, reason := uint16(p.code.Load()), ""
	switch r.Kind {
	case socket.ReasonAnswered:
		if code == 0 { // it has closed without a close frame
			code = CloseNormal
		}
	case socket.ReasonClosed:
		code = CloseNormal
	case socket.ReasonShutdown:
		code = CloseGoingAway
	case socket.ReasonRefused:
		code = ClosePolicy
		if r.Err != nil {
			reason = fmt.Sprintf("%d %s", r.Err.Code, r.Err.Message)
		}
	case socket.ReasonTooLarge:
		code = CloseTooLarge
	default:
		if code == 0 {
			code = CloseUnexpected
		}
	}
	return appendClose(dst, code, reason, p.masks)
}

// parted is the error of an Unpack that has read a close frame.
func parted(code uint16, reason []byte) error {
	text := string(reason)
	switch code {
	case CloseNormal, CloseGoingAway, CloseNoStatus:
		return io.EOF
	case ClosePolicy:
		number, rest, _ := strings.Cut(text, " ")
		if n, err := strconv.ParseInt(number, 10, 32); err == nil && n != 0 {
			return &socket.Parted{Rerror: socket.NewRerror(int32(n), rest, "")}
		}
		return &socket.Parted{Rerror: socket.NewRerror(socket.CodeForbidden, socket.CodeText(socket.CodeForbidden), text)}
	}
	if text != "" {
		text = ": " + text
	}
	return &socket.Parted{Rerror: socket.NewRerror(socket.CodeConnClosed, socket.CodeText(socket.CodeConnClosed), fmt.Sprintf("close code %d%s", code, text))}
}

// parseClose reads the payload of a close frame.
func parseClose(b []byte) (code uint16, reason []byte, err error) {
	switch {
	case len(b) == 0:
		return CloseNoStatus, nil, nil
	case len(b) == 1:
		return 0, nil, violation("a close frame has half a code")
	}
	code, reason = binary.BigEndian.Uint16(b), b[2:]
	switch {
	case !sendable(code):
		return 0, nil, violation("a close frame has the code %d, which must not be sent", code)
	case !utf8.Valid(reason):
		return 0, nil, &CloseError{CloseInvalid, "the reason of a close frame is not UTF-8"}
	}
	return code, reason, nil
}

// sendable reports whether a close frame may have the code: those of RFC 6455 section
// 7.4.1, those that IANA has registered since (1012 to 1014), and those that libraries and
// applications define (3000 to 4999).
func sendable(code uint16) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return true
	}
	return false
}

// appendControl appends a control frame, masked if client is true. The payload is at most
// maxControl bytes.
func appendControl(dst []byte, op byte, payload []byte, client bool) []byte {
	key := uint32(0)
	if client {
		key = newKey()
	}
	var head [maxHeader]byte
	dst = append(dst, head[:putHeader(head[:], op, len(payload), key)]...)
	at := len(dst)
	dst = append(dst, payload...)
	if client {
		mask(dst[at:], key)
	}
	return dst
}

// appendClose appends a close frame; the reason is cut to what fits.
func appendClose(dst []byte, code uint16, reason string, client bool) []byte {
	if code == 0 || code == CloseNoStatus {
		return appendControl(dst, opClose, nil, client)
	}
	var payload [maxControl]byte
	binary.BigEndian.PutUint16(payload[:], code)
	for i, r := range reason { // whole runes
		if r == utf8.RuneError || 2+i+utf8.RuneLen(r) > maxControl {
			reason = reason[:i]
			break
		}
	}
	return appendControl(dst, opClose, payload[:2+copy(payload[2:], reason)], client)
}
