package thriftproto

import (
	"fmt"

	"github.com/teleport-go/teleport/core/socket/framing"
)

// errName is what the errors of both forms begin with.
const errName = "thrift"

// FieldError is a frame that cannot be read, or a message that does not fit
// into one. If the whole frame has been read, so that the connection can go on,
// it matches [socket.ErrBadMessage].
type FieldError = framing.FieldError

// bad is a whole frame of which no message can be made.
func bad(field, format string, args ...any) error {
	return &FieldError{Proto: errName, Field: field, Fault: fmt.Sprintf(format, args...), Whole: true}
}

// refused is a message that does not fit, or a connection that is lost.
func refused(field, format string, args ...any) error {
	return &FieldError{Proto: errName, Field: field, Fault: fmt.Sprintf(format, args...)}
}
