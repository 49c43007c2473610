package tp

import (
	"sync/atomic"
	"time"
)

// throttle lets one line a second through and counts the others: who floods a
// session must not flood the log as well. Safe for concurrent use.
type throttle struct {
	at   atomic.Int64 // when the last line passed, in the sweeper's time; 0: never
	more atomic.Int64 // held back since
}

// pass reports whether a line may be written now, and how many were not since
// the last one.
func (t *throttle) pass(now int64) (more int64, ok bool) {
	at := t.at.Load()
	if at != 0 && now-at < int64(time.Second) || !t.at.CompareAndSwap(at, now) {
		t.more.Add(1)
		return 0, false
	}
	return t.more.Swap(0), true
}

// throttled logs what the other end can cause as often as it likes.
func (e *env) throttled(t *throttle, log logger, level LoggerLevel, format string, args ...any) {
	if !log.enabled(level) {
		return
	}
	more, ok := t.pass(e.sweeper.Now())
	if !ok {
		return
	}
	if more > 0 {
		format += "; and %d more since the last such line"
		args = append(args, more)
	}
	log.log(level, 1, format, args...)
}
