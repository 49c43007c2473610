package tp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"syscall"

	"github.com/teleport-go/teleport/core/internal/throttle"
	"github.com/teleport-go/teleport/core/internal/tlspoll"
	"github.com/teleport-go/teleport/core/socket"
)

// This file holds what happens on a new connection before its protocol begins: TLS, and
// then the handshake of the network, if it has one.

var errHandshakeTimeout = errors.New("handshake took longer than handshake_timeout")

// runsTLS returns the configuration of the TLS that the engine runs; nil: it runs none.
func (p *peer) runsTLS() *tls.Config {
	if p.env.network.OwnTLS {
		return nil
	}
	return p.TLSConfig()
}

// dialedHandshake prepares a connection that was dialled. The caller closes h.Conn if the
// result is not nil.
func (p *peer) dialedHandshake(ctx context.Context, h *Handshake) *Rerror {
	if cfg := p.runsTLS(); cfg != nil {
		if err := p.clientTLS(ctx, h, cfg); err != nil {
			return dialRerror(h.Addr, err)
		}
	}
	if p.env.network.Handshake == nil {
		return nil
	}
	err := p.networkHandshake(ctx, h)
	switch Code(err) {
	case CodeUnknownError, CodeHandleTimeout, CodeCanceled: // no code that the network has chosen: an error without one, or a context's
		return dialRerror(h.Addr, err)
	}
	return ToRerror(err)
}

func dialRerror(addr string, err error) *Rerror {
	text := strings.TrimPrefix(err.Error(), "tp: ")
	return NewRerror(CodeDialFailed, CodeText(CodeDialFailed), "dial "+addr+": "+text).WithCause(err)
}

// causeOr prefers the reason why ctx has ended, if it has.
func causeOr(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (p *peer) clientTLS(ctx context.Context, h *Handshake, cfg *tls.Config) error {
	c := tlspoll.Client(h.Conn, DialConfig{Addr: h.Addr, TLS: cfg}.ClientTLS())
	if err := p.handshakeTLS(ctx, c); err != nil {
		return tlsError(err)
	}
	h.Conn = c
	return nil
}

// handshakeTLS runs the handshake, and with it functions of the TLS configuration, within
// HandshakeTimeout.
func (p *peer) handshakeTLS(ctx context.Context, c *tls.Conn) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.cfg.HandshakeTimeout, errHandshakeTimeout)
	defer cancel()
	r, ok := guard{log: p.log}.apart("a function of the TLS configuration", func() *Rerror {
		err = c.HandshakeContext(ctx)
		return nil
	})
	switch {
	case !ok:
		return r.Err()
	case err != nil:
		return causeOr(ctx, err)
	}
	return nil
}

// networkHandshake runs Network.Handshake within HandshakeTimeout.
func (p *peer) networkHandshake(ctx context.Context, h *Handshake) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.cfg.HandshakeTimeout, errHandshakeTimeout)
	defer cancel()
	conn := h.Conn
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	var err error
	r, ok := guard{log: p.log}.apart("network "+p.cfg.Network, func() *Rerror {
		err = p.env.network.Handshake(ctx, h)
		return nil
	})
	switch {
	case !ok:
		err = r.Err()
	case !stop() || err != nil && ctx.Err() != nil: // closed
		err = context.Cause(ctx)
	case err == nil && (h.Conn == nil || h.Proto == nil):
		err = errors.New("the handshake of the network has left no connection or no protocol")
	}
	if h.Conn == nil {
		h.Conn = conn // to be closed
	}
	return err
}

// acceptedHandshake prepares an accepted connection. If it returns false h.Conn is to be
// closed, and the log says why.
func (p *peer) acceptedHandshake(h *Handshake) bool {
	from := h.Conn.RemoteAddr()
	if cfg := p.runsTLS(); cfg != nil {
		c := tlspoll.Server(h.Conn, cfg)
		if err := p.handshakeTLS(p.ctx, c); err != nil {
			if isProbe(c, err) {
				p.log.Debugf("%s has connected and hung up without a TLS handshake", addrText(from))
			} else {
				p.env.stats.refusedConnections.Add(1)
				p.env.throttled(&p.tlsErrors, throttle.Burst, WARNING, "tls handshake with %s: %s", addrText(from), strings.TrimPrefix(bare(socket.RefusePlain(err)).Error(), "tls: "))
			}
			return false
		}
		h.Conn = c
	}
	if p.env.network.Handshake == nil {
		return true
	}
	if err := p.networkHandshake(p.ctx, h); err != nil {
		if isHangUp(err) {
			p.log.Debugf("%s has connected and hung up without a handshake", addrText(from))
		} else {
			p.env.stats.refusedConnections.Add(1)
			p.env.throttled(&p.refusals, throttle.Burst, WARNING, "refused %s: handshake of the network %s: %s", addrText(from), p.cfg.Network, brief(bare(err).Error()))
		}
		return false
	}
	return true
}

// isProbe reports whether the peer has hung up before it sent anything, as load
// balancers do that check whether the port is open.
func isProbe(c *tls.Conn, err error) bool {
	hello := c.ConnectionState().Version != 0
	return !hello && isHangUp(err)
}

// isHangUp reports whether the error is that of a read from a peer that has gone.
func isHangUp(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) }
