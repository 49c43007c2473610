package websocket

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// This file holds sessions that outlive their connections. Their frames travel in a stream
// of bytes, unmasked, and the stream in the binary messages of one connection after the
// other. What the stream does with a connection is up to a Resumer.

// Resumer makes streams of bytes that outlive the connections which carry them. The Streams
// of package mixers/resume are one; so neither package needs the other.
//
// If it has a method Listener(inner net.Listener, lc tp.ListenConfig) net.Listener, that is
// called with what a network or a Server listens on. It may return a tp.HandOverListener
// around inner, whose streams are tp.HandOverConns; then a Reboot hands the sessions over.
type Resumer interface {
	// Dial makes a stream over the connections of connect, which is called with d for each
	// of them.
	Dial(ctx context.Context, d tp.DialConfig, connect func(context.Context, tp.DialConfig) (net.Conn, error)) (net.Conn, error)

	// Accept takes a connection that was accepted, and returns the stream that begins with
	// it, or nil if a stream goes on by it. After an error the caller closes the connection.
	Accept(ctx context.Context, conn net.Conn, facts tp.ConnFacts) (stream net.Conn, err error)
}

// listening is a Resumer whose streams a Reboot can hand over.
type listening interface {
	Listener(inner net.Listener, lc tp.ListenConfig) net.Listener
}

// streamPrefix is what the name of a sub-protocol begins with if its frames travel in a
// stream.
const streamPrefix = "resume."

// configured is a connection that knows how it was dialled.
type configured struct {
	net.Conn
	config tp.DialConfig
}

// NetConn returns the connection.
func (c *configured) NetConn() net.Conn { return c.Conn }

// configOf returns how a connection was dialled, whatever the engine has put around it.
func configOf(conn net.Conn) (tp.DialConfig, error) {
	for {
		switch c := conn.(type) {
		case *configured:
			return c.config, nil
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return tp.DialConfig{}, fmt.Errorf("websocket: Options.Resume: the connection is a %T that the network has not dialled", conn)
		}
	}
}

// errNoName is the error of a client whose protocol is one of NewWsProtoFunc.
var errNoName = errors.New("websocket: Options.Resume needs a protocol with a name: one of PeerConfig.Protocols, or of a ProtoFunc that is not of NewWsProtoFunc")

// dialStream is the handshake of a client whose session shall outlive the connection.
func (n *network) dialStream(ctx context.Context, h *tp.Handshake, sub SubProtocol) error {
	name := streamPrefix + sub.Name
	switch {
	case sub.New == nil:
		return errNoName
	case !isToken(name):
		return notToken(sub)
	}
	d, err := configOf(h.Conn)
	if err != nil {
		return err
	}
	first := h.Conn
	var control atomic.Bool
	connect := func(ctx context.Context, d tp.DialConfig) (conn net.Conn, err error) {
		conn, first = first, nil
		ctx, cancel := context.WithTimeout(ctx, cmp.Or(max(d.HandshakeTimeout, 0), answerTimeout))
		defer cancel()
		if conn == nil {
			if conn, err = n.connect(ctx, d); err != nil {
				return nil, err
			}
		}
		c, err := n.clientCarrier(ctx, conn, d, name, &control)
		if err != nil {
			conn.Close()
			return nil, err
		}
		return c, nil
	}
	stream, err := n.options.Resume.Dial(ctx, d, connect)
	if err != nil {
		return answered(err)
	}
	h.Conn, h.Proto = stream, newProtoFunc(link{sub.Name, control.Load(), true}, sub.New)
	return nil
}

func notToken(sub SubProtocol) error {
	return fmt.Errorf("websocket: the protocol's name makes no sub-protocol: %q is not a token of HTTP", sub.Name)
}

// connect makes a connection, as the engine does.
func (n *network) connect(ctx context.Context, d tp.DialConfig) (net.Conn, error) {
	base, err := n.check(d.TLS)
	if err != nil {
		return nil, err
	}
	conn, err := base.Dial(ctx, d)
	if err != nil || d.TLS == nil {
		return conn, err
	}
	t := tls.Client(conn, d.ClientTLS())
	// The engine guards the handshake of the first connection alone.
	err = tp.Guard(d.Logger, "websocket: a function of the TLS configuration", func() error { return t.HandshakeContext(ctx) })
	if err != nil {
		conn.Close()
		return nil, err
	}
	return t, nil
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// clientCarrier shakes hands on a connection, within ctx.
func (n *network) clientCarrier(ctx context.Context, conn net.Conn, d tp.DialConfig, name string, control *atomic.Bool) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(longAgo) })
	rest, says, err := n.options.clientHandshake(conn, hostOf(d.Addr), "", name)
	if !stop() {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	control.Store(says)
	return newCarrier(conn, rest, true), nil
}

// errResumed is the error of a handshake after which the connection belongs to a stream
// that was there before.
var errResumed = fmt.Errorf("websocket: the connection goes on with a session: %w", io.EOF)

// acceptStream is the end of the handshake of a server, on a connection of a client whose
// session shall outlive it.
func (o *Options) acceptStream(ctx context.Context, h *tp.Handshake) error {
	stream, err := o.Resume.Accept(ctx, newCarrier(h.Conn, h.Facts.Read, false), h.Facts)
	if err != nil {
		return err
	}
	if stream == nil {
		h.Conn = noClose{h.Conn}
		return errResumed
	}
	h.Conn, h.Facts.Read = stream, nil
	return nil
}
