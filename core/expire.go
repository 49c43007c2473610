package tp

import (
	"context"

	"github.com/teleport-go/teleport/core/socket"
)

// This file holds what the sweeper does with a session when one of its deadlines has
// passed.

// Expire ends what has passed its deadline at now: pending calls, handlers, queued
// calls, the session itself. It returns the next deadline, 0 for none. The sweeper
// calls it; it does not block.
func (s *session) Expire(now int64) (next int64) {
	expired := false
	next = s.pending.Expire(now, func(seq int32, cmd *callCmd) {
		expired = true
		cmd.resolve(timeoutRerror())
		s.sayCancel(seq)
	})
	if expired {
		s.forget(s.resolved)
	}
	next = earlier(next, s.expireRedialQueue(now))
	s.mu.Lock()
	l, age := s.link, s.expireAt
	over := age != 0 && age <= now
	if over {
		s.expireAt = 0
	}
	s.mu.Unlock()
	if l != nil {
		next = earlier(next, l.expireHandlers(now))
		next = earlier(next, l.interruptIdle(now))
	}
	if over {
		s.beginClose(&CloseReason{SideLocal, errSessionAge, "closing"}, s.env.cfg.CloseTimeout)
	} else {
		next = earlier(next, age)
	}
	if longest := int64(s.env.cfg.IdleTimeout); longest > 0 && l != nil {
		if s.isIdle(now - l.quietSince(now)) {
			s.beginClose(&CloseReason{SideLocal, errIdle, "closing"}, s.env.cfg.CloseTimeout)
		}
		next = earlier(next, now+longest/4)
	}
	s.becameIdle()
	return next
}

// expireHandlers replies 408 for the handlers that have run longer than the context
// age, and ends their contexts. The sweeper calls it.
func (l *link) expireHandlers(now int64) (next int64) {
	type late struct {
		seq  int32
		pipe []byte
	}
	var lates []late
	l.mu.Lock()
	for c := l.calls.first; c != nil; c = c.next {
		if c.ageAt == 0 {
			continue
		}
		if c.ageAt > now {
			next = earlier(next, c.ageAt)
			continue
		}
		c.ageAt = 0
		if c.cancel != nil {
			c.cancel(context.DeadlineExceeded)
		}
		if c.answeredBy.CompareAndSwap(answerOpen, answerSweep) {
			lates = append(lates, late{c.seq, append([]byte(nil), c.agePipe...)})
		}
	}
	l.mu.Unlock()
	for _, x := range lates {
		if x.seq != 0 {
			l.answerLate(x.seq, x.pipe)
		}
	}
	return next
}

func (l *link) answerLate(seq int32, pipe []byte) {
	var m socket.Envelope
	m.SetMtype(TypeReply)
	m.SetSeq(seq)
	m.XferPipe().Append(pipe...)
	m.SetRerror(NewRerror(CodeHandleTimeout, CodeText(CodeHandleTimeout), "the handler's context age is over"))
	err := l.sock.EnqueueNow(&m)
	if isPackError(err) { // a filter has failed: reply without filters
		m.XferPipe().Reset()
		err = l.sock.EnqueueNow(&m)
	}
	if err != nil {
		l.kill(SideNetwork, err, "writing")
		return
	}
	l.sock.Flush(socket.NoBlock)
	l.closeIfEnded()
}

// expireRedialQueue fails the queued calls whose time to wait has passed.
func (s *session) expireRedialQueue(now int64) (next int64) {
	var over []*redialEntry
	s.mu.Lock()
	keep := s.redialQueue[:0:0]
	for _, w := range s.redialQueue {
		if w.until != 0 && w.until <= now {
			over = append(over, w)
			s.redialBytes -= w.bytes()
			continue
		}
		next = earlier(next, w.until)
		keep = append(keep, w)
	}
	if len(over) > 0 {
		s.redialQueue = keep
	}
	s.mu.Unlock()
	for _, w := range over {
		w.fail(s, markNotRun(NewRerror(CodeConnClosed, CodeText(CodeConnClosed), "redialing took longer than redial_wait"), nil))
	}
	return next
}

// isIdle reports whether a session must be closed because it has received nothing for
// IdleTimeout.
func (s *session) isIdle(quiet int64) bool {
	return quiet >= int64(s.env.cfg.IdleTimeout) && s.pending.Len() == 0 && s.work.running() == 0
}
