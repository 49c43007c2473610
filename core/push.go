package tp

import (
	"context"
	"sync"
	"time"
)

// pushes are the commands of PUSHes: nobody keeps them.
var pushes = sync.Pool{New: func() any { return new(callCmd) }}

func (s *session) Push(serviceMethod string, arg any, setting ...MessageSetting) *Rerror {
	p := pushes.Get().(*callCmd)
	p.logger, p.sess = s.logger, s
	r := p.push(serviceMethod, arg, setting)
	s.logPush(p, r)
	p.recycle()
	return r
}

// recycle gives a command that nobody else holds back to where it came from.
func (cmd *callCmd) recycle() {
	if cmd.queued {
		return
	}
	cmd.out.Reset()
	if cmd.in.Len() > 0 {
		cmd.in.Reset()
	}
	cmd.logger, cmd.sess, cmd.link, cmd.result, cmd.swap, cmd.rerr = logger{}, nil, nil, nil, nil, nil
	cmd.start, cmd.cost, cmd.seq, cmd.detail, cmd.inCodec, cmd.inSize = time.Time{}, 0, 0, "", 0, 0
	cmd.raw, cmd.reply, cmd.done = nil, nil, nil
	cmd.finished.Store(false)
	pushes.Put(cmd)
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
		return writeRerror(ctx, err)
	}
	cmd.link = l
	s.flush(l, ctx, s.pending.Len() > 0)
	if len(hooks.postWritePush) > 0 {
		if r := runHooks[PostWritePushPlugin, WriteCtx](s.logger, s.env.cfg.HidePanics, hooks.postWritePush, PostWritePushPlugin.PostWritePush, cmd); r != nil {
			s.Errorf("PostWritePush of %q: %s", m.ServiceMethod(), r)
		}
	}
	return nil
}

// waiter is a message that waits for a redial, its body already encoded.
type waiter struct {
	cmd    *callCmd
	result chan *Rerror // of a PUSH
	until  int64        // in the sweeper's time; 0: the caller has a deadline of his own
	bytes  int
}

// fail ends the wait with an error.
func (w *waiter) fail(s *session, r *Rerror) {
	if w.result != nil {
		w.result <- r
		return
	}
	if _, ok := s.pending.Take(w.cmd.seq); ok {
		w.cmd.settle(r)
	}
}

// holdCall is where a call goes that has found no link: it waits for a redial, or
// is settled. A link is returned if there is one after all.
func (s *session) holdCall(cmd *callCmd) *link {
	l, r := s.hold(&waiter{cmd: cmd})
	if r != nil {
		if _, ok := s.pending.Take(cmd.seq); ok {
			cmd.settle(r)
		}
	}
	return l
}

// holdPush waits for a redial. It returns the link to send on now, or how the
// push ended.
func (s *session) holdPush(cmd *callCmd) (*link, *Rerror) {
	w := &waiter{cmd: cmd, result: make(chan *Rerror, 1)}
	l, r := s.hold(w)
	if l != nil || r != nil {
		return l, r
	}
	ctx := cmd.out.Context()
	select {
	case r = <-w.result:
	case <-ctx.Done():
		if s.withdraw(w) {
			return nil, contextRerror(ctx)
		}
		r = <-w.result
	}
	return nil, r
}

// hold puts w into the queue of those that wait for a redial. If the session is
// ready it returns the link, and if there is nothing to wait for, the error.
func (s *session) hold(w *waiter) (*link, *Rerror) {
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
			if s.waitBytes+w.bytes > s.env.cfg.WriteBound && len(s.waiting) > 0 {
				return nil, NewRerror(CodeConnClosed, CodeText(CodeConnClosed), "redialing, and too much waits to be sent already")
			}
			s.waitBytes += w.bytes
			s.waiting = append(s.waiting, w)
			if w.until != 0 {
				s.env.sweeper.Touch(s, w.until)
			}
			return nil, nil
		}
		s.mu.Unlock()
		if r := w.encode(s); r != nil {
			return nil, r
		}
		encoded = true
	}
}

// encode makes w independent of the caller's argument.
func (w *waiter) encode(s *session) *Rerror {
	w.cmd.queued = true
	m := &w.cmd.out
	var body []byte
	err := safely(func() (err error) { body, err = m.Encode(nil); return err })
	if err != nil {
		return NewRerror(CodeWriteFailed, CodeText(CodeWriteFailed), err.Error()).WithCause(err)
	}
	w.bytes = 512 + len(body)
	if ctx := m.GivenContext(); ctx == nil || !hasDeadline(ctx) {
		w.until = s.env.sweeper.Now() + int64(s.env.cfg.RedialWait)
	}
	return nil
}

// withdraw takes w out of the queue; false if it is not there any more.
func (s *session) withdraw(w *waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, x := range s.waiting {
		if x == w {
			s.waiting = append(s.waiting[:i:i], s.waiting[i+1:]...)
			s.waitBytes -= w.bytes
			return true
		}
	}
	return false
}

// expireWaiting ends the waits that are over.
func (s *session) expireWaiting(now int64) (next int64) {
	var over []*waiter
	s.mu.Lock()
	keep := s.waiting[:0:0]
	for _, w := range s.waiting {
		if w.until != 0 && w.until <= now {
			over = append(over, w)
			s.waitBytes -= w.bytes
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
	if w.result == nil && w.cmd.over() {
		return // its context has ended
	}
	w.cmd.link = l
	err := l.sock.Enqueue(context.Background(), &w.cmd.out)
	switch {
	case err != nil:
		w.fail(s, writeRerror(nil, err))
	case w.result != nil:
		w.result <- nil
	}
}

// over reports whether the call was settled already.
func (cmd *callCmd) over() bool { return cmd.finished.Load() }
