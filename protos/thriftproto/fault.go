package thriftproto

import (
	"fmt"

	"github.com/teleport-go/teleport/core/socket"
)

// FieldError is a frame that cannot be read, or a message that does not fit
// into one. If the whole frame has been read, so that the connection can go on,
// it matches [socket.ErrBadMessage].
type FieldError struct {
	Field string // which part of the frame: "size", "headers", "body", …
	Fault string // what is wrong with it, with its value
	Err   error  // the cause; may be nil

	read bool // the whole frame has been read
}

func (e *FieldError) Error() string {
	text := "thrift: " + e.Field
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

// bad is a whole frame of which no message can be made.
func bad(field, format string, args ...any) error {
	return &FieldError{Field: field, Fault: fmt.Sprintf(format, args...), read: true}
}

// badCause is bad with the error that led to it.
func badCause(field string, cause error) error {
	return &FieldError{Field: field, Err: cause, read: true}
}

// refused is a message that does not fit, or a connection that is lost.
func refused(field, format string, args ...any) error {
	return &FieldError{Field: field, Fault: fmt.Sprintf(format, args...)}
}
