package tp

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// hub holds the sessions that are ready or redialling, by id, and knows of all others. Safe for
// concurrent use; its lock is never held while a session's code runs.
type hub struct {
	size   atomic.Int32 // of m
	mu     sync.RWMutex
	m      map[string]*session
	live   map[*session]struct{} // all sessions that have not come to their end, in whatever state
	serial uint64                // makes default ids unique
	closed bool
}

func newHub() *hub {
	return &hub{m: make(map[string]*session), live: make(map[*session]struct{})}
}

var errPeerClosed = errors.New("the peer is closed")

// claim makes s ready on l and enters it under the id it wants, in one step: a
// concurrent Close finds it neither half ready nor forgotten in the hub. It takes an
// explicit id over from the session that holds it, and returns that session. It
// appends a number to a default id that is taken or not unique by nature.
func (h *hub) claim(s *session, l *link) (old *session, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errPeerClosed
	}
	id, explicit, err := s.becomeReady(l)
	if err != nil {
		return nil, err
	}
	if explicit {
		old = h.m[id]
	} else {
		id = h.unique(s, id)
	}
	h.move(s, id)
	return old, nil
}

// rename moves s to id if it is in the hub under another one, which it returns. It also
// returns the session that held id.
func (h *hub) rename(s *session, id string) (was string, old *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was = s.idText()
	if was == id || h.m[was] != s {
		return "", nil
	}
	old = h.m[id]
	h.move(s, id)
	return was, old
}

func (h *hub) move(s *session, id string) {
	if was := s.idText(); h.m[was] == s {
		delete(h.m, was)
	}
	h.m[id] = s
	h.size.Store(int32(len(h.m)))
	s.id.Store(&id)
}

// unique returns id, or id with a number if another session has it. All clients of a
// unix socket have the same address, "@" or none.
func (h *hub) unique(s *session, id string) string {
	switch id {
	case "", "@", "pipe":
	default:
		if old := h.m[id]; old == nil || old == s {
			return id
		}
	}
	for {
		h.serial++
		try := id + "#" + strconv.FormatUint(h.serial, 10)
		if h.m[try] == nil {
			return try
		}
	}
}

// drop removes s, unless its id has gone to another session.
func (h *hub) drop(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if id := s.ID(); h.m[id] == s {
		delete(h.m, id)
		h.size.Store(int32(len(h.m)))
	}
}

// get returns the session with the id, nil if there is none.
func (h *hub) get(id string) *session {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.m[id]
}

func (h *hub) count() int { return int(h.size.Load()) }

func (h *hub) all() []*session {
	h.mu.RLock()
	defer h.mu.RUnlock()
	list := make([]*session, 0, len(h.m))
	for _, s := range h.m {
		list = append(list, s)
	}
	return list
}

// began and ended are the first and the last that is heard of a session.
func (h *hub) began(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.live[s] = struct{}{}
}

func (h *hub) ended(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.live, s)
}

// close refuses further sessions and returns those that have been ready, also those that
// are leaving.
func (h *hub) close() []*session {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	return slices.DeleteFunc(h.unended(), (*session).isPreparing)
}

// isClosed reports whether the peer closes.
func (h *hub) isClosed() bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.closed
}

// unended returns all sessions that have not come to their end.
func (h *hub) unended() []*session {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Collect(maps.Keys(h.live))
}

// becomeReady moves the session to the state ready, or returns an error if it was
// closed. It returns the id wanted, and whether SetID has set it.
func (s *session) becomeReady(l *link) (id string, explicit bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != nil {
		return "", false, s.reason
	}
	if explicit = s.wantID != nil; explicit {
		id = *s.wantID
	} else {
		id = s.defaultID()
	}
	s.state, s.link, s.prep = ready, l, nil
	s.cur.Store(l)
	return id, explicit, nil
}

func (s *session) SetID(id string) {
	s.mu.Lock()
	if s.state == closed || s.state == draining || id == "" {
		s.mu.Unlock()
		return
	}
	s.wantID = &id
	inHub := s.state != preparing
	s.mu.Unlock()
	if inHub {
		was, old := s.env.hub.rename(s, id)
		if old != nil {
			old.evict(s)
		}
		if was != "" {
			s.renamed(was)
		}
	}
}

// renamed runs the PostRename hooks.
func (s *session) renamed(was string) {
	for _, h := range s.env.hooks().postRename {
		guard{log: s.logger}.run(h, func() *Rerror { h.PostRename(s, was); return nil })
	}
}

// evict closes s because the session by has taken its id.
func (s *session) evict(by *session) {
	cause := &told{
		fmt.Errorf("id taken by %s", addrText(by.RemoteAddr())),
		NewRerror(CodeConflict, CodeText(CodeConflict), "another session has taken the id"),
	}
	s.beginClose(&CloseReason{SideLocal, cause, "closing"}, s.env.cfg.CloseTimeout)
}
