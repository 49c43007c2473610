package tp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/teleport-go/teleport/core/socket"
)

// This file holds how sessions and their connections end: Close and Drain, the
// reasons the reader finds, and the clean-up.

// Close is documented at Session.
func (s *session) Close() error { return s.closeFor(errLocalClose) }

// CloseWith is documented at Session.
func (s *session) CloseWith(rerr *Rerror) error {
	if !rerr.HasError() {
		return s.Close()
	}
	rerr = rerr.Copy()
	return s.closeFor(&told{fmt.Errorf("%w: %w", errLocalClose, rerr.Err()), rerr})
}

// closeFor closes the session because of cause.
func (s *session) closeFor(cause error) error {
	switch s.beginClose(&CloseReason{SideLocal, cause, "closing"}, s.env.cfg.CloseTimeout) {
	case ready, draining:
	default:
		return nil // no call is pending that Close could wait for
	}
	select {
	case <-s.quiet.Done():
	case <-s.done.Done():
	}
	return s.cutError()
}

// Drain is documented at Session.
func (s *session) Drain(ctx context.Context) error {
	limit := time.Duration(-1)
	if ctx.Err() != nil {
		limit = 0
	}
	switch s.beginClose(&CloseReason{SideLocal, errLocalClose, "closing"}, limit) {
	case preparing, closed:
		return nil // while preparing, the caller may be a hook of the session, and cannot wait for itself
	}
	select {
	case <-s.done.Done():
		return s.cutError()
	case <-ctx.Done():
	}
	s.shortenDeadline(0)
	t := time.NewTimer(lingerTime) // only a hook that blocks can delay the end now
	defer t.Stop()
	select {
	case <-s.done.Done():
	case <-t.C:
	}
	if err := s.cutError(); err != nil {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return ctx.Err()
}

func (s *session) cutError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var cut []string
	if s.cut > 0 {
		cut = append(cut, fmt.Sprintf("%d calls cut off", s.cut))
	}
	if s.held != nil && s.held.handlers != "" {
		cut = append(cut, "handlers that had not returned: "+s.held.handlers)
	}
	if cut == nil {
		return nil
	}
	return fmt.Errorf("tp: close session %s: %s", s.idText(), strings.Join(cut, "; "))
}

// partner is the address of the other side.
func (s *session) partner() string {
	if s.plan != nil {
		return s.plan.addr
	}
	if l := s.currentLink(); l != nil {
		return l.ip
	}
	return "?"
}

// holdUp changes what is held.
func (s *session) holdUp(change func(*holdUp)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var h holdUp
	if s.held != nil {
		h = *s.held
	}
	if change(&h); h == (holdUp{}) {
		s.held = nil
	} else {
		s.held = &h
	}
}

// holder says what a session that does not come to its end waits for.
func (s *session) holder() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.held != nil && s.held.hook != "":
		return s.held.hook
	case s.state == preparing || s.state == redialing:
		return "the network that connects it"
	case s.state == closed || s.link == nil:
		return "its clean-up"
	case isFired(s.link.over.Done()):
		return "a Write of its closed connection"
	}
	return s.link.state.holder()
}

// beginClose begins to end a session, within limit (negative: no limit yet). If the
// session is draining already, it shortens the limit. It returns the state before.
func (s *session) beginClose(reason *CloseReason, limit time.Duration) state {
	s.mu.Lock()
	was := s.state
	switch was {
	case ready, moving:
		s.startDraining(reason, limit)
		s.mu.Unlock()
		s.env.hub.drop(s)
		return ready
	case preparing, broken, redialing:
		s.postpone(func() { s.beginClose(reason, limit) })
		if s.reason == nil {
			s.reason = reason
		}
		stop, l := s.stopDial, s.prep // nil unless redialing, and while no connection is being prepared
		s.mu.Unlock()
		if stop != nil {
			stop()
		}
		if l != nil {
			l.killFor(reason)
		}
		return was
	}
	s.mu.Unlock()
	if was == draining && limit >= 0 {
		s.shortenDeadline(limit)
	}
	return was
}

// Break is documented at Breaker.
func (s *session) Break(cause error) bool {
	s.mu.Lock()
	l, live := s.link, s.state == ready || s.state == draining || s.state == moving
	postponed := s.postpone(func() { s.Break(cause) })
	s.mu.Unlock()
	if postponed {
		return true
	}
	if cause == nil {
		cause = errGivenUp
	}
	if !live || !l.killed.CompareAndSwap(nil, &CloseReason{SideNetwork, cause, "reading"}) {
		return false
	}
	l.close()
	return true
}

// startDraining begins to drain a session in state ready. The caller holds s.mu.
func (s *session) startDraining(reason *CloseReason, limit time.Duration) {
	s.state, s.reason = draining, reason
	s.idle = make(chan struct{}, 1)
	s.leaving.Store(true)
	s.cur.Store(nil)
	s.closeNotify.Fire()
	ctx, stop := context.WithCancelCause(context.Background())
	s.stopDrain = stop
	if limit >= 0 {
		s.setBound(limit)
	}
	go s.drain(ctx, s.link)
}

// setBound limits the time to drain; the earliest bound holds. The caller holds s.mu,
// and the session is draining.
func (s *session) setBound(limit time.Duration) {
	at := s.env.sweeper.After(limit)
	if s.bound != nil && s.boundAt < at {
		return
	}
	stop := s.stopDrain
	if s.bound != nil {
		s.bound.Stop()
	}
	s.boundAt = at
	if limit <= 0 {
		s.bound = time.NewTimer(0) // it does nothing, but no later bound replaces it
		stop(errCutOff)
		return
	}
	s.bound = time.AfterFunc(limit, func() { stop(errCutOff) })
}

var errCutOff = errors.New("tp: the session did not close in time")

// shortenDeadline cuts off a draining session after limit, unless it ends before.
func (s *session) shortenDeadline(limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == draining {
		s.setBound(limit)
	} else {
		s.postpone(func() { s.shortenDeadline(limit) })
	}
}

// becameIdle notifies a draining session that a call, a batch or a handler may have
// finished.
func (s *session) becameIdle() {
	if !s.leaving.Load() {
		return
	}
	select {
	case s.idle <- struct{}{}:
	default:
	}
}

// until waits until cond is true; becameIdle makes it look again. It returns false if
// ctx ends first.
func (s *session) until(ctx context.Context, cond func() bool) bool {
	for !cond() {
		select {
		case <-s.idle:
		case <-ctx.Done():
			return cond()
		}
	}
	return true
}

// drain waits for pending calls, the batch and handlers, and then closes the
// connection. It runs on a goroutine of its own, started once per session.
func (s *session) drain(ctx context.Context, l *link) {
	defer s.drained.Fire()
	defer s.endBound()
	if m := s.move.Load(); m != nil {
		select { // it sends nothing while another process may get the connection
		case <-m.over:
		case <-ctx.Done(): // a Save hook that closes its session waits for this
		}
	}
	finished := s.until(ctx, func() bool { return s.pending.Len() == 0 })
	if finished {
		l.sock.Flush(socket.NoBlock)
		l.sock.WaitFlushed(ctx)
		s.quiet.Fire()
		finished = s.until(ctx, func() bool { return s.work.running() == 0 && l.sock.Ahead() == 0 })
		l.sock.Flush(socket.NoBlock)
		l.sock.WaitFlushed(ctx)
	} else {
		defer s.quiet.Fire()
	}
	reason := s.CloseReason()
	if !finished || ctx.Err() != nil {
		parted, said := l.sayByeSoon(reason)
		calls := s.takeCutOff() // before Stop: callers who wait for room take theirs away
		l.sock.Stop(reason)     // before the rest, as in settleLink; and no cancelled handler's reply goes out by chance
		handlers := l.handlerNames()
		s.holdUp(func(h *holdUp) { h.handlers = handlers })
		l.cancelHandlers(reason)
		s.fail(calls, l, reason)
		if said && reason.told() {
			s.quiet.Fire()
			l.linger(context.Background(), parted) // else what the peer sends meanwhile resets the connection
		}
		l.close()
		return
	}
	if reason.Side != SideRemote && !l.sock.CarriesControl() {
		l.awaitQuiet(ctx)
	}
	if reason.told() { // the peer shall read it, also if the session is cut off meanwhile
		c, cancel := context.WithTimeout(context.Background(), lingerTime)
		defer cancel()
		ctx = c
	}
	parted := l.sayBye(reason, true)
	l.sock.WaitFlushed(ctx)
	// A write to a peer that has got the farewell and closed would reset the connection,
	// and the peer could lose what it has not read yet.
	l.sock.Stop(reason)
	if isFired(l.over.Done()) { // the peer sends nothing any more
		l.close()
		return
	}
	l.linger(ctx, parted)
	l.close()
}

// endBound releases the timer and the context that bound draining.
func (s *session) endBound() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound != nil {
		s.bound.Stop()
	}
	s.stopDrain(nil)
}

// cutOff is failPending that also counts the calls, for the error of Close and Drain.
func (s *session) cutOff(l *link, reason *CloseReason) { s.fail(s.takeCutOff(), l, reason) }

// takeCutOff takes all pending calls and counts them as cut off.
func (s *session) takeCutOff() []*callCmd {
	s.mu.Lock() // a goroutine that finds no pending call must see them counted
	defer s.mu.Unlock()
	calls := s.pending.Drain()
	s.cut += int32(len(calls))
	return calls
}

// failPending ends all pending calls with the reason for which l has ended.
func (s *session) failPending(l *link, reason *CloseReason) { s.fail(s.pending.Drain(), l, reason) }

func (s *session) fail(calls []*callCmd, l *link, reason *CloseReason) {
	if len(calls) > 0 {
		r := reason.rerror().WithCause(&linkEnd{reason, l})
		for _, cmd := range calls {
			cmd.resolve(r.Copy())
		}
		s.forget(s.resolved)
	}
	s.becameIdle()
}

// endLink cleans up after a connection that is not read any more. It reports whether
// to redial.
func (s *session) endLink(l *link, reason *CloseReason) (again bool) {
	s.mu.Lock()
	clean := reason.Side == SideRemote
	fail := s.failPending
	switch {
	case s.state == draining:
		s.mu.Unlock()
		fail = s.cutOff
	case clean && !s.redialable():
		s.startDraining(reason, s.env.cfg.CloseTimeout)
		s.mu.Unlock()
		s.env.hub.drop(s)
	default:
		s.state = broken
		s.cur.Store(nil)
		again = s.redialable() && s.reason == nil && !l.bye.Load().endsRedial()
		if !again {
			s.leaving.Store(true)
			if s.reason == nil {
				s.reason = reason
			}
			s.closeNotify.Fire()
			s.mu.Unlock()
			s.env.hub.drop(s)
		} else {
			s.mu.Unlock()
		}
		// A connection that was not closed because of reason has received what cannot be read.
		said := reason.Side == SideLocal && l.killed.Load() == nil && l.partBroken(reason)
		unsent := l.sock.Stop(reason) // first: callers blocked on room get reason, not the error of a closed connection
		if !said {
			l.close()
		}
		l.cancelHandlers(reason)
		s.failPending(l, reason)
		l.gone.Fire()
		s.logEnd(l, reason, unsent)
		if said {
			l.hangUp(oversizeLimit)
			l.close()
		}
		l.sock.Join()
		l.sock.Release()
		return again
	}
	// Draining: no reply can arrive any more, but handlers may still send theirs.
	fail(l, reason)
	l.gone.Fire()
	if clean {
		l.abandonCalls()
		s.shortenDeadline(s.env.cfg.CloseTimeout) // so that a Drain without limit ends
	} else {
		s.shortenDeadline(0)
	}
	<-s.drained.Done()
	unsent := l.sock.Stop(reason)
	l.cancelHandlers(reason)
	l.sock.Join()
	l.sock.Release()
	s.logEnd(l, s.CloseReason(), unsent)
	return false
}

func (s *session) logEnd(l *link, reason *CloseReason, unsent int) {
	level := DEBUG
	if reason.Side == SideNetwork && !l.silent || unsent > 0 {
		level = INFO
	}
	if !s.enabled(level) {
		return // thousands may end at once
	}
	side := string(reason.Side) + ": "
	if reason.Side == SideNetwork {
		side = "" // the text begins with it
	}
	s.log(level, 0, "connection over (network:%s, addr:%s, id:%s): %s%s; %d messages not sent",
		s.env.cfg.Network, l.ip, s.idText(), side, brief(reason.Error()), unsent)
}

// setReason is the session's reason to end, unless it has one.
func (s *session) setReason(reason *CloseReason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason == nil {
		s.reason = reason
	}
}

// redialable reports whether the session dials again when its connection is lost.
func (s *session) redialable() bool {
	return s.plan != nil && s.env.cfg.RedialTimes != 0
}

// end ends a session that was ready: it fails what is pending, runs the hooks and
// closes done.
func (s *session) end() {
	s.leaving.Store(true)
	s.mu.Lock()
	if s.reason == nil {
		s.reason = &CloseReason{SideLocal, errLocalClose, "closing"}
	}
	reason := s.reason
	s.state = closed
	queued := s.takeRedialQueue()
	s.closeNotify.Fire()
	l := s.link
	s.mu.Unlock()
	s.env.hub.drop(s)
	for _, w := range queued {
		w.fail(s, markNotRun(reason.rerror(), nil))
	}
	s.failPending(l, reason)
	s.env.sweeper.Remove(s)
	s.postDisconnect(l)
	s.done.Fire()
}

// postDisconnect runs the PostDisconnect hooks of the plugins that had accepted the
// connection, the last first.
func (s *session) postDisconnect(l *link) {
	for i := len(l.passed) - 1; i >= 0; i-- {
		p, ok := l.passed[i].(PostDisconnectPlugin)
		if !ok {
			continue
		}
		if r, _ := s.connHook("PostDisconnect", p, func() *Rerror { return p.PostDisconnect(s) }); r.HasError() {
			s.Errorf("[PostDisconnectPlugin:%s] %s", p.Name(), r)
		}
	}
}

// closeIfEnded begins to close the session if its protocol says that no message can
// follow.
func (l *link) closeIfEnded() {
	if l.sock.Ended() {
		l.sess.beginClose(&CloseReason{SideLocal, errEnded, "closing"}, l.sess.env.cfg.CloseTimeout)
	}
}

var errEnded = errors.New("the protocol has finished")
