package tp

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
)

// LoggerLevel is the level of a line, and of the logger: it logs a level and all before it.
type LoggerLevel int32

// The levels. The process starts with INFO; the first peer with PrintDetail changes
// that to DEBUG, unless SetLoggerLevel was called before.
const (
	OFF      LoggerLevel = iota // nothing at all
	PRINT                       // output for the program's user; logged unless OFF
	CRITICAL                    // the process, or a part of it, cannot continue
	ERROR
	WARNING
	NOTICE
	INFO
	DEBUG
	TRACE
)

var levelNames = [...]string{"OFF", "PRINT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG", "TRACE"}

// String returns the level's name, such as "INFO".
func (l LoggerLevel) String() string {
	if l < OFF || l > TRACE {
		return fmt.Sprintf("LoggerLevel(%d)", int32(l))
	}
	return levelNames[l]
}

// slogLevels maps our levels to those of slog, for our own handler. Other handlers get
// the levels of levelFor.
var slogLevels = [...]slog.Level{PRINT: 16, CRITICAL: 12, ERROR: slog.LevelError, WARNING: slog.LevelWarn,
	NOTICE: 2, INFO: slog.LevelInfo, DEBUG: slog.LevelDebug, TRACE: -8}

func (l LoggerLevel) slogLevel() slog.Level { return slogLevels[min(max(l, PRINT), TRACE)] }

// levelOf returns our level for a level of slog.
func levelOf(level slog.Level) LoggerLevel {
	for l := PRINT; l < TRACE; l++ {
		if level >= slogLevels[l] {
			return l
		}
	}
	return TRACE
}

var (
	loggerLevel atomic.Int32 // a LoggerLevel

	levelMu     sync.Mutex // guards changes of loggerLevel, and levelChosen
	levelChosen bool       // by SetLoggerLevel or SetLoggerLevel2
)

// showDetail sets the level DEBUG for PrintDetail, unless a level was set before.
func showDetail() {
	levelMu.Lock()
	defer levelMu.Unlock()
	if !levelChosen {
		loggerLevel.Store(int32(DEBUG))
	}
}

// EnableLoggerLevel reports whether lines of this level are logged; OFF never
// is. It costs one atomic load: call it before making a value only for the log.
func EnableLoggerLevel(level LoggerLevel) bool {
	return level > OFF && level <= LoggerLevel(loggerLevel.Load())
}

// GetLoggerLevel returns the level of the process.
func GetLoggerLevel() LoggerLevel { return LoggerLevel(loggerLevel.Load()) }

// LoggerOutputter receives the lines of the default logger in place of stderr.
// Its methods may be called concurrently.
type LoggerOutputter interface {
	// Output writes one line. msg is the message with its attributes, without
	// time, level, caller and newline; it is valid until Output returns. Output
	// itself finds the caller by runtime.Caller(calldepth); calldepth is negative
	// for the framework's own lines, which name no caller.
	Output(calldepth int, msg []byte, level LoggerLevel)
	// Flush returns when all lines so far are written.
	Flush() error
}
