package quic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// Codes of the end of a connection, CONNECTION_CLOSE of the application.
const (
	codeDone   quicgo.ApplicationErrorCode = 0 // each side has read everything
	codeBroken quicgo.ApplicationErrorCode = 1 // something may be lost; the text says why
)

// alertNoProtocol is the TLS alert no_application_protocol as a QUIC error, RFC 9001 §4.8.
const alertNoProtocol quicgo.TransportErrorCode = 0x100 + 120

var errHandshake = errors.New("handshake timeout")

// dialError explains why no connection was made.
func (n *network) dialError(err error, limit time.Duration) error {
	var transport *quicgo.TransportError
	var handshake *quicgo.HandshakeTimeoutError
	var idle *quicgo.IdleTimeoutError
	switch {
	case errors.Is(err, errHandshake), errors.As(err, &handshake), errors.As(err, &idle): // whichever timer is first
		return fmt.Errorf("no QUIC handshake within %v; does a server listen there, and does UDP pass? %w", limit, err)
	case !errors.As(err, &transport):
		return err
	case transport.ErrorCode == alertNoProtocol && transport.Remote:
		return fmt.Errorf("the server speaks another protocol over QUIC than %q: %w", n.alpn(), err)
	case transport.ErrorCode == quicgo.ConnectionRefused && transport.Remote:
		return fmt.Errorf("the server takes no connections, since it closes or is overloaded: %w", err)
	case transport.ErrorCode.IsCryptoError():
		return tlsError{err}
	}
	return err
}

func (n *network) alpn() string {
	if n.o.V7 {
		return protocolV7
	}
	return protocol
}

// tlsError is an error of the TLS handshake whose text is that of crypto/tls, without the
// codes of QUIC.
type tlsError struct{ error }

func (e tlsError) Unwrap() error { return e.error }

func (e tlsError) Error() string {
	var t *quicgo.TransportError
	errors.As(e.error, &t)
	text := cmp.Or(t.ErrorMessage, t.ErrorCode.Message(), e.error.Error())
	for _, cause := range t.Unwrap() {
		if cause != nil && cause != net.ErrClosed {
			text = cause.Error()
		}
	}
	if t.Remote {
		return "refused by the other side: " + text
	}
	return text
}

// connError explains why a connection has ended. All results are errors of the network
// (net.Error or net.ErrClosed in the chain).
func (c *Conn) connError(err error) error {
	var idle *quicgo.IdleTimeoutError
	var reset *quicgo.StatelessResetError
	var app *quicgo.ApplicationError
	var transport *quicgo.TransportError
	switch {
	case errors.As(err, &transport) && transport.Remote && transport.ErrorCode == quicgo.ConnectionRefused:
		return fmt.Errorf("the server has not taken the connection, since it closes or too many have come at once: %w", err)
	case errors.As(err, &idle):
		return fmt.Errorf("nothing has come from the other side for the idle timeout: %w", err)
	case errors.As(err, &reset):
		return fmt.Errorf("the other side does not know this connection, since it was restarted: %w", err)
	case errors.As(err, &app) && app.Remote && app.ErrorCode == codeBroken && app.ErrorMessage != "":
		return fmt.Errorf("the other side has ended the connection: %s: %w", app.ErrorMessage, err)
	case errors.As(err, &app) && app.Remote:
		return fmt.Errorf("the other side has ended the connection before all its bytes were read: %w", err)
	}
	return err
}

// listenError adds hints for the usual mistakes.
func listenError(addr string, err error) error {
	var call interface{ Unwrap() error } // *os.SyscallError, without the operation and the address
	cause, hint := err, ""
	for errors.As(cause, &call) && call.Unwrap() != nil {
		cause = call.Unwrap()
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = ": another process holds this UDP port; stop it, or set ListenPort (0 picks a free one)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = ": this machine has no such address; set LocalIP (0.0.0.0 is all addresses)"
	case errors.Is(err, fs.ErrPermission):
		hint = ": this user may not listen there; set ListenPort to 1024 or more"
	}
	return fmt.Errorf("tp: listen quic %s: %w%s", addr, cause, hint)
}

// refusal is the text for a connection that made no session.
func refusal(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no stream came within the handshake timeout"
	}
	return err.Error()
}
