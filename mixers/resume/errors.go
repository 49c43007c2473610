package resume

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/teleport-go/teleport/core/socket"
)

// Reasons why a stream has ended although neither side has closed it. They are in the cause
// of the session's CloseReason, and in the errors of Read and Write; compare with errors.Is.
var (
	// ErrFresh says that the accepting side cannot resume the stream: it has ended without a
	// Reboot, has given the stream up, or found another client or a wrong position. The
	// session begins anew, by its redial.
	ErrFresh = errors.New("resume: verdict fresh")

	// ErrExpired says that there was no connection within the Window of the options, or that
	// a listener had too many streams without one.
	ErrExpired = errors.New("resume: no connection in time")
)

// errAgain says that nothing can be read, or written, at the moment.
var errAgain = socket.ErrAgain

var (
	errIdle       = errors.New("nothing has come from the other side for the idle timeout")
	errPeerClosed = errors.New("the other side has closed the stream")
	errTakenOver  = errors.New("another connection has taken its place")
	errTooMany    = errors.New("too many streams have no connection")
	errHandedBack = fmt.Errorf("the old process has the stream: %w", io.EOF)
	errMoved      = fmt.Errorf("the new process has the stream: %w", io.EOF)
	errNoListener = errors.New("the listener is closed")
)

// ended is the error of a stream that has ended. The engine takes it for one of the
// network.
type ended struct {
	reason error // of the above
	cause  error // may be nil
}

func (e *ended) Error() string {
	if e.cause == nil {
		return e.reason.Error()
	}
	return fmt.Sprintf("%v: %v", e.reason, e.cause)
}

func (e *ended) Unwrap() []error {
	if e.cause == nil {
		return []error{e.reason, net.ErrClosed}
	}
	return []error{e.reason, e.cause, net.ErrClosed}
}

// errProtocol is the reason of a stream whose other side sends what is no record.
var errProtocol = errors.New("resume: the other side breaks the protocol")
