package socket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/teleport-go/teleport/core/internal/plaintext"
)

// Codes of a [Rerror]. Those below 1000 are the framework's; take your own above.
const (
	CodeUnknownError        int32 = -1 // an error without a code
	CodeNoError             int32 = 0
	CodeOK                        = CodeNoError
	CodeInvalidOp           int32 = 1   // not allowed in this state of the session
	CodeWrongConn           int32 = 100 // a connection of a kind that cannot be served
	CodeConnClosed          int32 = 102 // the session is, or went, closed
	CodeWriteFailed         int32 = 104 // the message was not written
	CodeDialFailed          int32 = 105
	CodeBadMessage          int32 = 400 // not decodable, or without a service method
	CodeUnauthorized        int32 = 401
	CodeForbidden           int32 = 403
	CodeNotFound            int32 = 404 // no handler for the service method
	CodeMtypeNotAllowed     int32 = 405
	CodeHandleTimeout       int32 = 408 // the deadline passed
	CodeConflict            int32 = 409 // another session has taken the id
	CodeTooManyRequests     int32 = 429 // this caller's rate is too high
	CodeCanceled            int32 = 499 // the caller gave up
	CodeInternalServerError int32 = 500 // a handler panicked, or its reply cannot be sent
	CodeNotImplemented      int32 = 501 // the peer, or what is between, has no streams
	CodeBadGateway          int32 = 502 // the peer behind a proxy was not reached
	CodeBusy                int32 = 503 // too much is being handled
	CodeLoopDetected        int32 = 508 // proxies have forwarded the message too often
)

// CodeText returns the text of a code: "" for [CodeNoError], "Unknown Error" for
// one that is not the framework's.
func CodeText(code int32) string {
	switch code {
	case CodeNoError:
		return ""
	case CodeInvalidOp:
		return "Invalid Operation"
	case CodeWrongConn:
		return "Wrong Connection"
	case CodeConnClosed:
		return "Connection Closed"
	case CodeWriteFailed:
		return "Write Failed"
	case CodeDialFailed:
		return "Dial Failed"
	case CodeBadMessage:
		return "Bad Message"
	case CodeUnauthorized:
		return "Unauthorized"
	case CodeForbidden:
		return "Forbidden"
	case CodeNotFound:
		return "Not Found"
	case CodeMtypeNotAllowed:
		return "Message Type Not Allowed"
	case CodeHandleTimeout:
		return "Handle Timeout"
	case CodeConflict:
		return "Conflict"
	case CodeTooManyRequests:
		return "Too Many Requests"
	case CodeCanceled:
		return "Canceled"
	case CodeInternalServerError:
		return "Internal Server Error"
	case CodeNotImplemented:
		return "Not Implemented"
	case CodeBadGateway:
		return "Bad Gateway"
	case CodeBusy:
		return "Busy"
	case CodeLoopDetected:
		return "Loop Detected"
	}
	return "Unknown Error"
}

// The framework's errors, for errors.Is: each matches every error of its code,
// whatever its message and reason.
var (
	ErrInvalidOp           = codeError(CodeInvalidOp)
	ErrWrongConn           = codeError(CodeWrongConn)
	ErrConnClosed          = codeError(CodeConnClosed)
	ErrWriteFailed         = codeError(CodeWriteFailed)
	ErrDialFailed          = codeError(CodeDialFailed)
	ErrBadMessage          = codeError(CodeBadMessage)
	ErrUnauthorized        = codeError(CodeUnauthorized)
	ErrForbidden           = codeError(CodeForbidden)
	ErrNotFound            = codeError(CodeNotFound)
	ErrMtypeNotAllowed     = codeError(CodeMtypeNotAllowed)
	ErrHandleTimeout       = codeError(CodeHandleTimeout)
	ErrConflict            = codeError(CodeConflict)
	ErrTooManyRequests     = codeError(CodeTooManyRequests)
	ErrCanceled            = codeError(CodeCanceled)
	ErrInternalServerError = codeError(CodeInternalServerError)
	ErrNotImplemented      = codeError(CodeNotImplemented)
	ErrBadGateway          = codeError(CodeBadGateway)
	ErrBusy                = codeError(CodeBusy)
	ErrLoopDetected        = codeError(CodeLoopDetected)
)

func codeError(code int32) error { return NewRerror(code, CodeText(code), "").Err() }

// A Rerror is the outcome of a call, push or hook that failed: what a reply
// carries to the other side. Nil, and code 0, are no error. All its methods take
// a nil receiver.
//
// It is not an error, on purpose: with an Error method, assigning it to a
// variable of type error would compile and hold a nil pointer that is not nil, so
// that success reads as failure:
//
//	var err error
//	sess, err = peer.Dial(addr) // does not compile; it must not
//
// So [Rerror.Err] makes an error, [ToRerror] and [Code] bring it back, and
// errors.Is compares it with [ErrNotFound] and its like. For the same reason
// errors.As cannot find a *Rerror; use ToRerror.
//
// One Rerror may be shared by many messages and read concurrently. Code that did not
// make it must not change it: [Rerror.Copy] first.
type Rerror struct {
	Code    int32  `json:"code"`
	Message string `json:"message,omitempty"` // what, for people: the code's text, or your own
	Reason  string `json:"reason,omitempty"`  // why
	cause   error
}

// NewRerror makes a Rerror. An empty message stays empty.
func NewRerror(code int32, message, reason string) *Rerror {
	return &Rerror{Code: code, Message: message, Reason: reason}
}

// NewRerrorFromMeta returns the error that a reply carries in its metadata, nil
// if there is none. One that cannot be read is still an error, of code -1.
func NewRerrorFromMeta(m *Meta) *Rerror {
	if m == nil {
		return nil
	}
	b := m.Peek(MetaReplyError)
	if len(b) == 0 {
		return nil
	}
	r := new(Rerror)
	if err := r.UnmarshalJSON(b); err != nil {
		return NewRerror(CodeUnknownError, CodeText(CodeUnknownError), err.Error()).WithCause(err)
	}
	if !r.HasError() {
		return nil
	}
	return r
}

// SetToMeta sets the error in the metadata of a reply, as JSON in place of a previous
// one. No error removes it.
func (r *Rerror) SetToMeta(m *Meta) {
	if m == nil {
		return
	}
	if !r.HasError() {
		m.Del(MetaReplyError)
		return
	}
	var short [256]byte
	m.SetBytesV(MetaReplyError, r.AppendJSON(short[:0]))
}

// HasError reports whether r is an error: not nil, and of a code other than 0.
func (r *Rerror) HasError() bool { return r != nil && r.Code != CodeNoError }

// Copy returns a Rerror of its own, equal to r; nil for nil.
func (r *Rerror) Copy() *Rerror {
	if r == nil {
		return nil
	}
	c := *r
	return &c
}

// SetMessage changes r itself and returns it. Copy a shared Rerror first.
func (r *Rerror) SetMessage(message string) *Rerror {
	if r != nil {
		r.Message = message
	}
	return r
}

// SetReason changes r itself and returns it. Copy a shared Rerror first.
func (r *Rerror) SetReason(reason string) *Rerror {
	if r != nil {
		r.Reason = reason
	}
	return r
}

// WithCause returns a copy of r with the error that led to it. A cause stays on
// this side: it is never sent.
func (r *Rerror) WithCause(cause error) *Rerror {
	c := r.Copy()
	if c != nil {
		c.cause = cause
	}
	return c
}

// Cause returns the error that led to r on this side, or nil.
func (r *Rerror) Cause() error {
	if r == nil {
		return nil
	}
	return r.cause
}

// ErrDraining is the cause of the error 102 with which a session that drains answers a
// CALL. A protocol may tell by it that the connection closes after the calls under way.
var ErrDraining = errors.New("draining")

// String returns the JSON of r, "<nil>" for nil. In it characters that turn the
// direction of writing, and separators of lines, are escaped: it is for people.
func (r *Rerror) String() string {
	if r == nil {
		return "<nil>"
	}
	var short [256]byte
	text := string(r.AppendJSON(short[:0]))
	steers := func(c rune) bool { return c > 0x7f && plaintext.Steers(c) } // JSON sees to the others
	if !strings.ContainsFunc(text, steers) {
		return text
	}
	var b strings.Builder
	for _, c := range text {
		if steers(c) {
			fmt.Fprintf(&b, `\u%04x`, c)
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// MarshalJSON returns what AppendJSON appends. It never fails.
func (r *Rerror) MarshalJSON() ([]byte, error) { return r.AppendJSON(nil), nil }

// AppendJSON appends the wire form: code, message, reason, in this order, without
// those that are empty. Nil is null. Bytes that are not UTF-8 become U+FFFD.
func (r *Rerror) AppendJSON(dst []byte) []byte {
	if r == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(r.Code), 10)
	if r.Message != "" {
		dst = append(dst, `,"message":`...)
		dst = appendJSONString(dst, r.Message)
	}
	if r.Reason != "" {
		dst = append(dst, `,"reason":`...)
		dst = appendJSONString(dst, r.Reason)
	}
	return append(dst, '}')
}

func appendJSONString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	literal := 0
	for i := 0; i < len(s); {
		c, size := rune(s[i]), 1
		if c >= utf8.RuneSelf {
			c, size = utf8.DecodeRuneInString(s[i:])
		}
		damaged := c == utf8.RuneError && size == 1
		if c >= ' ' && c != '"' && c != '\\' && !damaged {
			i += size
			continue
		}
		dst = append(dst, s[literal:i]...)
		switch {
		case damaged:
			dst = append(dst, `\ufffd`...)
		case c == '"' || c == '\\':
			dst = append(dst, '\\', byte(c))
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i += size
		literal = i
	}
	dst = append(dst, s[literal:]...)
	return append(dst, '"')
}

// maxRerrorJSON is the longest JSON, in bytes, that is read as a Rerror.
const maxRerrorJSON = 1 << 20

// UnmarshalJSON reads a JSON object of at most 1 MiB; null changes nothing. It
// takes what other peers write: any letter case and order of keys, unknown keys,
// null, "msg" for message and "cause" for reason, a code that is a string, a
// message or reason that is not one (its JSON is the text). On an error r is as
// before; otherwise r has no cause.
func (r *Rerror) UnmarshalJSON(b []byte) error {
	if r == nil {
		return errors.New("socket: rerror: decode into nil")
	}
	if len(b) > maxRerrorJSON {
		return fmt.Errorf("socket: rerror: json of %d bytes is over the limit of %d", len(b), maxRerrorJSON)
	}
	var in *struct {
		Code                        looseCode
		Message, Reason, Msg, Cause looseText
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("socket: rerror: %w", err)
	}
	if in == nil {
		return nil
	}
	if in.Message == "" {
		in.Message = in.Msg
	}
	if in.Reason == "" {
		in.Reason = in.Cause
	}
	*r = Rerror{Code: int32(in.Code), Message: string(in.Message), Reason: string(in.Reason)}
	return nil
}

// looseCode reads 404, 404.0, "404", null as 0.
type looseCode int32

func (c *looseCode) UnmarshalJSON(b []byte) error {
	var t looseText
	if err := t.UnmarshalJSON(b); err != nil || t == "" {
		return err
	}
	f, err := strconv.ParseFloat(string(t), 64)
	if err != nil || f != math.Trunc(f) || f < math.MinInt32 || f > math.MaxInt32 {
		return errors.New("code is not a 32-bit integer") // its text may be long
	}
	*c = looseCode(f)
	return nil
}

// looseText reads a string, null as "", and any other value as its JSON.
type looseText string

func (t *looseText) UnmarshalJSON(b []byte) error {
	switch {
	case len(b) > 0 && b[0] == '"':
		return json.Unmarshal(b, (*string)(t))
	case string(b) != "null":
		*t = looseText(bytes.ToValidUTF8(b, []byte("\ufffd")))
	}
	return nil
}

// Err returns r as an error, nil if r is none: this is how a Rerror leaves a
// function that returns error. Its text is like "404 Not Found: reason"; errors.Is
// matches errors of the same code, context.DeadlineExceeded for 408,
// context.Canceled for 499, and the cause. It shares r, which must not change
// from now on, and takes no memory.
func (r *Rerror) Err() error {
	if !r.HasError() {
		return nil
	}
	return (*rerrorError)(r)
}

// rerrorError is a Rerror that is an error. Only Err makes one, so it is never
// nil; only ToRerror turns it back, into a copy.
type rerrorError Rerror

func (e *rerrorError) Error() string {
	text := strconv.Itoa(int(e.Code))
	message := e.Message
	if message == "" {
		message = CodeText(e.Code)
	}
	text += " " + message
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

func (e *rerrorError) Is(target error) bool {
	if t, ok := target.(*rerrorError); ok {
		return t.Code == e.Code
	}
	return e.Code == CodeHandleTimeout && target == context.DeadlineExceeded ||
		e.Code == CodeCanceled && target == context.Canceled
}

func (e *rerrorError) Unwrap() error { return e.cause }

// ToRerror returns the Rerror of an error: nil for nil; a copy of that from which
// Err made it, or an error that it wraps; 408 and 499 for the errors of a context;
// else code -1. The latter have the error's text as reason, and the error as
// cause.
func ToRerror(err error) *Rerror {
	if err == nil {
		return nil
	}
	if e, ok := findRerror(err); ok {
		return (*Rerror)(e).Copy()
	}
	code := foreignCode(err)
	return &Rerror{Code: code, Message: CodeText(code), Reason: err.Error(), cause: err}
}

// Code returns the code that ToRerror(err) has, 0 for nil.
func Code(err error) int32 {
	if err == nil {
		return CodeNoError
	}
	if e, ok := findRerror(err); ok {
		return e.Code
	}
	return foreignCode(err)
}

// findRerror is a function of its own so that its variable, which escapes, is
// allocated only where it is needed.
func findRerror(err error) (*rerrorError, bool) {
	if e, ok := err.(*rerrorError); ok {
		return e, true
	}
	var e *rerrorError
	return e, errors.As(err, &e)
}

// foreignCode is the code of an error in which there is no Rerror.
func foreignCode(err error) int32 {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return CodeHandleTimeout
	case errors.Is(err, context.Canceled):
		return CodeCanceled
	}
	return CodeUnknownError
}

// IsConnRerror reports whether the connection is at fault: 102 or 105.
func IsConnRerror(r *Rerror) bool {
	return r != nil && (r.Code == CodeConnClosed || r.Code == CodeDialFailed)
}
