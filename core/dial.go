package tp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/teleport-go/teleport/core/internal/throttle"
)

// shortLife is how long a connection must have lasted for the pauses before the next
// attempts to begin with the shortest again: or two sessions that throw each other out
// would do so at full speed.
const shortLife = 10 * time.Second

// mildPauses is how many pauses count at most if the peer has said goodbye without an
// error: a server that is restarted a few times in a row is still found soon.
const mildPauses = 3

// maxPauses is more than the pauses that lead to the longest one.
const maxPauses = 64

func (p *peer) Dial(addr string, protoFunc ...ProtoFunc) (Session, *Rerror) {
	return p.DialContext(context.Background(), addr, protoFunc...)
}

func (p *peer) DialContext(ctx context.Context, addr string, protoFunc ...ProtoFunc) (Session, *Rerror) {
	pf, err := p.open(protoFunc)
	if err != nil {
		return nil, dialRerror(addr, err)
	}
	values := context.WithoutCancel(ctx)
	ctx, stop := p.bounded(ctx)
	defer stop()
	if !p.admit() {
		return nil, dialRerror(addr, errPeerClosed)
	}
	s := newSession(p.env, &dialPlan{addr: addr, pf: pf, values: values})
	begun := false
	defer func() {
		if !begun {
			s.release()
		}
	}()
	l, r := p.dialOnce(ctx, s, 1)
	if r == nil {
		r = s.prepareLink(ctx, l, p.cfg.HandshakeTimeout)
	}
	var announced <-chan struct{}
	if r == nil {
		announced, r = s.begin(l)
	}
	if r != nil {
		return nil, r
	}
	begun = true
	if announced != nil {
		select {
		case <-announced:
		case <-ctx.Done():
			err := context.Cause(ctx)
			s.beginClose(&CloseReason{SideLocal, err, "waiting for PostReady"}, 0)
			return nil, dialRerror(addr, err)
		}
	}
	p.log.Infof("dial ok (network:%s, addr:%s, id:%s)", p.cfg.Network, addr, s.ID())
	return s, nil
}

// bounded returns a context that also ends when the peer closes.
func (p *peer) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.ctx, func() { cancel(errPeerClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// dialOnce makes one connection, encrypted if TLS is configured.
func (p *peer) dialOnce(ctx context.Context, s *session, epoch uint32) (*link, *Rerror) {
	addr := s.plan.addr
	for _, h := range p.env.hooks().preDial {
		if r, _ := s.connHook("PreDial", h, func() *Rerror { return h.PreDial(p.sourceAddr(), addr) }); r.HasError() {
			return nil, r
		}
	}
	conn, err := p.connect(ctx, addr)
	if err != nil {
		return nil, dialRerror(addr, causeOr(ctx, err))
	}
	h := Handshake{Conn: conn, Proto: s.plan.pf, Peer: p, Dialed: true, Addr: addr}
	if r := p.dialedHandshake(ctx, &h); r != nil {
		h.Conn.Close()
		return nil, r
	}
	return newLink(s, &h, epoch), nil
}

// connect makes a connection. The network gets DefaultDialTimeout in two ways: as the end of
// ctx, and in its configuration. A panic of the network is an error.
func (p *peer) connect(ctx context.Context, addr string) (conn net.Conn, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = guard{log: p.log}.rerror("network "+p.cfg.Network, v).Err()
		}
	}()
	limit, begun := p.cfg.DefaultDialTimeout, time.Now()
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	conn, err = p.env.network.Dial(ctx, DialConfig{
		Network: p.cfg.Network, Addr: addr, LocalIP: p.cfg.LocalIP, LocalPort: p.cfg.LocalPort,
		TLS: p.TLSConfig(), Timeout: limit, HandshakeTimeout: p.cfg.HandshakeTimeout, Logger: p.log,
	})
	if err == nil && conn == nil {
		return nil, errors.New("network " + p.cfg.Network + ": Dial has returned no connection")
	}
	if err != nil {
		err = bare(err) // dialRerror names the address
		if limit > 0 && time.Since(begun) >= limit {
			err = fmt.Errorf("connecting took longer than default_dial_timeout (%v): %w", limit, err)
		}
	}
	return conn, err
}

// sourceAddr is where dialled connections come from; nil if the system chooses.
func (p *peer) sourceAddr() net.Addr {
	ip := net.ParseIP(p.cfg.LocalIP)
	if p.cfg.LocalPort == 0 && (ip == nil || ip.IsUnspecified()) {
		return nil
	}
	return &net.TCPAddr{IP: ip, Port: int(p.cfg.LocalPort)}
}

// prepareLink runs the hooks of a new connection. If a hook refuses the connection,
// or limit is over first, it closes the connection.
func (s *session) prepareLink(ctx context.Context, l *link, limit time.Duration) (r *Rerror) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errHandshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.kill(SideLocal, context.Cause(ctx), "preparing") })
	defer stop()

	s.mu.Lock()
	s.prep, s.prepCtx = l, ctx
	reason := s.reason
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.prepCtx = nil
		s.mu.Unlock()
	}()
	if reason != nil { // closed while it was redialling
		l.killFor(reason)
	}
	if s.plan == nil {
		l.sock.SetLimit(min(preparingLimit, s.env.cfg.MessageSizeLimit))
	}
	plugins := s.env.hooks().connection
	for i, p := range plugins {
		if r = s.connectionHook(l, p); r.HasError() {
			break
		}
		l.passed = plugins[:i+1]
		if l.killed.Load() != nil {
			break // closed, or out of time: the next hook could not reach the peer
		}
	}
	if k := l.killed.Load(); k != nil {
		r = s.preparingRerror(k)
	}
	if !r.HasError() {
		if stop() {
			l.sock.SetLimit(s.env.cfg.MessageSizeLimit)
			l.sock.SetFrameTimeout(s.env.cfg.FrameTimeout)
			return nil
		}
		r = s.preparingRerror(&CloseReason{SideLocal, context.Cause(ctx), "preparing"})
	}
	s.refuseLink(l, r)
	return r
}

// preparingLimit is the largest frame that is read before the PostAccept hooks have
// accepted the connection, in bytes.
const preparingLimit uint32 = 64 << 10

// preparingRerror returns the error of a connection that did not become ready because of k.
func (s *session) preparingRerror(k *CloseReason) *Rerror {
	if s.plan != nil {
		return dialRerror(s.plan.addr, k)
	}
	return k.rerror()
}

// refuseLink ends a connection that did not become ready.
func (s *session) refuseLink(l *link, r *Rerror) {
	s.mu.Lock()
	first := s.state == preparing
	if first {
		s.state = closed
		if s.reason == nil {
			s.reason = &CloseReason{SideLocal, r.Err(), "preparing"}
		}
		s.link = l
		s.leaving.Store(true)
		s.closeNotify.Fire()
	}
	s.prep = nil
	s.mu.Unlock()
	// First flush what a hook has sent, a refusal for example.
	ctx, cancel := context.WithTimeout(context.Background(), lingerTime)
	if l.killed.Load() == nil {
		l.partRefused(r)
		l.sock.WaitFlushed(ctx)
	}
	cancel()
	if s.plan == nil && l.killed.Load() == nil {
		l.hangUp(hangUpLimit)
	}
	l.conn.Close()
	l.sock.Stop(net.ErrClosed)
	l.sock.Join()
	l.sock.Release()
	l.over.Fire()
	if first {
		s.postDisconnect(l)
		s.done.Fire()
	}
}

// connectionHook runs what p wants to do with a fresh connection. A panic, or the end of
// its goroutine, is 105 on the dialling side, 500 on the other.
func (s *session) connectionHook(l *link, p Plugin) (r *Rerror) {
	if s.plan == nil {
		if h, ok := p.(PostAcceptPlugin); ok {
			r, _ = s.connHook("PostAccept", p, func() *Rerror { return h.PostAccept(s) })
		}
		return r
	}
	ok := true
	if redialled := postRedial(p); redialled != nil && l.epoch > 1 {
		r, ok = s.connHook("PostRedial", p, func() *Rerror { return redialled(s) })
	} else if h, is := p.(PostDialPlugin); is {
		r, ok = s.connHook("PostDial", p, func() *Rerror { return h.PostDial(s) })
	}
	if !ok {
		r.Code, r.Message = CodeDialFailed, CodeText(CodeDialFailed)
	}
	return r
}

// connHook runs a hook of a connection. While it runs, the session says so.
func (s *session) connHook(moment string, p Plugin, f func() *Rerror) (r *Rerror, ok bool) {
	s.holdUp(func(h *holdUp) { h.hook = moment + " of plugin " + p.Name() })
	defer s.holdUp(func(h *holdUp) { h.hook = "" })
	return guard{log: s.logger}.apart("plugin "+p.Name(), f)
}

// begin makes a prepared session ready, and parks it or starts its reader. announced is
// the result of announce.
func (s *session) begin(l *link) (announced <-chan struct{}, r *Rerror) {
	old, err := s.env.hub.claim(s, l)
	if err != nil { // the session or the peer was closed meanwhile
		reason := &CloseReason{SideLocal, err, "preparing"}
		if s.plan == nil { // the peer's calls may be under way
			l.sayBye(reason, true)
		}
		r = s.preparingRerror(reason)
		s.refuseLink(l, r)
		return nil, r
	}
	if old != nil {
		old.evict(s)
	}
	s.startAge()
	if s.plan != nil {
		s.plan.since = s.env.sweeper.Now()
	}
	announced = s.announce()
	if !l.park() {
		l.startReader()
	}
	return announced, nil
}

// announce runs the PostReady hooks on a goroutine of their own, for one connection of
// the session after the other. It returns a channel that is closed afterwards, nil if
// there is nothing to wait for. It is called by the session's goroutine, or before that
// starts.
func (s *session) announce() <-chan struct{} {
	if len(s.env.hooks().postReady) == 0 || s.announcing.Add(1) > 1 {
		return nil
	}
	done := make(chan struct{})
	s.env.sessions.Add(1)
	go func() {
		defer s.env.sessions.Done()
		defer close(done)
		due := int32(1)
		defer func() {
			if due > 0 { // a hook has ended this goroutine
				s.announcing.Store(0)
			}
		}()
		for ; due > 0; due = s.announcing.Add(-due) {
			for _, h := range s.env.hooks().postReady {
				guard{log: s.logger}.run(h, func() *Rerror { h.PostReady(s); return nil })
			}
		}
	}()
	return done
}

// redial makes a new connection in place of the broken one. It returns nil if the
// attempts are used up, the session was closed, or the peer refuses with 401, 403 or 409.
func (s *session) redial() *link {
	p := s.env.peer.(*peer)
	ctx, stop := p.bounded(s.plan.values)
	defer stop()
	s.mu.Lock()
	if s.reason != nil {
		s.mu.Unlock()
		return nil
	}
	s.state, s.stopDial = redialing, stop
	old := s.link
	s.mu.Unlock()
	if s.env.sweeper.Now()-s.plan.since > int64(shortLife) {
		s.plan.pauses = 0
	} else if f := old.bye.Load(); f != nil && f.rerr == nil {
		s.plan.pauses = min(s.plan.pauses, mildPauses)
	}
	var last *Rerror
	begun := time.Now()
	for n := int32(0); s.env.cfg.RedialTimes < 0 || n < s.env.cfg.RedialTimes; n++ {
		wait := backoff(s.env.cfg.RedialInterval, s.plan.pauses)
		if f := old.bye.Load(); n == 0 && f != nil && f.after > 0 {
			wait = f.after
		}
		if !pause(ctx, wait) {
			return nil
		}
		s.plan.pauses = min(s.plan.pauses+1, maxPauses)
		s.Debugf("trying to redial... (network:%s, addr:%s, id:%s)", s.env.cfg.Network, s.plan.addr, s.idText())
		l, r := p.dialOnce(ctx, s, old.epoch+1)
		if r == nil {
			r = s.prepareLink(ctx, l, p.cfg.HandshakeTimeout)
		}
		if r == nil {
			if s.rejoin(l) {
				s.announce()
				s.Infof("redial ok (network:%s, addr:%s, id:%s): attempt %d, after %v",
					s.env.cfg.Network, s.plan.addr, s.idText(), n+1, time.Since(begun).Round(time.Millisecond))
				return l
			}
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		last = r
		if endsRedial(r) || n == s.env.cfg.RedialTimes-1 {
			s.logRedial(ERROR, "redialling given up", n+1, r)
			break
		}
		level := DEBUG
		if isPowerOfTen(n + 1) {
			level = WARNING
		}
		s.logRedial(level, "redial fail", n+1, r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason == nil {
		s.reason = &CloseReason{SideNetwork, last.Err(), "redialing"}
	}
	return nil
}

// logRedial logs that an attempt has failed. If a server is away, many sessions fail at
// once, for a long time: so lines above DEBUG are throttled.
func (s *session) logRedial(level LoggerLevel, what string, attempt int32, r *Rerror) {
	const format = "%s (network:%s, addr:%s, id:%s): attempt %d: %s"
	args := []any{what, s.env.cfg.Network, s.plan.addr, s.idText(), attempt, r}
	if level == DEBUG {
		s.Debugf(format, args...)
		return
	}
	s.env.throttled(&s.env.peer.(*peer).redialErrors, throttle.Burst, level, format, args...)
}

func isPowerOfTen(n int32) bool {
	for n > 9 && n%10 == 0 {
		n /= 10
	}
	return n == 1
}

// rejoin makes a redialled session ready, with the id it had: it sends what was queued,
// in order, and then lets other calls in.
func (s *session) rejoin(l *link) bool {
	for {
		queued, closed := s.rejoinUnlessQueued(l)
		if closed != nil {
			l.part(closed)
			s.refuseLink(l, closed.rerror())
			return false
		}
		if len(queued) == 0 {
			s.startAge()
			s.plan.since = s.env.sweeper.Now()
			return true
		}
		s.sendQueued(l, queued)
	}
}

// rejoinUnlessQueued makes the session ready if nothing is queued, so that no call can
// overtake a queued one; else it takes and returns the queue. closed is not nil if the
// session was closed.
func (s *session) rejoinUnlessQueued(l *link) (queued []*redialEntry, closed *CloseReason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != nil {
		return nil, s.reason
	}
	if queued = s.takeRedialQueue(); len(queued) == 0 {
		s.state, s.link, s.prep, s.stopDial = ready, l, nil, nil
		s.cur.Store(l)
	}
	return queued, nil
}
