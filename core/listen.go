package tp

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/teleport-go/teleport/core/internal/inherit"
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
	for i := range lis {
		go func() { p.listenFailed(p.accept(lis[i], pf, i+1)) }()
	}
	return nil
}

func (p *peer) ListenAndServe(protoFunc ...ProtoFunc) error {
	lis, pf, err := p.bind(protoFunc)
	if err != nil {
		return p.listenFailed(err)
	}
	for i := range lis[1:] {
		go func() { p.listenFailed(p.accept(lis[i+1], pf, i+2)) }()
	}
	err = p.listenFailed(p.accept(lis[0], pf, 1))
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

// bind opens the configured address, once for each event loop where that is possible, and
// runs the PostListen hooks.
func (p *peer) bind(protoFunc []ProtoFunc) ([]net.Listener, ProtoFunc, error) {
	pf, err := p.open(protoFunc)
	if err != nil {
		return nil, nil, err
	}
	protocols, err := socket.ProtoNames(pf)
	if err != nil {
		return nil, nil, fmt.Errorf("tp: listen: %w", err)
	}
	tlsConfig := p.TLSConfig()
	if tlsConfig != nil && !hasCertificate(tlsConfig) {
		return nil, nil, errNoCertificate
	}
	c := ListenConfig{
		Network: p.cfg.Network, LocalIP: p.cfg.LocalIP, ListenPort: p.cfg.ListenPort, ReusePort: p.cfg.Loops > 1 && p.env.network.ReusePort,
		UnixMode: p.cfg.UnixMode, TLS: tlsConfig, HandshakeTimeout: p.cfg.HandshakeTimeout, Logger: p.log,
		HandBack: p.handBack(inherit.BackLines()),
	}
	var all []net.Listener
	bound := false
	defer func() {
		if !bound {
			for _, lis := range all {
				p.unbind(lis)
			}
		}
	}()
	for {
		lis, err := p.listenAt(c)
		if err != nil {
			return nil, nil, err
		}
		if !p.addListener(listener{lis, pf, protocols, len(all) > 0}) {
			lis.Close()
			return nil, nil, ErrListenClosed
		}
		all = append(all, lis)
		a, ok := lis.Addr().(*net.TCPAddr)
		if !c.ReusePort || !ok || len(all) == p.cfg.Loops {
			break
		}
		c.ListenPort = uint16(a.Port)
	}
	adoptInherited()
	lis := all[0]
	for _, h := range p.env.hooks().postListen {
		if err := plainHook(h, func() error { return h.PostListen(lis.Addr()) }); err != nil {
			return nil, nil, fmt.Errorf("tp: listen %s: [PostListenPlugin:%s] %w", lis.Addr(), h.Name(), err)
		}
	}
	p.log.Printf("listen and serve (network:%s, addr:%s)", p.cfg.Network, lis.Addr())
	bound = true
	return all, pf, nil
}

// listenAt opens one listener. After a Reboot the old process has a port that cannot be handed
// over, such as one of UDP, until its sessions have ended: listenAt waits for that.
func (p *peer) listenAt(c ListenConfig) (net.Listener, error) {
	for waits := false; ; {
		old := inherit.OlderLives()
		lis, err := p.listenOnce(c)
		if err == nil || !old && !waits || !isAddrInUse(err) || slices.Contains(handedOver, c.Network) {
			return lis, err
		}
		if !waits {
			p.log.Printf("listen (network:%s, addr:%s): an older process has the port until it has ended; waiting", c.Network, joinPort(c.LocalIP, c.ListenPort))
		}
		waits = old // once more behind its end: it may have been about to close the port
		if !pause(p.listening, portEvery) {
			return nil, ErrListenClosed
		}
	}
}

// listenOnce calls Network.Listen. A panic there is an error.
func (p *peer) listenOnce(c ListenConfig) (lis net.Listener, err error) {
	network := "network " + p.cfg.Network
	fault := Guard(p.log, network+": Listen", func() error { lis, err = p.env.network.Listen(p.ctx, c); return nil })
	if fault != nil {
		return nil, fmt.Errorf("tp: listen: %w", fault)
	}
	if _, own := lis.(*inherit.Listener); err != nil || own {
		return lis, err
	}
	if lis == nil {
		return nil, fmt.Errorf("tp: listen: %s: Listen has returned no listener", network)
	}
	l := &guardedListener{Listener: lis, log: p.log, network: network, addr: &moveAddr{c.Network, ""}}
	err = Guard(p.log, network+": Addr of the listener", func() error {
		if addr := lis.Addr(); addr != nil {
			l.addr = addr
		}
		return nil
	})
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("tp: listen: %w", err)
	}
	return l, nil
}

// A guardedListener is a listener of a network that is not core's own. A panic in it ends
// the listener, not the process.
type guardedListener struct {
	net.Listener
	log     logger
	network string
	addr    net.Addr // not nil
	close   sync.Once
	err     error // of Close
}

// Unwrap returns the listener.
func (l *guardedListener) Unwrap() net.Listener { return l.Listener }

func (l *guardedListener) Addr() net.Addr { return l.addr }

func (l *guardedListener) Accept() (conn net.Conn, err error) {
	err = Guard(l.log, l.network+": Accept", func() (err error) { conn, err = l.Listener.Accept(); return err })
	if err == nil && conn == nil {
		err = fmt.Errorf("%s: Accept has returned no connection", l.network)
	}
	return conn, err
}

// Close closes the listener once: the second Close of a listener may panic, such as one that
// closes a channel.
func (l *guardedListener) Close() error {
	l.close.Do(func() { l.err = Guard(l.log, l.network+": Close of the listener", l.Listener.Close) })
	return l.err
}

// handedOver are the networks whose sockets a new process gets at once.
var handedOver = []string{"tcp", "tcp4", "tcp6", "unix", "unixpacket"}

// portEvery is how often a new process tries whether the old one has released a port.
const portEvery = 50 * time.Millisecond

// addListener notes a listener, to be closed. It returns false if the peer closes.
func (p *peer) addListener(l listener) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return false
	}
	p.listeners = append(p.listeners, l)
	p.accepting.Add(1)
	return true
}

// unbind closes the listener that bind opened.
func (p *peer) unbind(lis net.Listener) {
	defer p.accepting.Done()
	p.mu.Lock()
	p.listeners = slices.DeleteFunc(p.listeners, func(l listener) bool { return l.Listener == lis })
	p.mu.Unlock()
	lis.Close()
}

// accept starts a session for each accepted connection, until the listener is closed. The
// sessions are those of the event loop with this number, if there are several listeners.
func (p *peer) accept(lis net.Listener, pf ProtoFunc, loop int) error {
	if p.cfg.Loops <= 1 || !p.env.network.ReusePort {
		loop = 0
	}
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
			go p.welcome(conn, pf, loop)
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

// welcome prepares an accepted connection, and starts its session.
func (p *peer) welcome(conn net.Conn, pf ProtoFunc, loop int) {
	defer p.donePreparing()
	begun := time.Now()
	h := Handshake{Conn: conn, Proto: pf, Peer: p, Trusted: trusts(p.cfg.trusted, conn.RemoteAddr()), loop: loop}
	if !p.acceptedHandshake(&h) {
		h.Conn.Close()
		p.env.sessions.Done()
		return
	}
	if l, r := p.serveConn(&h, p.cfg.HandshakeTimeout-time.Since(begun)); r != nil {
		p.logRefused(l, r)
	}
}

// serveConn runs the PostAccept hooks, within limit, and starts the session. It returns
// an error if that has not become ready, mostly since a hook has refused the connection.
// The caller has admitted the session.
func (p *peer) serveConn(h *Handshake, limit time.Duration) (l *link, r *Rerror) {
	s := newSession(p.env, nil)
	if h.loop > 0 {
		s.setLoop(h.loop)
	}
	begun := false
	defer func() {
		if !begun {
			s.release()
		}
	}()
	l = newLink(s, h, 1)
	r = s.prepareLink(p.ctx, l, limit)
	l.silent = !l.sock.Heard()
	silent := l.silent // the reader's from here on
	if r == nil {
		_, r = s.begin(l)
	}
	if r != nil {
		if !l.isProbe(r) {
			p.env.stats.refusedConnections.Add(1)
		}
		return l, r
	}
	begun = true
	if !silent {
		l.logAccepted()
	}
	return l, nil
}

// isProbe reports whether a connection that was refused because of r has hung up without
// a message, while a hook waited for it.
func (l *link) isProbe(r *Rerror) bool { return l.silent && isHangUp(r.Cause()) }

// logRefused logs why an accepted connection has become no session.
func (p *peer) logRefused(l *link, r *Rerror) {
	if l.isProbe(r) {
		p.log.Debugf("%s has connected and hung up without a message", l.ip)
		return
	}
	p.env.throttled(&p.refusals, throttle.Burst, WARNING, "refused %s: %s", l.ip, brief(r.String()))
}

func (p *peer) ServeConn(conn net.Conn, protoFunc ...ProtoFunc) Session {
	l, r := p.serveForeign(conn, ConnFacts{}, protoFunc)
	switch {
	case r == nil:
		return l.sess
	case l != nil:
		p.logRefused(l, r)
	case r.Cause() == errPeerClosed:
		p.log.Warnf("serve connection from %s: %v", addrText(conn.RemoteAddr()), errPeerClosed)
	default:
		p.log.Errorf("serve connection from %s: %s", addrText(conn.RemoteAddr()), r)
	}
	return nil // never a nil *session in an interface
}

func (p *peer) ServeConnWith(conn net.Conn, facts ConnFacts, protoFunc ...ProtoFunc) (Session, *Rerror) {
	l, r := p.serveForeign(conn, facts, protoFunc)
	if r != nil {
		return nil, r
	}
	return l.sess, nil
}

// serveForeign serves a connection that was accepted elsewhere. If the error is not nil,
// the connection is closed, and the link is that of its session, if there was one.
func (p *peer) serveForeign(conn net.Conn, facts ConnFacts, protoFunc []ProtoFunc) (*link, *Rerror) {
	refuse := func(code int32, err error) (*link, *Rerror) {
		conn.Close()
		return nil, NewRerror(code, CodeText(code), err.Error()).WithCause(err)
	}
	if _, ok := conn.(*net.UDPConn); ok {
		return refuse(CodeWrongConn, errors.New("udp connections are not supported"))
	}
	pf, err := p.open(protoFunc)
	if err != nil {
		return refuse(CodeInternalServerError, err)
	}
	if !p.admitAccepted() {
		return refuse(CodeConnClosed, errPeerClosed)
	}
	defer p.donePreparing()
	return p.serveConn(&Handshake{Conn: conn, Proto: pf, Facts: facts}, p.cfg.HandshakeTimeout)
}

func (p *peer) Addrs() []net.Addr {
	list := p.Listening()
	addrs := make([]net.Addr, len(list))
	for i, l := range list {
		addrs[i] = l.Addr
	}
	return addrs
}

func (p *peer) Listening() []Listening {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Listening, 0, len(p.listeners))
	for _, l := range p.listeners {
		if !l.again {
			list = append(list, Listening{Addr: l.Addr(), Network: p.cfg.Network, Protocols: slices.Clone(l.protocols), TLS: p.tls != nil})
		}
	}
	return list
}

// handBack returns ListenConfig.HandBack, over lines to the processes before this one, the
// last one first; nil: there are none.
func (p *peer) handBack(lines []*inherit.Line) func(ctx context.Context, state []byte, conn net.Conn) error {
	if len(lines) == 0 {
		return nil
	}
	all := make([]func(context.Context, []byte, net.Conn) error, len(lines))
	for i, line := range lines {
		all[i] = p.handBackBy(line)
	}
	return func(ctx context.Context, state []byte, conn net.Conn) (err error) {
		for _, handBack := range all {
			if err = handBack(ctx, state, conn); err == nil {
				return nil
			}
		}
		return err
	}
}

// handBackBy is handBack by one line. The line ends with an offer that is not answered in time,
// so an offer has its whole time, also for a client that asks at the end of its own.
func (p *peer) handBackBy(line taker) func(ctx context.Context, state []byte, conn net.Conn) error {
	var ended sync.Once
	return func(ctx context.Context, state []byte, conn net.Conn) error {
		local := conn.LocalAddr()
		head, err := json.Marshal(backRecord{backVersion, p.cfg.Network, moveAddr{local.Network(), local.String()}})
		if err != nil {
			return err
		}
		switch conn.(type) {
		case *net.TCPConn, *net.UnixConn:
		default:
			conn = nil
		}
		// An offer that runs out of time ends the line for all connections: a client must not be
		// able to do that by beginning at the end of its time.
		err = line.Offer(noLimit{ctx}, head, state, conn, func() bool { return ctx.Err() == nil })
		if errors.Is(err, os.ErrDeadlineExceeded) { // else the old process has ended
			ended.Do(func() {
				p.log.Warnf("tp: reboot: the old process does not answer; new connections of sessions that it still has are refused from now on")
			})
		}
		return err
	}
}

// noLimit is a context that may have ended, and whose deadline is not known.
type noLimit struct{ context.Context }

func (noLimit) Deadline() (at time.Time, ok bool) { return at, false }

// handOverListeners returns the listeners for which the new process may hand back
// connections.
func (p *peer) handOverListeners() (b []backListener) {
	for _, lis := range p.inheritable() {
		if l := handOverListener(lis); l != nil {
			b = append(b, backListener{p.cfg.Network, l, p.log})
		}
	}
	return b
}
