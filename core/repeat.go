package tp

import "time"

// This file decides whether a call that has not run is made again.

// mayRepeat reports whether to make a call again that has ended with an error, after
// waiting for a new connection: the call has certainly not run, the session redials, and
// there is time left. It completes the call's error if not. Only Call, which blocks
// anyway, makes a call again: the argument of AsyncCall may have changed by now.
func (cmd *callCmd) mayRepeat() bool {
	n := cmd.checkRun()
	s := cmd.sess
	if n == nil || n.link == nil || !s.redialable() || s.leaving.Load() {
		return false
	}
	now, ctx := s.env.sweeper.Now(), cmd.out.Context()
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
	n.link.ensureReader() // it may be this goroutine
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-n.link.gone.Done():
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
	cmd.in.Reset()
	cmd.rerr, cmd.inCodec, cmd.inSize = nil, 0, 0
	return true
}

// leastPause is the shortest pause before making a call again on a connection that
// does not end. It is longer than quietTime, for which a peer that closes waits.
const leastPause = 5 * quietTime

// maxRepeats is how often the pause before making a call again grows.
const maxRepeats = 16
