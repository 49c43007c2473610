package tp

import "time"

// This file decides whether a call that has not run is made again.

// encode encodes the body of an asynchronous call that may be made again, since its
// argument is not read after AsyncCall has returned.
func (cmd *callCmd) encode() *Rerror {
	err := safely(func() error { _, err := cmd.out.Encode(nil); return err })
	if err == nil {
		return nil
	}
	if cmd.seq != 0 {
		cmd.sess.pending.Release(cmd.seq)
	}
	return NewRerror(CodeWriteFailed, CodeText(CodeWriteFailed), err.Error()).WithCause(err)
}

// repeatable returns the link on which a call has failed, if the call is to be made again
// once that link has ended: its handler has certainly not run, and the session redials. Else
// it returns nil. It completes the call's error.
func (cmd *callCmd) repeatable() *link {
	n, s := cmd.checkRun(), cmd.sess
	if n == nil || cmd.stream != nil || !s.redialable() || s.leaving.Load() {
		return nil
	}
	return n.link
}

// mayRepeat reports whether to make a call again that has ended with an error, after
// waiting for a new connection: the call is repeatable, and there is time left.
func (cmd *callCmd) mayRepeat() bool {
	l := cmd.repeatable()
	if l == nil {
		return false
	}
	s, ctx := cmd.sess, cmd.out.Context()
	now := s.env.sweeper.Now()
	if cmd.giveUpAt == 0 {
		cmd.giveUpAt = s.env.sweeper.After(s.env.cfg.RedialWait)
	}
	end := cmd.giveUpAt
	if hasDeadline(ctx) {
		end = 0
	}
	end = earlier(end, cmd.deadline)
	if end != 0 && now >= end {
		return false
	}
	pause := max(backoff(s.env.cfg.RedialInterval, int32(cmd.repeats)), leastPause)
	if end != 0 {
		pause = min(pause, time.Duration(end-now))
	}
	cmd.repeats = min(cmd.repeats+1, maxRepeats)
	l.ensureReader() // it may be this goroutine
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-l.gone.Done():
	case <-t.C: // the peer goes on refusing calls, or is a proxy whose backend drains
	case <-ctx.Done():
		cmd.rerr = markNotRun(contextRerror(ctx), nil)
		return false
	}
	if len(s.env.hooks().preWrite[kindCall]) == 0 {
		cmd.seq = 0
	} else if s.pending.HoldAgain(cmd.seq) != nil { // hooks have seen the number
		return false
	}
	cmd.out.Recall()
	cmd.rerr, cmd.in, cmd.inCodec, cmd.inSize = nil, nil, 0, 0
	return true
}

// leastPause is the shortest pause before making a call again on a connection that
// does not end. It is longer than quietTime, for which a peer that closes waits.
const leastPause = 5 * quietTime

// maxRepeats is how often the pause before making a call again grows.
const maxRepeats = 16
