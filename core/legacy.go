package tp

import (
	"context"
	"fmt"
	"time"

	"github.com/teleport-go/teleport/core/socket"
)

// This file holds names of v5, v6 and v7, and former names of this package. Each is
// equal to the name in its comment.

// Status is the error of v6 and v7. It has the fields of Rerror where they have
// methods: Code, Message, Reason.
//
// Deprecated: Use Rerror.
type Status = Rerror

// NewStatus is NewRerror. The text of cause, an error or anything else, is the reason;
// an error is also the local Cause.
//
// Deprecated: Use NewRerror.
func NewStatus(code int32, msg string, cause ...any) *Status {
	r := NewRerror(code, msg, "")
	if len(cause) == 0 || cause[0] == nil {
		return r
	}
	r.Reason = fmt.Sprint(cause[0])
	if err, ok := cause[0].(error); ok {
		return r.WithCause(err)
	}
	return r
}

// MetaRerror is the key of the metadata in which v5 sends an error. Protocols take it
// out of the metadata of a message, and put it in.
//
// Deprecated: Use Message.Rerror.
const MetaRerror = socket.MetaReplyError

// NewRerrorFromMeta returns the error under MetaRerror, nil if there is none. In the
// metadata of a message there never is.
//
// Deprecated: Use Message.Rerror.
func NewRerrorFromMeta(meta *Meta) *Rerror { return socket.NewRerrorFromMeta(meta) }

// IsConnError is IsConnRerror.
//
// Deprecated: Use IsConnRerror.
func IsConnError(r *Rerror) bool { return IsConnRerror(r) }

// WithStatus is WithRerror.
//
// Deprecated: Use WithRerror.
func WithStatus(r *Rerror) MessageSetting { return WithRerror(r) }

// SetReadLimit is SetMessageSizeLimit.
//
// Deprecated: Use SetMessageSizeLimit.
func SetReadLimit(maxMessageSize uint32) { SetMessageSizeLimit(maxMessageSize) }

// GetReadLimit is MessageSizeLimit.
//
// Deprecated: Use MessageSizeLimit.
func GetReadLimit() uint32 { return MessageSizeLimit() }

// TryGo is Go. In v5 and v7 fn ran on the caller's goroutine when their pool was
// exhausted.
//
// Deprecated: Use Go.
func TryGo(fn func()) { Go(fn) }

// AnywayGo is Go. In v5 it waited for a goroutine of the pool.
//
// Deprecated: Use Go.
func AnywayGo(fn func()) { Go(fn) }

// MustGo is Go, unless the context has ended already: then it returns its error, and fn
// does not run. In v7 it waited for a goroutine of the pool.
//
// Deprecated: Use Go.
func MustGo(fn func(), ctx ...context.Context) error {
	if len(ctx) > 0 && ctx[0] != nil && ctx[0].Err() != nil {
		return ctx[0].Err()
	}
	Go(fn)
	return nil
}

// SetGopool does nothing: there is no pool of goroutines. PeerConfig.MaxHandlers bounds
// the handlers of a session.
//
// Deprecated: Use PeerConfig.MaxHandlers.
func SetGopool(maxGoroutinesAmount int, maxGoroutineIdleDuration time.Duration) {}

// PromptPlugin is NonBlockingPlugin.
//
// Deprecated: Use NonBlockingPlugin.
type PromptPlugin interface {
	Plugin
	Prompt()
}
