// Package framing is what protocols have in common whose frames begin with their
// size: it is for those who write such a protocol.
//
// A [Reader] finds the frame, in place where the connection can, and undoes the
// filters of its payload. A [Writer] puts a payload through them and writes the
// frame. A [Negotiation] is the dialect of a connection, and [Fields] is a message as
// the payload has it, with the error of a reply in one of the two places where v5
// and v7 have it. A [Proto] is all of these for the most common layout, described
// by a [Format].
//
// A [FieldError] that is Whole costs a message; any other error costs the connection.
//
// What a frame looks like stays with the protocol: how its size is written, and
// what the payload is made of. The example is a whole protocol.
package framing

import (
	"fmt"
	"math"

	"github.com/teleport-go/teleport/core/socket"
)

const (
	// MaxFilters is the largest number of filters of a message that is read.
	MaxFilters = 8
	// OwnFrom is the size in bytes from which memory for one message passes to
	// it; what is not larger is the connection's, and used again.
	OwnFrom = 64 << 10

	maxIDs  = 1<<8 - 1                                  // filters of a message that is written
	maxSize = uint64(min(1<<32-1, uint64(math.MaxInt))) // bytes of a frame
)

// IsReply reports whether messages of this type carry an error.
func IsReply(mtype byte) bool {
	return mtype == socket.TypeReply || mtype == socket.TypeAuthReply
}

// Own makes the bytes of the body m's own, so that m may keep them without a copy:
// nobody else may use them any more.
func Own(m socket.Message) {
	if o, ok := m.(interface{ OwnBody() }); ok {
		o.OwnBody()
	}
}

// FieldError is a frame that cannot be read, or a message that does not fit into
// one. It reads "raw: seq of 9 bytes is over the frame's end".
type FieldError struct {
	Proto string // the protocol's name
	Field string // which part of the frame: "size", "seq", "service method", …
	Fault string // what is wrong with it, with its value; may be empty
	Err   error  // the cause; may be nil
	// Whole says that the whole frame has been read, so that the connection can
	// go on. Then the error matches [socket.ErrBadMessage].
	Whole bool
}

func (e *FieldError) Error() string {
	text := e.Proto + ": " + e.Field
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
	if e.Whole {
		errs = append(errs, socket.ErrBadMessage)
	}
	return errs
}

// Errors makes the errors of the protocol of that name. Its methods are not inlined:
// they are rare, and cost a parser 5% of its time where they are.
type Errors string

// Bad returns the error of a frame that was read whole and makes no message.
//
//go:noinline
func (e Errors) Bad(field, fault string, cause error) error {
	return &FieldError{Proto: string(e), Field: field, Fault: fault, Err: cause, Whole: true}
}

// Lost returns the error of a frame whose end is not known, or of a message that
// cannot be written.
//
//go:noinline
func (e Errors) Lost(field, fault string) error {
	return &FieldError{Proto: string(e), Field: field, Fault: fault}
}

// OverEnd returns the error of a field of n bytes that is longer than what is left of
// the frame.
//
//go:noinline
func (e Errors) OverEnd(field string, n uint64) error {
	return e.Bad(field, fmt.Sprintf("of %d bytes is over the frame's end", n), nil)
}

// NoDialect returns the error of a connection that was given a dialect that does not
// exist.
//
//go:noinline
func (e Errors) NoDialect(d uint8) error {
	return fmt.Errorf("%s: no such dialect: %d", string(e), d)
}

// NoState returns the error of a Restore for a state that is none of this protocol; see
// [socket.Carrier].
func (e Errors) NoState(state []byte) error {
	return fmt.Errorf("%s: the state %.32x of a connection is not known here", string(e), state)
}
