package tp

import (
	"errors"
	"net"
	"time"

	"github.com/teleport-go/teleport/core/socket"
)

var (
	_ Session     = (*session)(nil)
	_ PreSession  = (*session)(nil)
	_ BaseSession = (*session)(nil)
	_ Breaker     = (*session)(nil)
)

var noID string // the id of sessions in preparation

func newSession(e *env, plan *dialPlan) *session {
	s := &session{
		logger: e.log, env: e, plan: plan, serial: e.serial.Add(1), sessionAge: e.live.Load().DefaultSessionAge,
	}
	s.contextAge.Store(int64(e.live.Load().DefaultContextAge))
	s.id.Store(&noID)
	e.hub.began(s)
	return s
}

// setLoop gives the session the event loop with this number, from 1 on. It is called
// before anything else.
func (s *session) setLoop(loop int) {
	s.serial = s.serial*uint32(len(s.env.pollers)) + uint32(loop-1)
}

// release gives back what newSession and admit have taken for the session.
func (s *session) release() {
	s.env.hub.ended(s)
	s.env.sessions.Done()
}

func (s *session) isPreparing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == preparing
}

func (s *session) Peer() Peer { return s.env.peer }

func (s *session) ID() string {
	if id := *s.id.Load(); id != "" {
		return id
	}
	id, _ := s.wantedID()
	return id
}

// wantedID returns the id that SetID has set (explicit), else the default one.
func (s *session) wantedID() (id string, explicit bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wantID != nil {
		return *s.wantID, true
	}
	return s.defaultID(), false
}

// defaultID returns the id of a session without SetID. The caller holds s.mu.
func (s *session) defaultID() string {
	l := s.linkNow()
	if l == nil {
		return ""
	}
	if s.plan != nil {
		return addrText(l.conn.LocalAddr())
	}
	return l.ip
}

// linkNow returns the link whose connection hooks run, else the present or last one, nil if
// there was none yet. The caller holds s.mu.
func (s *session) linkNow() *link {
	if s.prep != nil {
		return s.prep
	}
	return s.link
}

func (s *session) currentLink() *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.linkNow()
}

// netConn returns the connection, which a hook may replace until the link is ready.
func (l *link) netConn() net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

// remoteAddr returns the address of the other end, which may be behind a gateway.
func (l *link) remoteAddr() net.Addr {
	if l.facts != nil && l.facts.Remote != nil {
		return l.facts.Remote
	}
	return l.netConn().RemoteAddr()
}

func (s *session) LocalAddr() net.Addr  { return s.currentLink().netConn().LocalAddr() }
func (s *session) RemoteAddr() net.Addr { return s.currentLink().remoteAddr() }

func (s *session) Swap() *Swap {
	if m := s.swap.Load(); m != nil {
		return m
	}
	s.swap.CompareAndSwap(nil, new(Swap))
	return s.swap.Load()
}

func (s *session) CloseNotify() <-chan struct{} { return s.closeNotify.Done() }

func (s *session) Health() bool {
	if s.cur.Load() != nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case ready, redialing, moving:
		return true
	case broken:
		return s.reason == nil && s.redialable()
	}
	return false
}

func (s *session) CloseReason() *CloseReason {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

func (s *session) ContextAge() time.Duration { return time.Duration(s.contextAge.Load()) }

func (s *session) SessionAge() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessionAge
}

func (s *session) SetSessionAge(d time.Duration) {
	s.mu.Lock()
	s.sessionAge = max(d, 0)
	live := s.state == ready || s.state == redialing || s.state == moving || s.committed()
	s.mu.Unlock()
	if live {
		s.startAge()
	}
}

// startAge starts the session's age now, and lets the sweeper check it.
func (s *session) startAge() {
	s.mu.Lock()
	s.expireAt = 0
	if s.sessionAge > 0 {
		s.expireAt = s.env.sweeper.After(s.sessionAge)
	}
	at := s.expireAt
	s.mu.Unlock()
	if idle := int64(s.env.cfg.IdleTimeout); idle > 0 {
		at = earlier(at, s.env.sweeper.Now()+idle/4)
	}
	if at != 0 {
		s.env.sweeper.Touch(s, at)
	}
}

// expireIn is startAge for an age of which so much is left.
func (s *session) expireIn(left time.Duration) {
	at := s.env.sweeper.After(left)
	s.mu.Lock()
	s.expireAt = at
	s.mu.Unlock()
	s.env.sweeper.Touch(s, at)
}

// committed reports whether the session has been handed over to another process, which may
// still fail: commitMove (move.go) has begun, and uncommitMove has not run since. The caller
// holds s.mu.
func (s *session) committed() bool {
	return s.state == broken && errors.Is(s.reason, ErrHandedOver)
}

// postpone leaves f, which closes the session, to uncommitMove, if the session is committed:
// else it returns false. The caller holds s.mu.
func (s *session) postpone(f func()) bool {
	if !s.committed() {
		return false
	}
	m := s.move.Load()
	m.late = append(m.late, f)
	return true
}

func (s *session) SetContextAge(d time.Duration) { s.contextAge.Store(int64(max(d, 0))) }

func (s *session) ControlFD(f func(fd uintptr)) error {
	s.mu.Lock()
	if s.state == closed || s.state == redialing && s.prep == nil {
		s.mu.Unlock()
		return net.ErrClosed
	}
	conn := s.linkNow().conn
	s.mu.Unlock()
	return socket.ControlFD(conn, f)
}

func (s *session) idText() string { return *s.id.Load() }
