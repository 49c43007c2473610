package tp

import (
	"context"
	"time"

	"github.com/teleport-go/teleport/core/socket"
)

// This file holds the way of a call from its caller to the batch of its connection.

// launch gives the call a sequence number, unless it holds one, and sends it. Every
// error resolves it.
//
// With thousands of callers each line of a stack that is touched is fetched from memory:
// what launch calls while the message is sent has small frames, and what is rare is done in
// functions of its own.
func (s *session) launch(cmd *callCmd) {
	if l, busy := s.addCall(cmd); l != nil {
		s.sendCall(l, cmd, busy)
	}
}

// addCall is launch before the call is sent. l is what to send it on, nil if the call is
// resolved or queued. busy says that other calls are pending.
func (s *session) addCall(cmd *callCmd) (l *link, busy bool) {
	ctx := cmd.out.GivenContext()
	if d := s.env.live.Load().DefaultCallTimeout; d > 0 && cmd.deadline == 0 && cmd.stream == nil && (ctx == nil || !hasDeadline(ctx)) {
		cmd.deadline = s.env.sweeper.After(d)
	}
	deadline := cmd.deadline
	if s.leaving.Load() { // checked before adding: calls in the table get the connection's reason
		if reason := s.CloseReason(); reason != nil {
			if cmd.seq != 0 {
				s.pending.Release(cmd.seq)
			}
			cmd.resolve(markNotRun(reason.rerror(), nil))
			return nil, false
		}
	}
	cmd.method = cmd.out.ServiceMethod()
	seq, calls, err := cmd.seq, 0, error(nil)
	if seq == 0 {
		seq, calls, err = s.pending.AddCounting(cmd, deadline)
	} else {
		calls, err = s.pending.AddHeld(seq, cmd, deadline)
	}
	if err != nil {
		cmd.resolve(pendingRerror(err))
		return nil, false
	}
	// From here on another goroutine may resolve the call. The memory of a pooled
	// command is still ours, since only we wait for it.
	cmd.seq = seq
	cmd.out.SetSeq(seq)
	if deadline != 0 {
		s.env.sweeper.Touch(s, deadline)
	}
	if cmd.wake == nil && ctx != nil && ctx.Done() != nil {
		cmd.watch(ctx)
	}
	// A broken connection clears cur before the table is drained. So if cur holds a
	// link after the call was added, either the link lives or the drain finds the call.
	l = s.cur.Load()
	if cmd.stream != nil {
		if r := cmd.stream.attach(l, cmd); r != nil {
			s.failCall(seq, r)
			return nil, false
		}
	}
	if l == nil {
		l = s.queueCall(cmd)
	}
	return l, calls > 1
}

// sendCall enqueues a call that has its sequence number. busy says that other calls
// are pending.
func (s *session) sendCall(l *link, cmd *callCmd, busy bool) {
	cmd.link = l
	ctx := cmd.out.GivenContext()
	bounded := cmd.deadline != 0 || ctx != nil && ctx.Done() != nil // the caller may give up
	if bounded {
		l.sayHello()
	}
	if cmd.deadline != 0 && s.mayWait(l) {
		if !s.enqueueUntil(l, cmd) {
			return
		}
	} else if err := l.sock.Enqueue(ctx, &cmd.out); err != nil {
		s.notSent(l, cmd, ctx, err)
		return
	}
	if !busy || !l.sock.Corked() {
		s.flush(l, bounded, busy)
	}
	l.ensureReader()
	if cmd.repeats == 0 && !cmd.auth {
		cmd.written(kindCall)
	}
}

// mayWait reports whether a call may have to wait for room in the batch.
func (s *session) mayWait(l *link) bool {
	_, queued := l.sock.Queued()
	return queued > s.env.cfg.WriteBound/2
}

// enqueueUntil enqueues a call that waits for room until its deadline. If it returns false
// the call has failed.
func (s *session) enqueueUntil(l *link, cmd *callCmd) bool {
	ctx, cancel := context.WithTimeout(cmd.out.Context(), time.Duration(cmd.deadline-s.env.sweeper.Now()))
	defer cancel()
	if err := l.sock.Enqueue(ctx, &cmd.out); err != nil {
		s.notSent(l, cmd, ctx, err)
		return false
	}
	return true
}

// notSent fails a call with an error of Enqueue, which was given ctx.
func (s *session) notSent(l *link, cmd *callCmd, ctx context.Context, err error) {
	r := l.writeRerror(ctx, err)
	if r.Code == CodeConnClosed { // nothing of it was sent
		if s.redialable() && !isCloseReason(err) {
			l.kill(SideNetwork, err, "writing") // so that the reader notices the break
			l.ensureReader()
		}
		r = markNotRun(r, l)
	}
	s.failCall(cmd.seq, r)
}

// flush writes what was enqueued. bounded says that the caller's wait can end before
// the call does: then flush must not block on the network. busy says that other calls
// are pending.
func (s *session) flush(l *link, bounded, busy bool) {
	var mode socket.FlushMode
	if busy {
		mode |= socket.Yield
	}
	if bounded {
		mode |= socket.NoBlock
	}
	l.sock.Flush(mode)
}
