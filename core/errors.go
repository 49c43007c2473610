package tp

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/teleport-go/teleport/core/socket"
)

// This file makes the errors of the engine.

// ErrNotRun is in the error (errors.Is) of a call of which it is certain that its handler
// has not run and will not, so that the call may be made again: the peer drains or is
// busy, or has said when it closed the session that it has not run the call; or the
// call has not left this side, because the session was closed or broken, or too many
// messages wait. For a *Rerror r that is errors.Is(r.Err(), ErrNotRun). An error without
// it leaves the question open.
var ErrNotRun = errors.New("tp: the call has not run")

// ErrCallerGone is the cause (context.Cause) of the end of a handler's context whose caller
// has given up: the caller's own context has ended, its DefaultCallTimeout is over, or its
// session was closed before the reply came; over http, the client has hung up. Nobody waits
// for the reply, and none is sent, but for http. When the connection is lost, the cause is
// its *CloseReason.
var ErrCallerGone = errors.New("tp: the caller has given up")

// ErrStreamEnded is in the error (errors.Is) of a Send on a stream whose handler has
// returned without an error, and of all use of a stream by a handler that has returned.
var ErrStreamEnded = errors.New("tp: the stream has ended")

// errPushes ends a session whose PUSHes cannot be held up any longer.
var errPushes = errors.New("the PUSHes that are being handled take too much memory")

// ErrHandedOver is the cause in the CloseReason of a session that a Reboot has handed to the
// new process, with its connection: it has ended in this process only.
var ErrHandedOver = errors.New("handed over to the new process")

// errMoving is the error of a connection that is about to move to another process. It never
// leaves the engine.
var errMoving = errors.New("tp: the session moves to another process")

// badMessage returns the error 400 for a body that cannot be decoded, nil for nil. Codecs
// quote in their errors what they could not decode, such as a number of a megabyte: the
// reason is clipped, so that a reply has room for it, and the cause is not.
func badMessage(err error) *Rerror {
	if err == nil {
		return nil
	}
	return undecodable(err)
}

// undecodable is a function of its own so that badMessage is inlined.
func undecodable(err error) *Rerror {
	return NewRerror(CodeBadMessage, CodeText(CodeBadMessage), clip(err.Error())).WithCause(err)
}

// maxText is the longest text, in bytes, that is taken from the other side, sent in a farewell,
// or given as the reason why a message cannot be decoded.
const maxText = 4 << 10

// clip shortens a text to maxText, between two characters.
func clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "")
}

// safely runs f, which calls a codec, and returns its panic as an error.
func safely(f func() error) (err error) { return protected("codec", f) }

// protected runs f, which calls what somebody else has written, and returns its panic as an
// error.
func protected(what string, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked(what, v)
		}
	}()
	return f()
}

func panicked(what string, v any) error { return fmt.Errorf("%s panicked: %v", what, v) }

// isCloseReason reports whether this side has ended the connection.
func isCloseReason(err error) bool {
	var reason *CloseReason
	return errors.As(err, &reason)
}

// isPackError reports whether the message, not the connection, is to blame.
func isPackError(err error) bool {
	var pack *socket.PackError
	return errors.As(err, &pack)
}

func timeoutRerror() *Rerror {
	return NewRerror(CodeHandleTimeout, CodeText(CodeHandleTimeout), "the call's deadline has passed").WithCause(context.DeadlineExceeded)
}

// earlier returns the earlier of two deadlines, 0 being none.
func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func hasDeadline(ctx context.Context) bool {
	_, ok := ctx.Deadline()
	return ok
}

// contextRerror returns the error 408 or 499 of a context that has ended, with its
// cause.
func contextRerror(ctx context.Context) *Rerror {
	code := CodeCanceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		code = CodeHandleTimeout
	}
	return NewRerror(code, CodeText(code), context.Cause(ctx).Error()).WithCause(context.Cause(ctx))
}

// writeRerror turns an error of Enqueue into the caller's error.
func writeRerror(ctx context.Context, err error) *Rerror {
	switch {
	case isPackError(err):
		return NewRerror(CodeWriteFailed, CodeText(CodeWriteFailed), err.Error()).WithCause(err)
	case ctx != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return contextRerror(ctx)
	}
	var reason *CloseReason
	if errors.As(err, &reason) {
		return reason.rerror()
	}
	return NewRerror(CodeConnClosed, CodeText(CodeConnClosed), err.Error()).WithCause(err)
}

var errExit = errors.New("the handler, a hook or a codec called runtime.Goexit")

func goexitRerror() *Rerror {
	return NewRerror(CodeInternalServerError, CodeText(CodeInternalServerError), errExit.Error())
}

func busy(reason string) *Rerror { return NewRerror(CodeBusy, CodeText(CodeBusy), reason) }
