package tp

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/teleport-go/teleport/core/internal/pending"
	"github.com/teleport-go/teleport/core/internal/sweep"
	"github.com/teleport-go/teleport/core/socket"
)

// session is a connection with all it can do, on either side. state.go draws its life.
type session struct {
	// The first connection, which most sessions have for all their life: one piece of
	// memory with the session.
	first link

	logger
	env                    *env
	cur                    atomic.Pointer[link] // where calls go out; nil unless ready
	running                atomic.Int32         // handlers begun and not done
	leaving                atomic.Bool          // draining or later: who becomes idle says so on idle
	sessionAge, contextAge atomic.Int64         // nanoseconds; 0: unlimited
	place                  uint32               // where the watchdog looks
	shard                  int                  // of the workers

	pending pending.Table[*callCmd]
	plan    *dialPlan // how it was dialled; nil if it was accepted
	swap    Swap
	id      atomic.Pointer[string]
	sweep.Handle
	expireAt atomic.Int64 // end of the session's age, in the sweeper's time; 0: none

	idle        chan struct{} // of capacity 1; made before leaving is set
	closeNotify event
	quiet       event // draining has come to no pending calls and an empty batch
	drained     event // draining is over
	done        event // at the very end

	mu        sync.Mutex // guards what follows
	state     state
	link      *link           // the present or last one
	prep      *link           // the one whose hooks run
	prepCtx   context.Context // of these hooks; nil outside of them
	reason    *CloseReason
	customID  bool // SetID was called
	wantID    string
	stopDrain context.CancelCauseFunc // ends draining's wait
	bound     *time.Timer             // calls stopDrain
	boundAt   time.Time
	cut       int // calls that draining has cut off
	waiting   []*waiter
	waitBytes int
	stopDial  context.CancelFunc // ends redialling

	drops, failures, unasked throttle // of lines that the peer can cause

	orderedMu sync.Mutex // guards ordered
	ordered   map[*Handler]*orderedQueue
}

var (
	_ Session     = (*session)(nil)
	_ PreSession  = (*session)(nil)
	_ BaseSession = (*session)(nil)
	_ Breaker     = (*session)(nil)
)

var noID string // what the ids of sessions in preparation point to

func newSession(e *env, plan *dialPlan) *session {
	s := &session{
		logger: e.log, env: e, plan: plan, shard: e.workers.Shard(), place: e.watch.next.Add(1),
	}
	s.sessionAge.Store(int64(e.cfg.DefaultSessionAge))
	s.contextAge.Store(int64(e.cfg.DefaultContextAge))
	s.id.Store(&noID)
	return s
}

func (s *session) Peer() Peer { return s.env.peer }

func (s *session) ID() string {
	if id := *s.id.Load(); id != "" {
		return id
	}
	id, _ := s.wantedID()
	return id
}

// wantedID is the id that SetID has set (explicit) or the default one.
func (s *session) wantedID() (id string, explicit bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.customID {
		return s.wantID, true
	}
	return s.defaultID(), false
}

// defaultID is asked under mu.
func (s *session) defaultID() string {
	l := s.link
	if s.prep != nil {
		l = s.prep
	}
	if l == nil {
		return ""
	}
	if s.plan != nil {
		return addrText(l.local)
	}
	return l.ip
}

func (s *session) SetID(id string) {
	s.mu.Lock()
	if s.state == closed || s.state == draining || id == "" {
		s.mu.Unlock()
		return
	}
	s.customID, s.wantID = true, id
	inHub := s.state != preparing
	s.mu.Unlock()
	if inHub {
		if old, _ := s.env.hub.rename(s, id, true); old != nil {
			old.evict(s)
		}
	}
}

// evict closes a session whose id another one has taken.
func (s *session) evict(by *session) {
	s.leave(&CloseReason{SideLocal, fmt.Errorf("id taken by %s", addrText(by.RemoteAddr())), "closing"}, s.env.cfg.CloseTimeout)
}

func (s *session) currentLink() *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.prep != nil {
		return s.prep
	}
	return s.link
}

func (s *session) LocalAddr() net.Addr  { return s.currentLink().local }
func (s *session) RemoteAddr() net.Addr { return s.currentLink().remote }
func (s *session) Swap() *Swap          { return &s.swap }

func (s *session) CloseNotify() <-chan struct{} { return s.closeNotify.wait() }

func (s *session) Health() bool {
	if s.cur.Load() != nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case ready, redialing:
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

func (s *session) SessionAge() time.Duration { return time.Duration(s.sessionAge.Load()) }
func (s *session) ContextAge() time.Duration { return time.Duration(s.contextAge.Load()) }

func (s *session) SetSessionAge(d time.Duration) {
	s.sessionAge.Store(int64(max(d, 0)))
	s.mu.Lock()
	live := s.state == ready || s.state == redialing
	s.mu.Unlock()
	if live {
		s.startAge()
	}
}

// startAge counts the session's age from now.
func (s *session) startAge() {
	d := s.sessionAge.Load()
	if d == 0 {
		s.expireAt.Store(0)
		return
	}
	at := s.env.sweeper.Now() + d
	s.expireAt.Store(at)
	s.env.sweeper.Touch(s, at)
}

func (s *session) SetContextAge(d time.Duration) { s.contextAge.Store(int64(max(d, 0))) }

func (s *session) Queued() (messages, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil {
		messages, bytes = s.link.sock.Queued()
	}
	return messages + len(s.waiting), bytes + s.waitBytes
}

func (s *session) ControlFD(f func(fd uintptr)) error {
	s.mu.Lock()
	l, st := s.link, s.state
	if s.prep != nil {
		l = s.prep
	}
	gone := st == closed || st == redialing && l != s.prep
	var conn net.Conn
	if !gone {
		conn = l.conn
	}
	s.mu.Unlock()
	if gone {
		return net.ErrClosed
	}
	return socket.ControlFD(conn, f)
}

// Expire is called by the sweeper: pending calls, handlers, and the session may
// have deadlines. It does not block.
func (s *session) Expire(now int64) (next int64) {
	expired := false
	next = s.pending.Expire(now, func(cmd *callCmd) {
		expired = true
		cmd.settle(timeoutRerror())
	})
	if expired {
		s.forget(s.settled)
	}
	next = earlier(next, s.expireWaiting(now))
	s.mu.Lock()
	l := s.link
	s.mu.Unlock()
	if l != nil {
		next = earlier(next, l.expireHandlers(now))
		next = earlier(next, l.rouse(now))
	}
	if at := s.expireAt.Load(); at != 0 {
		if at <= now {
			s.expireAt.Store(0)
			s.leave(&CloseReason{SideLocal, errSessionAge, "closing"}, s.env.cfg.CloseTimeout)
		} else {
			next = earlier(next, at)
		}
	}
	s.becameIdle()
	return next
}

// earlier returns the earlier of two deadlines, 0 being none.
func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func timeoutRerror() *Rerror {
	return NewRerror(CodeHandleTimeout, CodeText(CodeHandleTimeout), "the call's deadline is over").WithCause(context.DeadlineExceeded)
}
