package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	tp "github.com/teleport-go/teleport/core"
)

// The engine guards what it calls of others, and this package what it calls on goroutines of
// its own: the inner network, and functions of the TLS configuration.

// dialGuarded calls the Dial of a network.
func dialGuarded(ctx context.Context, n tp.Network, d tp.DialConfig) (conn net.Conn, err error) {
	err = tp.Guard(d.Logger, "resume: Dial of the network "+n.Name, func() (err error) { conn, err = n.Dial(ctx, d); return err })
	if err == nil && conn == nil {
		err = errNoConn
	}
	return conn, err
}

// acceptGuarded calls the Accept of the listener of a network.
func acceptGuarded(n tp.Network, l net.Listener, log tp.Logger) (conn net.Conn, err error) {
	err = tp.Guard(log, "resume: Accept of the network "+n.Name, func() (err error) { conn, err = l.Accept(); return err })
	if err == nil && conn == nil {
		err = errNoConn
	}
	return conn, err
}

var errNoConn = errors.New("resume: the inner network has returned no connection")

// handshakeGuarded runs the handshake of TLS of a side, the client or the server.
func handshakeGuarded(ctx context.Context, c *tls.Conn, side string, log tp.Logger) error {
	return tp.Guard(log, "resume: a function of the "+side+"'s TLS configuration", func() error { return c.HandshakeContext(ctx) })
}
