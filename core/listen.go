package tp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/teleport-go/teleport/core/internal/throttle"
	"github.com/teleport-go/teleport/core/socket"
)

// ErrListenClosed is what ListenAndServe returns after Close.
var ErrListenClosed = errors.New("listener is closed")

var errNoCertificate = errors.New("tp: listen: tls: neither Certificates, GetCertificate, nor GetConfigForClient set in Config")

// hasCertificate reports whether a server can prove who it is.
func hasCertificate(c *tls.Config) bool {
	return len(c.Certificates) > 0 || c.GetCertificate != nil || c.GetConfigForClient != nil
}

func (p *peer) Listen(protoFunc ...ProtoFunc) error {
	lis, pf, err := p.bind(protoFunc)
	if err != nil {
		return err
	}
	go func() {
		if err := p.accept(lis, pf); err != nil && err != ErrListenClosed {
			p.log.Errorf("%v", err)
		}
	}()
	return nil
}

func (p *peer) ListenAndServe(protoFunc ...ProtoFunc) error {
	lis, pf, err := p.bind(protoFunc)
	if err != nil {
		return err
	}
	err = p.accept(lis, pf)
	waitGraceful() // a main that ends with this line must not end the process before its sessions
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
	for _, h := range p.env.hooks().postListen {
		if err := plainHook(h, func() error { return h.PostListen(lis.Addr()) }); err != nil {
			p.unbind(lis)
			return nil, nil, fmt.Errorf("tp: listen %s: [PostListenPlugin:%s] %w", lis.Addr(), h.Name(), err)
		}
	}
	p.log.Printf("listen and serve (network:%s, addr:%s)", p.cfg.Network, lis.Addr())
	return lis, pf, nil
}

// unbind is the end of what bind began.
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

// accept makes sessions of what connects, until the listener is closed.
func (p *peer) accept(lis net.Listener, pf ProtoFunc) error {
	defer p.unbind(lis)
	const least, most = 5 * time.Millisecond, time.Second
	for wait := least; ; {
		conn, err := lis.Accept()
		if err == nil {
			wait = least
			if !p.admit() {
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

// handshake makes a session of an accepted connection, after that of TLS if it is used.
func (p *peer) handshake(conn net.Conn, pf ProtoFunc) {
	begun := time.Now()
	if cfg := p.TLSConfig(); cfg != nil && !p.env.network.OwnTLS {
		c := tls.Server(conn, cfg)
		ctx, cancel := context.WithTimeoutCause(p.ctx, p.cfg.HandshakeTimeout, errHandshakeTimeout)
		err := c.HandshakeContext(ctx)
		if err != nil {
			err = causeOr(ctx, err)
		}
		cancel()
		if err != nil {
			p.env.throttled(&p.tlsErrors, throttle.Burst, WARNING, "tls handshake with %s: %v", addrText(conn.RemoteAddr()), socket.RefusePlain(err))
			conn.Close()
			p.env.sessions.Done()
			return
		}
		conn = c
	}
	p.serveConn(conn, pf, p.cfg.HandshakeTimeout-time.Since(begun))
}

// serveConn runs PostAccept and starts the session; nil if that refused it. The
// session was admitted by the caller. limit bounds the hooks.
func (p *peer) serveConn(conn net.Conn, pf ProtoFunc, limit time.Duration) *session {
	s := newSession(p.env, nil)
	l := newLink(s, conn, pf, 1)
	r := s.prepareLink(p.ctx, l, limit)
	if r == nil {
		r = s.begin(l)
	}
	if r != nil {
		p.log.Debugf("refused %s: %s", l.ip, brief(r.String()))
		p.env.sessions.Done()
		return nil
	}
	p.log.Infof("accept ok (network:%s, addr:%s, id:%s)", p.cfg.Network, l.ip, s.ID())
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
	if !p.admit() {
		p.log.Warnf("serve connection from %s: %v", addrText(conn.RemoteAddr()), errPeerClosed)
		conn.Close()
		return nil
	}
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
