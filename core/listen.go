package tp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/teleport-go/teleport/core/internal/throttle"
	"github.com/teleport-go/teleport/core/socket"
)

// ErrListenClosed is returned by ListenAndServe after Close.
var ErrListenClosed = errors.New("listener is closed")

var errNoCertificate = errors.New("tp: listen: tls: neither Certificates, GetCertificate, nor GetConfigForClient set in Config")

// hasCertificate reports whether the configuration has a server certificate.
func hasCertificate(c *tls.Config) bool {
	return len(c.Certificates) > 0 || c.GetCertificate != nil || c.GetConfigForClient != nil
}

func (p *peer) Listen(protoFunc ...ProtoFunc) error {
	lis, pf, err := p.bind(protoFunc)
	if err != nil {
		return p.listenFailed(err)
	}
	go func() { p.listenFailed(p.accept(lis, pf)) }()
	return nil
}

func (p *peer) ListenAndServe(protoFunc ...ProtoFunc) error {
	lis, pf, err := p.bind(protoFunc)
	if err != nil {
		return p.listenFailed(err)
	}
	err = p.listenFailed(p.accept(lis, pf))
	waitGraceful() // a main that ends with this line must not end the process before its sessions
	return err
}

// listenFailed logs why the peer does not listen, for a main that ends with
// ListenAndServe and drops its error. It returns err.
func (p *peer) listenFailed(err error) error {
	if err != ErrListenClosed {
		p.log.Errorf("%v", err)
	}
	return err
}

// bind opens the configured address and runs the PostListen hooks.
func (p *peer) bind(protoFunc []ProtoFunc) (net.Listener, ProtoFunc, error) {
	pf, err := p.open(protoFunc)
	if err != nil {
		return nil, nil, err
	}
	if err := socket.CheckProto(pf); err != nil {
		return nil, nil, fmt.Errorf("tp: listen: %w", err)
	}
	tlsConfig := p.TLSConfig()
	if tlsConfig != nil && !hasCertificate(tlsConfig) {
		return nil, nil, errNoCertificate
	}
	lis, err := p.env.network.Listen(p.ctx, ListenConfig{
		Network: p.cfg.Network, LocalIP: p.cfg.LocalIP, ListenPort: p.cfg.ListenPort,
		UnixMode: p.cfg.UnixMode, TLS: tlsConfig,
	})
	if err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	if p.closing {
		p.mu.Unlock()
		lis.Close()
		return nil, nil, ErrListenClosed
	}
	p.listeners = append(p.listeners, lis)
	p.accepting.Add(1)
	p.mu.Unlock()
	bound := false
	defer func() {
		if !bound {
			p.unbind(lis)
		}
	}()
	for _, h := range p.env.hooks().postListen {
		if err := plainHook(h, func() error { return h.PostListen(lis.Addr()) }); err != nil {
			return nil, nil, fmt.Errorf("tp: listen %s: [PostListenPlugin:%s] %w", lis.Addr(), h.Name(), err)
		}
	}
	p.log.Printf("listen and serve (network:%s, addr:%s)", p.cfg.Network, lis.Addr())
	bound = true
	return lis, pf, nil
}

// unbind closes the listener that bind opened.
func (p *peer) unbind(lis net.Listener) {
	defer p.accepting.Done()
	p.mu.Lock()
	for i, l := range p.listeners {
		if l == lis {
			p.listeners = append(p.listeners[:i:i], p.listeners[i+1:]...)
			break
		}
	}
	p.mu.Unlock()
	lis.Close()
}

// accept starts a session for each accepted connection, until the listener is closed.
func (p *peer) accept(lis net.Listener, pf ProtoFunc) error {
	defer p.unbind(lis)
	const least, most = 5 * time.Millisecond, time.Second
	for wait := least; ; {
		conn, err := lis.Accept()
		if err == nil {
			wait = least
			if !p.admitAccepted() {
				conn.Close()
				return ErrListenClosed
			}
			go p.handshake(conn, pf)
			continue
		}
		if p.isClosing() || errors.Is(err, net.ErrClosed) {
			return ErrListenClosed
		}
		var temporary interface{ Temporary() bool }
		if !errors.As(err, &temporary) || !temporary.Temporary() {
			return fmt.Errorf("tp: accept on %s: %w", lis.Addr(), err)
		}
		p.log.Warnf("accept on %s: %v; trying again in %v", lis.Addr(), err, wait)
		if !pause(p.listening, wait) {
			return ErrListenClosed
		}
		wait = min(2*wait, most)
	}
}

// handshake runs the TLS handshake, if TLS is configured, and the hooks of an accepted
// connection, and starts its session.
func (p *peer) handshake(conn net.Conn, pf ProtoFunc) {
	defer p.preparing.Done()
	begun, handed := time.Now(), false
	defer func() {
		if !handed { // refused, or a function of the TLS configuration has ended the goroutine
			conn.Close()
			p.env.sessions.Done()
		}
	}()
	if cfg := p.TLSConfig(); cfg != nil && !p.env.network.OwnTLS {
		c := tls.Server(conn, cfg)
		ctx, cancel := context.WithTimeoutCause(p.ctx, p.cfg.HandshakeTimeout, errHandshakeTimeout)
		err := c.HandshakeContext(ctx)
		if err != nil {
			err = causeOr(ctx, err)
		}
		cancel()
		if err != nil {
			if isProbe(c, err) {
				p.log.Debugf("%s has connected and hung up without a TLS handshake", addrText(conn.RemoteAddr()))
			} else {
				p.env.stats.refusedConnections.Add(1)
				p.env.throttled(&p.tlsErrors, throttle.Burst, WARNING, "tls handshake with %s: %s", addrText(conn.RemoteAddr()), strings.TrimPrefix(bare(socket.RefusePlain(err)).Error(), "tls: "))
			}
			return
		}
		conn = c
	}
	handed = true
	p.serveConn(conn, pf, p.cfg.HandshakeTimeout-time.Since(begun))
}

// isProbe reports whether the peer has hung up before it sent anything, as load
// balancers do that check whether the port is open.
func isProbe(c *tls.Conn, err error) bool {
	hello := c.ConnectionState().Version != 0
	return !hello && isHangUp(err)
}

// isHangUp reports whether the error is that of a read from a peer that has gone.
func isHangUp(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) }

// serveConn runs the PostAccept hooks, within limit, and starts the session. It returns
// nil if a hook refused the connection. The caller has admitted the session.
func (p *peer) serveConn(conn net.Conn, pf ProtoFunc, limit time.Duration) *session {
	s := newSession(p.env, nil)
	begun := false
	defer func() {
		if !begun {
			s.release()
		}
	}()
	l := newLink(s, conn, pf, 1)
	r := s.prepareLink(p.ctx, l, limit)
	l.silent = !l.sock.Heard()
	silent := l.silent // the reader's from here on
	if r == nil {
		_, r = s.begin(l)
	}
	if r != nil {
		if silent && isHangUp(r.Cause()) { // a hook has waited for what a peer sends first
			p.log.Debugf("%s has connected and hung up without a message", l.ip)
			return nil
		}
		p.env.stats.refusedConnections.Add(1)
		p.env.throttled(&p.refusals, throttle.Burst, WARNING, "refused %s: %s", l.ip, brief(r.String()))
		return nil
	}
	begun = true
	if !silent {
		l.logAccepted()
	}
	return s
}

func (p *peer) ServeConn(conn net.Conn, protoFunc ...ProtoFunc) Session {
	if u, ok := conn.(*net.UDPConn); ok || strings.HasPrefix(addrNetwork(conn), "udp") && ok {
		p.log.Errorf("%s: udp connections are not supported: %s", NewRerror(CodeWrongConn, CodeText(CodeWrongConn), ""), addrText(u.LocalAddr()))
		return nil
	}
	pf, err := p.open(protoFunc)
	if err != nil {
		p.log.Errorf("serve connection from %s: %v", addrText(conn.RemoteAddr()), err)
		return nil
	}
	if !p.admitAccepted() {
		p.log.Warnf("serve connection from %s: %v", addrText(conn.RemoteAddr()), errPeerClosed)
		conn.Close()
		return nil
	}
	defer p.preparing.Done()
	if s := p.serveConn(conn, pf, p.cfg.HandshakeTimeout); s != nil {
		return s
	}
	return nil // never a nil *session in an interface
}

func addrNetwork(conn net.Conn) string {
	if a := conn.LocalAddr(); a != nil {
		return a.Network()
	}
	return ""
}

func (p *peer) Addrs() []net.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	addrs := make([]net.Addr, len(p.listeners))
	for i, l := range p.listeners {
		addrs[i] = l.Addr()
	}
	return addrs
}
