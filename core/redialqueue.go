package tp

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// This file holds the redial queue: the messages of a session that redials wait in it,
// in order, at most RedialWait or until the end of their contexts.

// bytes estimates the memory of w.
func (w *redialEntry) bytes() int { return 512 + len(w.body) + len(w.msg.ServiceMethod()) }

// fail ends the wait with an error.
func (w *redialEntry) fail(s *session, r *Rerror) {
	if w.result != nil {
		w.result <- r
		return
	}
	s.failCall(w.seq, r)
}

// queueCall takes a call that has found no link: it queues the call for the redial, or
// resolves it with an error. It returns a link if the session has become ready.
func (s *session) queueCall(cmd *callCmd) *link {
	cmd.out.Accept() // from now on it may be sent at any time
	l, r := s.enqueueForRedial(&redialEntry{seq: cmd.seq}, cmd)
	if l != nil {
		cmd.out.Recall()
	}
	if r != nil {
		s.failCall(cmd.seq, r)
	}
	return l
}

// queuePush queues a PUSH and waits for the redial. It returns the link to send on if
// the session has become ready, else the result of the PUSH.
func (s *session) queuePush(cmd *callCmd) (*link, *Rerror) {
	return s.queueEntry(&redialEntry{seq: cmd.out.Seq(), result: make(chan *Rerror, 1)}, cmd)
}

// queueEntry is queuePush for w.
func (s *session) queueEntry(w *redialEntry, cmd *callCmd) (*link, *Rerror) {
	l, r := s.enqueueForRedial(w, cmd)
	if l != nil || r != nil {
		return l, r
	}
	ctx := cmd.out.Context()
	select {
	case r = <-w.result:
	case <-ctx.Done():
		if s.forget(func(x *redialEntry) bool { return x == w }) {
			return nil, contextRerror(ctx)
		}
		r = <-w.result
	}
	return nil, r
}

func errPreparing() *Rerror {
	return NewRerror(CodeInvalidOp, CodeText(CodeInvalidOp), "the session is being prepared: only the methods of PreSession can be called")
}

// enqueueForRedial puts w into the redial queue. If the session is ready it returns
// the link; if it will not redial, or the queue is full, an error.
func (s *session) enqueueForRedial(w *redialEntry, cmd *callCmd) (*link, *Rerror) {
	for encoded := false; ; {
		s.mu.Lock()
		switch {
		case s.state == ready:
			l := s.cur.Load()
			s.mu.Unlock()
			return l, nil
		case s.state == preparing:
			s.mu.Unlock()
			return nil, errPreparing()
		case s.reason != nil || s.state == draining || s.state == closed:
			reason := s.reason
			s.mu.Unlock()
			return nil, markNotRun(reason.rerror(), nil)
		case encoded:
			defer s.mu.Unlock()
			if s.redialBytes+w.bytes() > s.env.cfg.WriteBound && len(s.redialQueue) > 0 {
				return nil, markNotRun(NewRerror(CodeConnClosed, CodeText(CodeConnClosed), "redialing, and too many messages are queued for the new connection"), nil)
			}
			s.redialBytes += w.bytes()
			s.redialQueue = append(s.redialQueue, w)
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
func (w *redialEntry) encode(s *session, cmd *callCmd) *Rerror {
	m := &w.msg
	m.SetSeq(w.seq)
	m.SetMtype(cmd.out.Mtype())
	m.SetServiceMethod(cmd.out.ServiceMethod())
	cmd.out.Meta().CopyTo(m.Meta())
	m.XferPipe().AppendFrom(cmd.out.XferPipe())
	m.SetBodyCodec(cmd.out.BodyCodec())
	m.SetBody(cmd.out.Body())
	err := safely(func() (err error) { w.body, err = cmd.out.AppendBody(nil); return err })
	m.SetEncoded(w.body)
	if err != nil {
		return NewRerror(CodeWriteFailed, CodeText(CodeWriteFailed), err.Error()).WithCause(err)
	}
	if ctx := cmd.out.GivenContext(); ctx == nil || !hasDeadline(ctx) {
		if w.until = cmd.giveUpAt; w.until == 0 {
			w.until = s.env.sweeper.After(s.env.cfg.RedialWait)
		}
	}
	return nil
}

// forget removes the entries that match from the queue, and reports whether there were
// any.
func (s *session) forget(match func(*redialEntry) bool) (found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.redialQueue = slices.DeleteFunc(s.redialQueue, func(w *redialEntry) bool {
		if !match(w) {
			return false
		}
		found = true
		s.redialBytes -= w.bytes()
		return true
	})
	return found
}

// resolved reports whether w is a call that has ended already.
func (s *session) resolved(w *redialEntry) bool { return w.result == nil && !s.pending.Has(w.seq) }

// takeRedialQueue empties the queue and returns its entries. The caller holds s.mu.
func (s *session) takeRedialQueue() []*redialEntry {
	list := s.redialQueue
	s.redialQueue, s.redialBytes = nil, 0
	return list
}

// sendQueued sends entries of the redial queue in their order.
func (s *session) sendQueued(l *link, list []*redialEntry) {
	for _, w := range list {
		if w.waits {
			w.link = l
			w.result <- nil
			continue
		}
		if s.resolved(w) {
			continue // its context has ended
		}
		err := l.sock.Enqueue(context.Background(), &w.msg)
		switch {
		case err != nil:
			r := l.writeRerror(context.Background(), err)
			if r.Code == CodeConnClosed {
				r = markNotRun(r, l)
			}
			w.fail(s, r)
		case w.result != nil:
			w.result <- nil
		}
	}
	l.sock.Flush(0)
}

// maxBackoff is where the pauses between attempts to redial stop growing, unless the
// configured interval is longer. Half as much again is 30 s, the default of RedialWait: a
// call that waits so long sees an attempt.
const maxBackoff = 20 * time.Second

// backoff returns the pause before attempt n, which counts from 0: d is the interval
// doubled n times, but at most maxBackoff, or the interval if that is longer; the pause is
// a random time from d/2 to 3d/2.
func backoff(interval time.Duration, n int32) time.Duration {
	interval = min(interval, math.MaxInt64/2) // so that half as much again is no overflow
	d, top := interval, max(maxBackoff, interval)
	for ; n > 0 && d < top; n-- {
		d *= 2
	}
	d = min(d, top)
	return d/2 + time.Duration(rand.Int64N(int64(d)+1))
}

// pause waits for d. It returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
