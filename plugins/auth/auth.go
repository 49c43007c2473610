// Package auth lets peers prove who they are, before anything else is said.
//
// The first message on a connection is the AUTH_CALL of the side that dials, with
// the credentials of its Bearer; the Checker of the other side checks them, and its
// AUTH_REPLY accepts the peer or says why not. This happens on each fresh
// connection, also on one that a redial makes: before it has succeeded no message
// of the peer is handled, and no session is visible.
package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// DefaultTimeout is how long either side waits for the other; see Within.
const DefaultTimeout = 10 * time.Second

// ErrTimeout is the cause of the 408 of a handshake that took too long.
var ErrTimeout = errors.New("auth: the handshake is not done in time")

// Session is what a Bearer and a Checker see of the session to be.
type Session interface {
	Peer() tp.Peer
	// SetID sets the id that the session has once all hooks have passed.
	SetID(string)
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	// ConnectionState returns the TLS state of the connection, with the certificates of
	// the other side if both show one; nil without TLS.
	ConnectionState() *tls.ConnectionState
	// Swap may keep what was found out, for the handlers.
	Swap() *tp.Swap
	// Context has the values of the context given to DialContext, on redials too; see
	// WithCredentials. It ends with that one, and with the time for the handshake.
	Context() context.Context
}

type credentialsKey struct{}

// WithCredentials returns a context for DialContext with which one Bearer can have
// other credentials for each dial. Redials of the session have them, too.
func WithCredentials(ctx context.Context, info any) context.Context {
	return context.WithValue(ctx, credentialsKey{}, info)
}

// Credentials returns what WithCredentials has added to the context, nil if nothing.
func Credentials(ctx context.Context) any { return ctx.Value(credentialsKey{}) }

// handshake is what both plugins have in common.
type handshake struct{ timeout time.Duration }

// PreNewPeer gives the peer's hooks as a whole a little longer than this one has,
// for the refusal to be read, unless the configuration says how long they have.
func (h *handshake) PreNewPeer(cfg *tp.PeerConfig, _ *tp.PluginContainer) error {
	if cfg.HandshakeTimeout <= 0 {
		cfg.HandshakeTimeout = max(DefaultTimeout, h.timeout) + goodbye
	}
	return nil
}

// goodbye is how long a refused peer may take to read the refusal.
const goodbye = time.Second

func (h *handshake) within(d time.Duration) {
	if h.timeout = d; d <= 0 {
		h.timeout = DefaultTimeout
	}
}

func (h *handshake) context() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), h.timeout, fmt.Errorf("%w: %v", ErrTimeout, h.timeout))
}

func tooLate(ctx context.Context) *tp.Rerror {
	err := context.Cause(ctx)
	return tp.NewRerror(tp.CodeHandleTimeout, tp.CodeText(tp.CodeHandleTimeout), err.Error()).WithCause(err)
}

// receive reads the peer's first message into body; it must be of the type want.
func receive(ctx context.Context, sess tp.PreSession, want byte, body any) (tp.Message, *tp.Rerror) {
	m, r := sess.Receive(func(h tp.Header) any {
		if h.Mtype() != want || h.Rerror().HasError() {
			return nil
		}
		return body
	}, tp.WithContext(ctx))
	if got := m.Mtype(); got != want && (r == nil || got != tp.TypeUndefined) {
		return m, tp.NewRerror(tp.CodeUnauthorized, tp.CodeText(tp.CodeUnauthorized),
			fmt.Sprintf("auth message(1st) expect: %s, but received: %s", tp.TypeText(want), tp.TypeText(got)))
	}
	return m, r
}
