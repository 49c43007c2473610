package tp

import (
	"errors"
	"fmt"

	"github.com/teleport-go/teleport/core/internal/outbox"
	"github.com/teleport-go/teleport/core/internal/throttle"
	"github.com/teleport-go/teleport/core/socket"
)

// ErrQueueFull is in the error (errors.Is) of a PUSH that was refused, or that has ended its
// session, since PeerConfig.WriteBound bytes wait to be written already: see PushPolicy.
// Nothing of it was sent.
var ErrQueueFull = socket.ErrFull

// pushes returns s.pushing, made if necessary.
func (s *session) pushes() *pushState {
	if p := s.pushing.Load(); p != nil {
		return p
	}
	s.pushing.CompareAndSwap(nil, new(pushState))
	return s.pushing.Load()
}

func (s *session) SetPushPolicy(p PushPolicy) error {
	if err := p.Check(); err != nil {
		return err
	}
	if p == "" {
		p = s.env.cfg.PushPolicy
	}
	s.pushes().policy.Store(&p)
	return nil
}

// policy returns what happens to a PUSH for which there is no room; wait is in place of
// PushWait, unless a setting says that.
func (cmd *callCmd) policy(wait PushPolicy) PushPolicy {
	if p := cmd.out.PushPolicy(); p != "" {
		return p
	}
	if p := cmd.sess.policy(); p != PushWait {
		return p
	}
	return wait
}

// policy returns what happens to PUSHes whose settings do not say it.
func (s *session) policy() PushPolicy {
	if st := s.pushing.Load(); st != nil {
		if p := st.policy.Load(); p != nil {
			return *p
		}
	}
	return s.env.cfg.PushPolicy
}

func (s *session) Queue() (q Queue) {
	s.mu.Lock()
	l := s.link
	q.Messages, q.Bytes = len(s.redialQueue), s.redialBytes
	s.mu.Unlock()
	if l != nil {
		messages, bytes := l.sock.Queued()
		q.Messages += messages
		q.Bytes += bytes
		q.Age = l.sock.OldestQueued()
	}
	if st := s.pushing.Load(); st != nil {
		q.Dropped = st.dropped.Load()
	}
	return q
}

// Queued returns a part of Queue, for plugins that were made before there was that.
func (s *session) Queued() (messages, bytes int) {
	q := s.Queue()
	return q.Messages, q.Bytes
}

// pushNow sends a PUSH with a policy that does not wait.
func (cmd *callCmd) pushNow(p PushPolicy) *Rerror {
	s, m := cmd.sess, &cmd.out
	l, r := s.readyLink()
	if r != nil {
		s.dropped(1)
		return r
	}
	taken, n, err := l.sock.EnqueuePush(m, p)
	if err == nil && !taken {
		cmd.lost = true
		n++
	}
	if n > 0 {
		s.dropped(n)
		s.env.throttled(&s.drops, throttle.Burst, DEBUG, "dropped %d PUSHes to %s, which reads too slowly; the policy of %q is %s", n, l.ip, methodText(m.ServiceMethod()), p)
	}
	if err != nil {
		return cmd.pushRefused(l, p, err)
	}
	cmd.link = l
	l.sock.Flush(socket.NoBlock)
	if taken {
		cmd.written(kindPush)
	}
	return nil
}

// readyLink returns the link, or an error if there is none on which a PUSH could be sent now.
func (s *session) readyLink() (*link, *Rerror) {
	if l := s.cur.Load(); l != nil {
		return l, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == preparing:
		return nil, errPreparing()
	case s.reason != nil:
		return nil, markNotRun(s.reason.rerror(), nil)
	}
	if l := s.cur.Load(); l != nil {
		return l, nil
	}
	return nil, markNotRun(NewRerror(CodeConnClosed, CodeText(CodeConnClosed), "the session has no connection at present, and a PUSH waits for one only with the policy wait"), nil)
}

// pushRefused returns the error of a PUSH that the batch has not accepted.
func (cmd *callCmd) pushRefused(l *link, p PushPolicy, err error) *Rerror {
	switch {
	case err == errMoving:
		cmd.sess.dropped(1)
		return markNotRun(NewRerror(CodeConnClosed, CodeText(CodeConnClosed), err.Error()), nil)
	case !errors.Is(err, socket.ErrFull):
		return l.writeRerror(cmd.out.Context(), err)
	}
	cmd.sess.dropped(1)
	if p == PushDisconnect {
		l.kill(SideLocal, fmt.Errorf("%w: PushPolicy %s: %w", outbox.ErrSlowReader, p, err), "writing")
		return l.killed.Load().rerror()
	}
	return markNotRun(NewRerror(CodeWriteFailed, CodeText(CodeWriteFailed), err.Error()+" (PeerConfig.WriteBound)").WithCause(err), nil)
}

func (s *session) dropped(n int) {
	s.pushes().dropped.Add(uint64(n))
	s.env.stats.unsentPushes.Add(uint64(n))
}
