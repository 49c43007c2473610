package tp

import (
	"runtime"
	"sync/atomic"
	"time"
)

// A reader whose next message is about to come does not let its thread go to
// sleep: to be woken costs both ends more than to look a few times, and the one who
// waits for the answer has to wait for that as well. So it polls for a moment, and
// lets every other goroutine of the process run in between.
//
// It does so only where the last waits were short: one long wait ends it, and a
// dozen short ones bring it back. At most half of the processors poll at any time,
// and none where there is but one.

const (
	spinBelow = int64(80 * time.Microsecond) // the average wait of a reader that polls
	longWait  = int64(time.Millisecond)      // longer ones count as this
)

// spinning counts the readers of the process that poll.
var spinning atomic.Int32

// poll looks for bytes for a moment, if that promises to be worth it. ok says that
// some have come. began is now.
func (s *session) poll(l *link, began int64) (ok bool, err error) {
	most := int64(s.env.cfg.BusyPoll)
	if !l.busy() || most < 0 {
		return false, nil
	}
	if int(spinning.Add(1)) > runtime.GOMAXPROCS(0)/2 {
		spinning.Add(-1)
		return false, nil
	}
	defer spinning.Add(-1)
	l.trying = true
	defer func() { l.trying = false }()
	if l.attends.Load() && l.replies > 1 {
		if l.seat != nil {
			l.pause() // replies of handlers do not wait for callers
		}
		runtime.Gosched() // their callers call again, then all of it is one write
	}
	for now := began; now-began < most; now = s.env.sweeper.Now() {
		if ok, err = l.sock.TryWait(); ok || err != nil {
			return ok, err
		}
		runtime.Gosched()
	}
	return false, nil
}

// busy reports whether the next message is about to come.
func (l *link) busy() bool { return l.waiting < spinBelow }

// waited notes how long a wait took.
func (l *link) waited(d int64) {
	l.waiting += (min(d, longWait) - l.waiting) / 8
}
