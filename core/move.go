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

// This file holds the old process's side of a Reboot that keeps connections: it hands an
// accepted session to the new process, with its connection. adopt.go is the other side,
// moverecord.go is what crosses, internal/inherit starts the process and has the Line over
// which the two speak. The road of a session, in the names of the functions:
//
//	old process                                           new process
//
//	grace.reboot → replace → inherit.HandOver ─ starts ─► takeover.adopt: opens the listening sockets
//	                                        ◄─ is ready ─ takeover.notify, when its peers listen
//	grace.moveSessions: Child.Pause, only the new         peer.bind → adoptInherited → Line.Adopt
//	    process accepts connections now
//	peer.moveSessions → moveAll → session.moveTo, for each
//	  0 movable: whether it can move at all
//	tryMove
//	  1 beginMove: what this side sends waits, as for a
//	    redial; requests of the peer are handled still
//	  2 quiesce: until nothing runs, and all is written;
//	    link.seize takes the reading
//	  3 record, saveConn
//	  4 Line.Offer ─ record, unread bytes, descriptor ──► Line.receive → grace.adopt → adoption.prepare:
//	                                                      all that can fail; it does not touch the connection
//	                                      ◄─ yes or no ── Line.settled or Line.refuse
//	  5 commitMove: until now the session may stay
//	               ─ go or drop ────────────────────────► Line.settled → adoption.settle
//	  6 finishMove: it ends with ErrHandedOver, and         go: session.begin, it is read from now on
//	    this process's descriptor is closed                 drop: the descriptor is closed
//	grace.reboot → spreadRedials → finish: sessions that have stayed drain, and dial again
//
// The connection is the old process's until it has said go, and the new one's from then on: a
// session moves whole, or endMove makes it what it was. What can fail:
//
//	0  it can never move                      it stays, for this reason (logStayed)
//	2  it is in use for longer than hold      it stays, and is tried again with twice the
//	                                          patience, for half of the time of the Reboot
//	3  the protocol, a plugin or the Swap     it stays, for this reason
//	   cannot be saved
//	3  HandOverConn.Save returns an error     as 2; as 0 if that is errors.ErrUnsupported
//	4  the new process says no                it stays, for the reason that came with it
//	4  the new process ends, or does not      the Line ends: it stays, and all that are left. If
//	   answer within inherit's answerTime     the process has ended, those that it had are lost,
//	                                          Child.Recover lets the listeners accept again, and
//	                                          the Reboot has failed
//	5  the session was closed or has failed,  drop; it is tried again if it is ready then
//	   or what it saves has changed
//	5  Close or Break come behind commitMove  session.postpone; uncommitMove runs them if the
//	                                          session stays after all
//	6  the old process ends before go         drop: it has ended with the old process
//	6  session.begin fails, since the new     it ends, and the new process logs why
//	   peer was closed, for example
//
// A connection that the new process has accepted, and that belongs to a session which has
// stayed, crosses back over another Line: peer.handBack → Line.Offer → backTaker.adopt
// (handover.go).

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
		switch from, ok := l.state.seize(); {
		case ok:
			if from == parked {
				l.deregister()
			}
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
