package tp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/teleport-go/teleport/core/socket"
)

// How sessions and their connections end: Close and Drain, what the reader finds,
// and the clean-up, each in one place.

// Close is documented at Session.
func (s *session) Close() error {
	switch s.beginClose(&CloseReason{SideLocal, errLocalClose, "closing"}, s.env.cfg.CloseTimeout) {
	case ready, draining:
	default:
		return nil // nothing is under way that could be waited for
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
		return nil // of a session in preparation a hook may be the caller, who cannot wait for itself
	}
	select {
	case <-s.done.Done():
		return s.cutError()
	case <-ctx.Done():
	}
	s.shortenDeadline(0)
	t := time.NewTimer(lingerTime) // only a hook that hangs can hold up the end now
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
	if s.cut == 0 {
		return nil
	}
	return fmt.Errorf("tp: close session %s: %d calls cut off", s.idText(), s.cut)
}

// beginClose begins the end of a session that is well, within limit (negative: no
// limit yet), or shortens the limit of one that is leaving already. It returns
// the state it found.
func (s *session) beginClose(reason *CloseReason, limit time.Duration) state {
	s.mu.Lock()
	was := s.state
	switch was {
	case preparing:
		if s.reason == nil {
			s.reason = reason
		}
		l := s.prep
		s.mu.Unlock()
		if l != nil {
			l.kill(reason.Side, reason.Cause, reason.Act)
		}
		return was
	case ready:
		s.startDraining(reason, limit)
		s.mu.Unlock()
		s.env.hub.drop(s)
		return was
	case broken, redialing:
		if s.reason == nil {
			s.reason = reason
		}
		stop, l := s.stopDial, s.prep
		s.mu.Unlock()
		if stop != nil {
			stop()
		}
		if l != nil {
			l.kill(reason.Side, reason.Cause, reason.Act)
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
	l, live := s.link, s.state == ready || s.state == draining
	s.mu.Unlock()
	if cause == nil {
		cause = errGivenUp
	}
	if !live || !l.killed.CompareAndSwap(nil, &CloseReason{SideNetwork, cause, "reading"}) {
		return false
	}
	l.close()
	return true
}

// startDraining is called under mu in state ready.
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

// setBound is called under mu, while draining: the earliest bound rules.
func (s *session) setBound(limit time.Duration) {
	at := time.Now().Add(limit)
	if s.bound != nil && s.boundAt.Before(at) {
		return
	}
	stop := s.stopDrain
	if s.bound != nil {
		s.bound.Stop()
	}
	s.boundAt = at
	if limit <= 0 {
		s.bound = time.NewTimer(0)
		stop(errCutOff)
		return
	}
	s.bound = time.AfterFunc(limit, func() { stop(errCutOff) })
}

var errCutOff = errors.New("tp: time to close is over")

func (s *session) shortenDeadline(limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == draining {
		s.setBound(limit)
	}
}

// becameIdle tells a leaving session that something was finished.
func (s *session) becameIdle() {
	if !s.leaving.Load() {
		return
	}
	select {
	case s.idle <- struct{}{}:
	default:
	}
}

// until waits for cond, which changes with becameIdle; false if ctx ends first.
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

// lingerTime is how long a closing side waits for the peer to hang up as well, so
// that what the peer still sends does not reset the connection under the last
// replies.
const lingerTime = time.Second

// drain waits for what is under way: pending calls, the batch, handlers; then it
// closes the connection. It is the session's own goroutine, started once.
func (s *session) drain(ctx context.Context, l *link) {
	defer s.drained.Fire()
	defer s.endBound()
	finished := s.until(ctx, func() bool { return s.pending.Len() == 0 })
	if finished {
		l.sock.Flush(socket.NoBlock)
		l.sock.WaitFlushed(ctx)
		s.quiet.Fire()
		finished = s.until(ctx, func() bool { return s.running.Load() == 0 })
		l.sock.Flush(socket.NoBlock)
		l.sock.WaitFlushed(ctx)
	} else {
		defer s.quiet.Fire()
	}
	reason := s.CloseReason()
	if !finished || ctx.Err() != nil {
		calls := s.takeCutOff() // before Stop: callers who wait for room take theirs away
		l.sock.Stop(reason)     // before the rest, as in settleLink; and no cancelled handler's reply goes out by chance
		l.cancelHandlers(reason)
		s.fail(calls, reason)
		l.close()
		return
	}
	if c, ok := l.conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		t := time.NewTimer(lingerTime)
		defer t.Stop()
		select {
		case <-l.over.Done():
		case <-ctx.Done():
		case <-t.C:
		}
	}
	l.close()
}

// endBound lets go of what bounds draining.
func (s *session) endBound() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound != nil {
		s.bound.Stop()
	}
	s.stopDrain(nil)
}

// cutOff is failPending for calls that somebody waits for in Close or Drain.
func (s *session) cutOff(reason *CloseReason) { s.fail(s.takeCutOff(), reason) }

// takeCutOff takes and counts the calls that cutOff ends.
func (s *session) takeCutOff() []*callCmd {
	s.mu.Lock() // who sees that none is pending any more finds the number here
	defer s.mu.Unlock()
	calls := s.pending.Drain()
	s.cut += len(calls)
	return calls
}

// failPending ends all pending calls with the reason.
func (s *session) failPending(reason *CloseReason) { s.fail(s.pending.Drain(), reason) }

func (s *session) fail(calls []*callCmd, reason *CloseReason) {
	for _, cmd := range calls {
		cmd.resolve(reason.rerror())
	}
	if len(calls) > 0 {
		s.forget(s.resolved)
	}
	s.becameIdle()
}

// settleLink cleans up after a connection that is not read any more. It reports
// whether to redial.
func (s *session) settleLink(l *link, reason *CloseReason) (again bool) {
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
		again = s.redialable() && s.reason == nil
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
		lost := l.sock.Stop(reason) // first: who waits for room is to get the reason, not that the connection was closed
		l.close()
		l.cancelHandlers(reason)
		s.failPending(reason)
		l.gone.Fire()
		s.logEnd(l, reason, lost)
		l.sock.Join()
		l.sock.Release()
		return again
	}
	// Draining: replies cannot come any more, but those of handlers may go out.
	fail(reason)
	l.gone.Fire()
	if clean {
		s.shortenDeadline(s.env.cfg.CloseTimeout) // a Drain without limit does not wait for ever
	} else {
		s.shortenDeadline(0)
	}
	<-s.drained.Done()
	lost := l.sock.Stop(reason)
	l.cancelHandlers(reason)
	l.sock.Join()
	l.sock.Release()
	s.logEnd(l, s.CloseReason(), lost)
	return false
}

func (s *session) logEnd(l *link, reason *CloseReason, lost int) {
	level := DEBUG
	if reason.Side == SideNetwork || lost > 0 {
		level = INFO
	}
	s.log(level, 0, "connection over (network:%s, addr:%s, id:%s): %s: %s; %d messages not sent",
		s.env.cfg.Network, l.ip, s.idText(), reason.Side, brief(reason.Error()), lost)
}

// redialable is asked under mu.
func (s *session) redialable() bool {
	return s.plan != nil && s.env.cfg.RedialTimes != 0
}

// finish is the end of a session that was ready once.
func (s *session) finish() {
	s.leaving.Store(true)
	s.mu.Lock()
	if s.reason == nil {
		s.reason = &CloseReason{SideLocal, errLocalClose, "closing"}
	}
	reason := s.reason
	s.state = closed
	waiting := s.takeRedialQueue()
	s.closeNotify.Fire()
	l := s.link
	s.mu.Unlock()
	s.env.hub.drop(s)
	for _, w := range waiting {
		w.fail(s, reason.rerror())
	}
	s.failPending(reason)
	s.env.sweeper.Remove(s)
	s.postDisconnect(l)
	s.done.Fire()
}

// postDisconnect runs the hook of the plugins that had accepted, the last first.
func (s *session) postDisconnect(l *link) {
	for i := len(l.passed) - 1; i >= 0; i-- {
		p, ok := l.passed[i].(PostDisconnectPlugin)
		if !ok {
			continue
		}
		if r := (guard{log: s.logger}).run(p, func() *Rerror { return p.PostDisconnect(s) }); r.HasError() {
			s.Errorf("[PostDisconnectPlugin:%s] %s", p.Name(), r)
		}
	}
}

// readReason says why reading has ended with err, with the protocol's hint if the peer
// has closed the connection on the first frame. With bytes unread that is no EOF but
// a reset. A later connection of a session needs no hint: its peer is restarting.
func readReason(l *link, err error) *CloseReason {
	r := endReason(l, err)
	var errno syscall.Errno
	if r.Side == SideRemote || r.Side == SideNetwork && errors.As(r.Cause, &errno) && !errno.Timeout() {
		if hint := l.sock.Hint(); hint != "" && l.epoch == 1 {
			return &CloseReason{r.Side, fmt.Errorf("%w: %s", r.Cause, hint), r.Act}
		}
	}
	return r
}

func endReason(l *link, err error) *CloseReason {
	if r := l.killed.Load(); r != nil {
		return r // somebody closed the connection on purpose, and said why
	}
	if err == io.EOF {
		return &CloseReason{SideRemote, errRemoteClose, "reading"}
	}
	var bad *frameError
	if errors.As(err, &bad) {
		return &CloseReason{SideLocal, bad.err, "reading a frame"}
	}
	return &CloseReason{SideNetwork, err, "reading"}
}

// readError tells a network that failed from a frame that cannot be read.
func readError(err error) error {
	if err == io.EOF {
		return err // the protocol says that this is a clean end
	}
	var netErr net.Error
	var errno syscall.Errno
	if errors.As(err, &netErr) || errors.As(err, &errno) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return &frameError{err}
}

// closeIfEnded begins the end of the session when its protocol asks for that.
func (l *link) closeIfEnded() {
	if l.sock.Ended() {
		l.sess.beginClose(&CloseReason{SideLocal, errEnded, "closing"}, l.sess.env.cfg.CloseTimeout)
	}
}

var errEnded = errors.New("the protocol has finished")
