package tp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/teleport-go/teleport/core/internal/inherit"
	"github.com/teleport-go/teleport/core/socket"
)

// This file holds the old process's side of a Reboot that keeps connections: an accepted
// session is handed to the new process with its connection. adopt.go is the other side.
//
// A goroutine that moves a session makes it moving: what this side sends waits, as for a
// redial. When no call of this side is pending it takes the reading (held), at the edge of
// a message or, where the protocol is Repeatable, within one; when no handler runs any more, and
// everything is written, the connection belongs to it alone. If that takes longer than
// the attempt may, or something comes between, all goes back to what it was, and is
// tried again later, with more patience: a session moves whole or not at all.

const (
	// firstHold and longestHold are how long an attempt may hold up a session: twice as long each
	// time.
	firstHold   = 10 * time.Millisecond
	longestHold = time.Second
	// moveLook is the first pause between two looks at whether the session is quiet,
	// twice as long each time, up to longestLook.
	moveLook    = 20 * time.Microsecond
	longestLook = time.Millisecond
)

// again waits a moment for what the attempt waits for. It returns false when the time is over.
func (m *move) again() bool {
	if time.Now().After(m.until) {
		return false
	}
	time.Sleep(m.look)
	m.look = min(2*m.look, longestLook)
	return true
}

// moveTo hands the session over. It may hold the session up for so long, and as long as the
// new process takes. An error says why the session is still here.
func (s *session) moveTo(ctx context.Context, to taker, hold time.Duration) error {
	if err := s.movable(); err != nil {
		return err
	}
	return s.tryMove(ctx, to, hold)
}

// movable returns an error if the session cannot move.
func (s *session) movable() error {
	s.mu.Lock()
	l, state := s.link, s.state
	s.mu.Unlock()
	switch {
	case state != ready:
		return fmt.Errorf("it is %v", state)
	case s.plan != nil:
		return errors.New("this side has dialled it")
	case l.facts != nil && l.facts.TLS != nil:
		return errors.New("it is encrypted by TLS")
	case l.env.network.Handshake != nil && l.env.network.Resume == nil:
		return fmt.Errorf("its network %s cannot take up a connection of another process", l.env.cfg.Network)
	}
	switch l.conn.(type) {
	case *net.TCPConn, *net.UnixConn, HandOverConn:
	default:
		return fmt.Errorf("its connection is a %T", l.conn)
	}
	if _, ok := l.sock.Proto().(socket.Carrier); !ok {
		return errors.New("its protocol cannot be handed over")
	}
	if s.env.listenerOf(l) == "" {
		return errors.New("no listener of the peer has accepted it")
	}
	for _, p := range s.env.hooks().connection {
		if has[PostAcceptPlugin](p) && !has[HandOverPlugin](p) {
			return fmt.Errorf("plugin %s has a PostAccept, and no Save and Restore", p.Name())
		}
	}
	return nil
}

// listenerOf returns the key of the listener that has accepted the connection, "" for none.
func (e *env) listenerOf(l *link) string {
	p, ok := e.peer.(*peer)
	if !ok {
		return ""
	}
	local := l.conn.LocalAddr()
	for _, lis := range p.inheritable() {
		in, ok := unwrapListener(lis)
		if ok && accepts(in.Addr(), local) {
			return addrKey(in.Addr())
		}
	}
	return ""
}

// errBusy is the error of an attempt that may be made again.
var errBusy = errors.New("it is in use")

// tryMove is moveTo of a session that can move.
func (s *session) tryMove(ctx context.Context, to taker, hold time.Duration) (err error) {
	m := &move{over: make(chan struct{}), until: time.Now().Add(hold), look: moveLook}
	l := s.beginMove(m)
	if l == nil {
		return errBusy
	}
	moved := false
	defer func() {
		if !moved {
			s.endMove(m, l)
		}
	}()
	if err := s.quiesce(m, l); err != nil {
		return err
	}
	r, rest, err := s.record(l)
	if err != nil {
		return err
	}
	below, rest, err := l.saveConn(r, rest)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errBusy, err)
	}
	head, err := json.Marshal(r)
	if err == nil {
		err = to.Offer(ctx, head, rest, below, func() bool { return s.commitMove(l, r) })
	}
	if err != nil {
		if c, ok := l.conn.(HandOverConn); ok {
			c.Settle(true)
		}
		s.uncommitMove()
		return err
	}
	moved = true
	s.finishMove(m, l)
	return nil
}

// beginMove makes the session moving; nil: it is not ready.
func (s *session) beginMove(m *move) *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != ready {
		return nil
	}
	s.state = moving
	s.move.Store(m)
	s.cur.Store(nil)
	return s.link
}

// quiesce waits until the connection is the caller's alone.
func (s *session) quiesce(m *move, l *link) error {
	if l.hasStreams() {
		return fmt.Errorf("%w: a stream is open", errBusy)
	}
	for s.pending.Len() > 0 { // launch looks for the link behind its entry here; see the comment there
		if !m.again() {
			return fmt.Errorf("%w: it waits for replies", errBusy)
		}
	}
	if !l.seize(m) {
		return fmt.Errorf("%w: it is being read", errBusy)
	}
	for s.work.running() > 0 || l.sock.Ahead() > 0 {
		s.mu.Lock()
		waiting := len(s.redialQueue)
		s.mu.Unlock()
		if waiting > 0 && s.work.running() > 0 { // perhaps it is the handler that calls
			return fmt.Errorf("%w: a call of this side waits, and handlers run", errBusy)
		}
		if !m.again() {
			return fmt.Errorf("%w: handlers run", errBusy)
		}
	}
	l.sock.Flush(socket.NoBlock)
	for !l.sock.Seal(errMoving) {
		if l.killed.Load() != nil || !m.again() {
			return fmt.Errorf("%w: it has not been written what was sent", errBusy)
		}
	}
	return nil
}

// seize takes the reading.
func (l *link) seize(m *move) bool {
	l.wanted.Store(true)
	for {
		switch {
		case l.state.phase() == held:
			return true
		case l.state.seize():
			l.deregister()
			return true
		case isFired(l.over.Done()) || l.shut.Load():
			return false
		}
		l.interruptRead()
		if !m.again() {
			return false
		}
	}
}

// endMove makes a session that has not moved what it was.
func (s *session) endMove(m *move, l *link) {
	l.sock.Unseal(errMoving)
	l.wanted.Store(false)
	l.endInterrupt()
	if l.state.unhold() && !l.park() {
		l.startReader()
	}
	for {
		queued, closed := s.rejoinUnlessQueued(l)
		if closed != nil {
			s.mu.Lock()
			queued = s.takeRedialQueue()
			s.mu.Unlock()
			for _, w := range queued {
				w.fail(s, markNotRun(closed.rerror(), nil))
			}
			break
		}
		if len(queued) == 0 {
			break
		}
		s.sendQueued(l, queued)
	}
	s.move.Store(nil)
	close(m.over)
}

// commitMove is the last moment in which the session may stay: it returns false if it was
// closed, has failed, or is not any more what was saved. A plugin, or another user of the
// Swap, that changes what is saved, and then finds that CloseReason is not ErrHandedOver,
// has been in time.
func (s *session) commitMove(l *link, r *moveRecord) bool {
	s.mu.Lock()
	over := s.state != moving || l.killed.Load() != nil
	if !over {
		s.state = broken // from here on Close has nothing to do
		s.reason = &CloseReason{SideLocal, ErrHandedOver, "handing over"}
	}
	s.mu.Unlock()
	if over {
		return false
	}
	plugins, err := s.savePlugins()
	swap, err2 := s.saveSwap()
	same := err == nil && err2 == nil && slices.EqualFunc(swap, r.Swap, bytes.Equal) &&
		slices.EqualFunc(plugins, r.Plugins, func(a, b moveState) bool { return a.Plugin == b.Plugin && bytes.Equal(a.State, b.State) })
	if !same {
		s.uncommitMove()
	}
	return same
}

// uncommitMove takes commitMove back, and runs what was postponed since.
func (s *session) uncommitMove() {
	s.mu.Lock()
	if !s.committed() {
		s.mu.Unlock()
		return
	}
	m := s.move.Load()
	late := m.late
	s.state, s.reason, m.late = moving, nil, nil
	s.mu.Unlock()
	for _, f := range late {
		f()
	}
}

// finishMove ends a session that the new process has.
func (s *session) finishMove(m *move, l *link) {
	reason := s.CloseReason()
	s.leaving.Store(true)
	l.killed.CompareAndSwap(nil, reason)
	l.shut.Store(true)
	if c, ok := l.conn.(HandOverConn); ok {
		c.Settle(false)
	} else {
		l.conn.Close() // this process's descriptor: the connection lives on
	}
	l.over.Fire()
	l.sock.Stop(reason)
	l.cancelHandlers(reason)
	l.gone.Fire()
	l.sock.Join()
	l.sock.Release()
	s.end()
	s.release()
	close(m.over)
}

// record returns what crosses of the session. The caller holds the reading.
func (s *session) record(l *link) (r *moveRecord, rest []byte, err error) {
	state, err := l.sock.AppendState(nil)
	if err != nil {
		return nil, nil, err
	}
	_, name := l.sock.Proto().Version()
	r = &moveRecord{
		Version: recordVersion, Network: s.env.cfg.Network, Listener: s.env.listenerOf(l),
		Protocol: name, State: state, ID: s.ID(), Epoch: l.epoch, Seq: s.pending.Last(),
		Taken: l.taken, Hello: l.hello.Load(), PeerWindow: l.peerWindow.Load(), Silent: l.silent, ContextAge: s.ContextAge(),
	}
	if p := s.pushing.Load(); p != nil && p.policy.Load() != nil {
		r.PushPolicy = *p.policy.Load()
	}
	if f := l.facts; f != nil {
		r.RealIP = f.RealIP
		if f.Remote != nil {
			r.Remote = &moveAddr{f.Remote.Network(), f.Remote.String()}
		}
	}
	s.mu.Lock()
	r.SessionAge = s.sessionAge
	if s.expireAt != 0 {
		r.AgeLeft = max(time.Duration(s.expireAt-s.env.sweeper.Now()), 1)
	}
	s.mu.Unlock()
	if r.Plugins, err = s.savePlugins(); err != nil {
		return nil, nil, err
	}
	if r.Swap, err = s.saveSwap(); err != nil {
		return nil, nil, err
	}
	return r, l.sock.AppendUnread(nil), nil
}

// saveConn returns the connection whose descriptor crosses, nil for none, and puts the state
// of a HandOverConn behind rest.
func (l *link) saveConn(r *moveRecord, rest []byte) (below net.Conn, all []byte, err error) {
	c, ok := l.conn.(HandOverConn)
	if !ok {
		return l.conn, rest, nil
	}
	var state []byte
	if err := protected("it", func() (err error) { state, below, err = c.Save(); return err }); err != nil {
		return nil, nil, fmt.Errorf("its connection: %w", err)
	}
	r.Conn = &moveConn{State: len(state), Below: below != nil}
	return below, append(rest, state...), nil
}

// savePlugins returns what the plugins know of the session.
func (s *session) savePlugins() (states []moveState, err error) {
	for _, p := range s.env.hooks().connection {
		h, ok := takesPart[HandOverPlugin](p)
		if !ok {
			continue
		}
		var state []byte
		r := guard{log: s.logger}.run(p, func() *Rerror { state, err = h.Save(s); return nil })
		if err = errors.Join(err, r.Err()); err != nil {
			return nil, fmt.Errorf("plugin %s: %w", p.Name(), err)
		}
		states = append(states, moveState{p.Name(), state})
	}
	return states, nil
}

// saveSwap returns what is in the session's Swap, but for what plugins save.
func (s *session) saveSwap() (saved [][]byte, err error) {
	swap := s.swap.Load()
	if swap == nil {
		return nil, nil
	}
	swap.Range(func(key, value any) bool {
		for _, p := range s.env.hooks().connection {
			if o, ok := p.(SwapOwner); ok && o.OwnsSwap(key) {
				return true
			}
		}
		b, ok := []byte(nil), false
		if carry := s.env.cfg.CarrySwap; carry != nil {
			err = protected("it", func() error { b, ok = carry(key, value); return nil })
		}
		if err != nil || !ok {
			err = errors.Join(fmt.Errorf("its Swap has a %T under the key %v, which PeerConfig.CarrySwap does not save", value, key), err)
			return false
		}
		saved = append(saved, b)
		return true
	})
	slices.SortFunc(saved, bytes.Compare) // Range has no order
	return saved, err
}

// moveSessions hands the sessions of the peer to the new process, as far as they can move, and
// returns how many have moved. Sessions in use are tried again, with more patience, until
// ctx ends.
func (p *peer) moveSessions(ctx context.Context, to taker) (moved int, stayed map[string]int) {
	p.awaitPrepared(ctx) // those that were accepted before; no more are
	list := slices.DeleteFunc(p.env.hub.all(), func(s *session) bool { return s.plan != nil })
	stayed = make(map[string]int)
	for hold := firstHold; len(list) > 0; hold = min(2*hold, longestHold) {
		again, final := p.moveAll(ctx, to, list, hold)
		moved += len(list) - len(again) - len(final)
		for _, err := range final {
			stayed[err.Error()]++
		}
		if list = again; len(list) == 0 || !pause(ctx, firstHold) {
			break
		}
	}
	if len(list) > 0 {
		stayed["it was in use all the time"] += len(list)
	}
	return moved, stayed
}

// moveAll tries to move each session of the list once. It returns those to try again, and why others stay.
func (p *peer) moveAll(ctx context.Context, to taker, list []*session, hold time.Duration) (again []*session, final []error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var next atomic.Int64
	for range min(movers, len(list)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(list) {
					return
				}
				s := list[i]
				err := ctx.Err()
				if err == nil {
					err = s.moveTo(ctx, to, hold)
				}
				if err == nil {
					continue
				}
				mu.Lock()
				if errors.Is(err, errBusy) || errors.Is(err, inherit.ErrNotReady) || ctx.Err() != nil {
					again = append(again, s)
				} else {
					final = append(final, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return again, final
}

// movers is how many sessions of a peer are prepared for their move at once. Their offers
// are made one after the other, so each of them is held up for as many offers: few are best,
// and more than one, since a session that is in use keeps its mover waiting.
const movers = 4

const (
	// redialPace is the time between two redials of sessions that have not moved, on average:
	// a TLS handshake takes the new process about a millisecond of a processor.
	redialPace = 500 * time.Microsecond
	// leastSpread is the shortest window over which redials are spread, longestAfter the longest.
	leastSpread = 50 * time.Millisecond
)

// spreadRedials lets the farewells of the peer's sessions say when to come back, spread over
// a window.
func (p *peer) spreadRedials() {
	p.env.comeBack.Store(int64(min(max(time.Duration(p.env.hub.count())*redialPace, leastSpread), longestAfter)))
}
