package tp

import (
	"context"
	"slices"
	"time"

	"github.com/teleport-go/teleport/core/socket"
)

// command returns a command that nobody but the caller will have.
func (s *session) command() *callCmd {
	cmd, ok := s.env.commands.Get().(*callCmd)
	if !ok {
		cmd = new(callCmd)
	}
	cmd.logger, cmd.sess, cmd.pooled = s.logger, s, true
	return cmd
}

func (s *session) Push(serviceMethod string, arg any, setting ...MessageSetting) *Rerror {
	p := s.command()
	r := p.push(serviceMethod, arg, setting)
	s.logPush(p, r)
	p.recycle()
	return r
}

// recycle gives a command that nobody else holds back to where it came from.
func (cmd *callCmd) recycle() {
	e := cmd.sess.env
	cmd.out.Reset()
	if cmd.in.Len() > 0 {
		cmd.in.Reset()
	}
	cmd.logger, cmd.sess, cmd.link, cmd.result, cmd.swap, cmd.rerr = logger{}, nil, nil, nil, nil, nil
	cmd.start, cmd.cost, cmd.seq, cmd.detail, cmd.method, cmd.inCodec, cmd.inSize = time.Time{}, 0, 0, "", "", 0, 0
	cmd.raw, cmd.reply, cmd.memory, cmd.mode, cmd.over, cmd.pooled, cmd.whole = nil, nil, nil, 0, false, false, false
	e.commands.Put(cmd)
}

func (cmd *callCmd) push(serviceMethod string, arg any, setting []MessageSetting) *Rerror {
	s := cmd.sess
	if s.env.cfg.CountTime {
		cmd.start = time.Now()
	}
	m := &cmd.out
	if r := prepareMessage(s, m, TypePush, serviceMethod, arg, setting); r != nil {
		return r
	}
	ctx := m.GivenContext()
	if ctx != nil && ctx.Err() != nil {
		return contextRerror(ctx)
	}
	if s.env.cfg.PrintDetail {
		cmd.detail = bodyText(m)
	}
	hooks := s.env.hooks()
	if len(hooks.preWritePush) > 0 {
		if r := runHooks[PreWritePushPlugin, WriteCtx](s.logger, s.env.cfg.HidePanics, hooks.preWritePush, PreWritePushPlugin.PreWritePush, cmd); r != nil {
			return r
		}
	}
	m.SetSeq(s.pending.Next())
	l := s.cur.Load()
	if l == nil {
		var r *Rerror
		if l, r = s.holdPush(cmd); l == nil {
			return r
		}
	}
	if err := l.sock.Enqueue(ctx, m); err != nil {
		return l.writeRerror(ctx, err)
	}
	cmd.link = l
	s.flush(l, ctx != nil && ctx.Done() != nil, s.pending.Len() > 0)
	if len(hooks.postWritePush) > 0 {
		if r := runHooks[PostWritePushPlugin, WriteCtx](s.logger, s.env.cfg.HidePanics, hooks.postWritePush, PostWritePushPlugin.PostWritePush, cmd); r != nil {
			s.Errorf("PostWritePush of %q: %s", m.ServiceMethod(), r)
		}
	}
	return nil
}

// waiter is a message that waits for a redial, its body already encoded.
// It is a copy: the command goes back to its caller when a context ends.
type waiter struct {
	seq    int32
	msg    socket.Envelope
	body   []byte       // of msg
	result chan *Rerror // of a PUSH; nil: a call, which is in the pending table
	until  int64        // in the sweeper's time; 0: the caller has a deadline of his own
}

// bytes is about the memory that w takes.
func (w *waiter) bytes() int { return 512 + len(w.body) + len(w.msg.ServiceMethod()) }

// fail ends the wait with an error.
func (w *waiter) fail(s *session, r *Rerror) {
	if w.result != nil {
		w.result <- r
		return
	}
	s.failCall(w.seq, r)
}

// holdCall is where a call goes that has found no link: it waits for a redial, or
// is settled. A link is returned if there is one after all.
func (s *session) holdCall(cmd *callCmd) *link {
	l, r := s.hold(&waiter{seq: cmd.seq}, cmd)
	if r != nil {
		s.failCall(cmd.seq, r)
	}
	return l
}

// holdPush waits for a redial. It returns the link to send on now, or how the
// push ended.
func (s *session) holdPush(cmd *callCmd) (*link, *Rerror) {
	w := &waiter{seq: cmd.out.Seq(), result: make(chan *Rerror, 1)}
	l, r := s.hold(w, cmd)
	if l != nil || r != nil {
		return l, r
	}
	ctx := cmd.out.Context()
	select {
	case r = <-w.result:
	case <-ctx.Done():
		if s.forget(func(x *waiter) bool { return x == w }) {
			return nil, contextRerror(ctx)
		}
		r = <-w.result
	}
	return nil, r
}

// hold puts w into the queue of those that wait for a redial. If the session is
// ready it returns the link, and if there is nothing to wait for, the error.
func (s *session) hold(w *waiter, cmd *callCmd) (*link, *Rerror) {
	for encoded := false; ; {
		s.mu.Lock()
		switch {
		case s.state == ready:
			l := s.cur.Load()
			s.mu.Unlock()
			return l, nil
		case s.state == preparing:
			s.mu.Unlock()
			return nil, NewRerror(CodeInvalidOp, CodeText(CodeInvalidOp), "the session is being prepared: only the methods of PreSession work")
		case s.reason != nil || s.state == draining || s.state == closed:
			reason := s.reason
			s.mu.Unlock()
			return nil, reason.rerror()
		case encoded:
			defer s.mu.Unlock()
			if s.waitBytes+w.bytes() > s.env.cfg.WriteBound && len(s.waiting) > 0 {
				return nil, NewRerror(CodeConnClosed, CodeText(CodeConnClosed), "redialing, and too much waits to be sent already")
			}
			s.waitBytes += w.bytes()
			s.waiting = append(s.waiting, w)
			if w.until != 0 {
				s.env.sweeper.Touch(s, w.until)
			}
			return nil, nil
		}
		s.mu.Unlock()
		if r := w.encode(s, cmd); r != nil {
			return nil, r
		}
		encoded = true
	}
}

// encode makes w independent of the command and the caller's argument.
func (w *waiter) encode(s *session, cmd *callCmd) *Rerror {
	m := &w.msg
	m.SetSeq(w.seq)
	m.SetMtype(cmd.out.Mtype())
	m.SetServiceMethod(cmd.out.ServiceMethod())
	cmd.out.Meta().CopyTo(m.Meta())
	m.XferPipe().AppendFrom(cmd.out.XferPipe())
	m.SetBodyCodec(cmd.out.BodyCodec())
	m.SetBody(cmd.out.Body())
	err := safely(func() (err error) { w.body, err = m.Encode(nil); return err })
	if err != nil {
		return NewRerror(CodeWriteFailed, CodeText(CodeWriteFailed), err.Error()).WithCause(err)
	}
	if ctx := cmd.out.GivenContext(); ctx == nil || !hasDeadline(ctx) {
		w.until = s.env.sweeper.Now() + int64(s.env.cfg.RedialWait)
	}
	return nil
}

// forget takes those that match out of the queue; false if there are none.
func (s *session) forget(match func(*waiter) bool) (found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = slices.DeleteFunc(s.waiting, func(w *waiter) bool {
		if !match(w) {
			return false
		}
		found = true
		s.waitBytes -= w.bytes()
		return true
	})
	return found
}

// settled reports whether w is a call that has ended already.
func (s *session) settled(w *waiter) bool { return w.result == nil && !s.pending.Has(w.seq) }

// expireWaiting ends the waits that are over.
func (s *session) expireWaiting(now int64) (next int64) {
	var over []*waiter
	s.mu.Lock()
	keep := s.waiting[:0:0]
	for _, w := range s.waiting {
		if w.until != 0 && w.until <= now {
			over = append(over, w)
			s.waitBytes -= w.bytes()
			continue
		}
		next = earlier(next, w.until)
		keep = append(keep, w)
	}
	if len(over) > 0 {
		s.waiting = keep
	}
	s.mu.Unlock()
	for _, w := range over {
		w.fail(s, NewRerror(CodeConnClosed, CodeText(CodeConnClosed), "redialing took longer than redial_wait"))
	}
	return next
}

// sendWaiting sends what waits, in order of arrival. It returns when the queue is
// empty, with mu held, so that nobody can slip in between.
func (s *session) sendWaiting(l *link) {
	for {
		s.mu.Lock()
		if len(s.waiting) == 0 {
			return
		}
		list := s.waiting
		s.waiting, s.waitBytes = nil, 0
		s.mu.Unlock()
		for _, w := range list {
			s.sendWaiter(l, w)
		}
		l.sock.Flush(0)
	}
}

func (s *session) sendWaiter(l *link, w *waiter) {
	if s.settled(w) {
		return // its context has ended
	}
	err := l.sock.Enqueue(context.Background(), &w.msg)
	switch {
	case err != nil:
		w.fail(s, l.writeRerror(context.Background(), err))
	case w.result != nil:
		w.result <- nil
	}
}
