package tp

import (
	"time"

	"github.com/teleport-go/teleport/core/internal/throttle"
)

func (e *env) hooks() *hookTable { return e.plugins.hooks() }

// since returns how long ago start was, in the sweeper's time; 0 if that is 0.
func (e *env) since(start int64) time.Duration {
	if start == 0 {
		return 0
	}
	return time.Duration(e.sweeper.Now() - start)
}

// throttled logs an event that the other end can cause at will, in at most limit
// lines a second. Long texts are cut.
func (e *env) throttled(t *throttle.Throttle, limit int64, level LoggerLevel, format string, args ...any) {
	if !e.log.enabled(level) {
		return
	}
	held, ok := t.Pass(e.sweeper.Now(), limit)
	if !ok {
		return
	}
	briefArgs(args)
	if held > 0 {
		format += "; and %d more since the last such line"
		args = append(args, held)
	}
	e.log.log(level, 1, format, args...)
}
