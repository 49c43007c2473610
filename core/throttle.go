package tp

import (
	"sync/atomic"
	"time"
)

// throttle lets a few lines a second through and counts the others: who floods a
// session must not flood the log as well. Safe for concurrent use; where two meet,
// a line more or less may pass.
type throttle struct {
	second atomic.Int64 // when the present second began, in nanoseconds of any clock; 0: never
	lines  atomic.Int64 // asked for in it
	more   atomic.Int64 // held back since the last one that passed
}

// logBurst is how many lines a second say enough about one kind of trouble.
const logBurst = 10

// pass reports whether a line may be written now, at most limit of them a second,
// and how many were held back since the last one.
func (t *throttle) pass(now, limit int64) (more int64, ok bool) {
	if at := t.second.Load(); (at == 0 || now < at || now-at >= int64(time.Second)) && t.second.CompareAndSwap(at, now) {
		t.lines.Store(0)
	}
	if t.lines.Add(1) > limit {
		t.more.Add(1)
		return 0, false
	}
	return t.more.Swap(0), true
}

// throttled logs what the other end can cause as often as it likes, at most limit
// lines a second.
func (e *env) throttled(t *throttle, limit int64, level LoggerLevel, format string, args ...any) {
	if !e.log.enabled(level) {
		return
	}
	more, ok := t.pass(e.sweeper.Now(), limit)
	if !ok {
		return
	}
	if more > 0 {
		format += "; and %d more since the last such line"
		args = append(args, more)
	}
	e.log.log(level, 1, format, args...)
}
