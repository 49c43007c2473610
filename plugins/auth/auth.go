// Package auth lets peers prove who they are, before anything else is said.
//
// The first message on a connection is the AUTH_CALL of the side that dials, with
// whatever its Bearer has to show; the Checker of the other side looks at it, and
// its AUTH_REPLY lets the peer in or says why not. It happens on the fresh
// connection, on each one that a redial makes, too: no message of the peer is
// handled, and no session is seen by anybody, before it has passed.
package auth

import (
	"context"
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

// Session is what a Bearer and a Checker see of the session to be. Swap may keep
// what they found out, for the handlers; SetID names the session once all has passed.
type Session interface {
	Peer() tp.Peer
	SetID(string)
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	Swap() *tp.Swap
}

// handshake is what both plugins have in common.
type handshake struct{ timeout time.Duration }

// PreNewPeer gives the peer's hooks as a whole a little longer than this one has,
// so that it can say goodbye, unless the configuration says how long they have.
func (h *handshake) PreNewPeer(cfg *tp.PeerConfig, _ *tp.PluginContainer) error {
	if cfg.HandshakeTimeout <= 0 {
		cfg.HandshakeTimeout = max(DefaultTimeout, h.timeout) + goodbye
	}
	return nil
}

// goodbye is how long a refused peer may take to read why.
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
