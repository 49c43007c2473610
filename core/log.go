package tp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// Logger writes a line if its level is logged. A session, a context and a
// CallCmd are Loggers. All methods may be called concurrently.
type Logger interface {
	// Printf logs at PRINT.
	Printf(format string, args ...any)
	// Fatalf logs at CRITICAL, flushes, and ends the process with exit code 1.
	Fatalf(format string, args ...any)
	// Panicf logs at CRITICAL and panics with the message.
	Panicf(format string, args ...any)
	// Criticalf logs at CRITICAL.
	Criticalf(format string, args ...any)
	// Errorf logs at ERROR.
	Errorf(format string, args ...any)
	// Warnf logs at WARNING.
	Warnf(format string, args ...any)
	// Noticef logs at NOTICE.
	Noticef(format string, args ...any)
	// Infof logs at INFO.
	Infof(format string, args ...any)
	// Debugf logs at DEBUG.
	Debugf(format string, args ...any)
	// Tracef logs at TRACE.
	Tracef(format string, args ...any)
}

var (
	processLogger atomic.Pointer[slog.Logger] // never nil once the package is initialised
	stderr        = &logOutput{w: os.Stderr, colour: wantsColour(os.Stderr)}
	defaultSlog   = slog.New(&textHandler{out: stderr})
	exit          = os.Exit // tests replace it
)

func init() {
	loggerLevel.Store(int32(INFO))
	processLogger.Store(defaultSlog)
}

// SetLoggerLevel sets the level by its name, in upper or lower case; WARN is WARNING.
// It takes effect at once, also for existing peers. An unknown name leaves the level
// unchanged and logs an ERROR that lists the names. The result is FlushLogger.
func SetLoggerLevel(level string) (flush func() error) {
	name := strings.ToUpper(strings.TrimSpace(level))
	if name == "WARN" {
		name = "WARNING"
	}
	for l, n := range levelNames {
		if n == name {
			return SetLoggerLevel2(LoggerLevel(l))
		}
	}
	std.log(ERROR, 1, "tp: unknown logger level %q: use one of %s; the level stays %v",
		level, strings.Join(levelNames[:], ", "), GetLoggerLevel())
	return FlushLogger
}

// SetLoggerLevel2 sets the level. A value outside OFF to TRACE becomes the nearer of
// the two. The result is FlushLogger.
func SetLoggerLevel2(level LoggerLevel) (flush func() error) {
	levelMu.Lock()
	defer levelMu.Unlock()
	levelChosen = true
	loggerLevel.Store(int32(min(max(level, OFF), TRACE)))
	return FlushLogger
}

// GetLogger returns the process-wide logger, which follows SetLogger.
func GetLogger() Logger { return std }

// SetLogger sends the lines of the process to l; nil restores the default, a
// text line to stderr. The levels are slog's own; PRINT and NOTICE are INFO,
// CRITICAL is 12, TRACE -8. A line must pass both the level of SetLoggerLevel and
// l's handler; with the level TRACE the handler alone decides. It takes effect at
// once, except for peers that have a logger of their own.
func SetLogger(l *slog.Logger) {
	if l == nil {
		l = defaultSlog
	}
	processLogger.Store(l)
}

// SetLoggerOutputter sets where the default logger writes; nil restores stderr.
// It has no effect on a logger set by SetLogger. It takes effect at once.
func SetLoggerOutputter(o LoggerOutputter) {
	if o == nil {
		stderr.outputter.Store(nil)
		return
	}
	stderr.outputter.Store(&o)
}

// FlushLogger flushes the outputter, and the handler given to SetLogger if it
// has a method Flush() error. Lines to stderr need no flush.
func FlushLogger() error {
	err := std.flush()
	if o := stderr.outputter.Load(); o != nil {
		err = errors.Join(err, (*o).Flush())
	}
	return err
}

// logger is the Logger of the process, a peer, a session or a context. The zero
// value follows SetLogger. It is one pointer: copy and embed it.
type logger struct {
	l *slog.Logger // nil: the process-wide one
}

var (
	_   Logger = logger{}
	std logger
)

func newLogger(l *slog.Logger) logger { return logger{l} }

func (l logger) slog() *slog.Logger {
	if l.l != nil {
		return l.l
	}
	return processLogger.Load()
}

// enabled reports whether a line of this level would be written.
func (l logger) enabled(level LoggerLevel) bool { return EnableLoggerLevel(level) && l.handles(level) }

// handles reports whether the handler of the lines takes those of this level.
func (l logger) handles(level LoggerLevel) bool {
	h := l.slog().Handler()
	return h.Enabled(context.Background(), levelFor(h, level))
}

// log writes a line whose caller is depth frames above the caller of log.
func (l logger) log(level LoggerLevel, depth int, format string, args ...any) {
	if !l.enabled(level) {
		return
	}
	var pc [1]uintptr
	runtime.Callers(2+depth, pc[:])
	l.write(level, pc[0], fmt.Sprintf(format, args...))
}

// lazy is log with a message that is made only if the line is written.
func (l logger) lazy(level LoggerLevel, depth int, message func() string) {
	if !l.enabled(level) {
		return
	}
	var pc [1]uintptr
	runtime.Callers(2+depth, pc[:])
	l.write(level, pc[0], message())
}

// attrs writes a structured line of the framework itself. The line names no caller: a
// line of the framework's source does not help its user, and finding it costs time.
func (l logger) attrs(level LoggerLevel, message string, attrs ...slog.Attr) {
	if l.enabled(level) {
		l.write(level, 0, message, attrs...)
	}
}

func (l logger) write(level LoggerLevel, pc uintptr, message string, attrs ...slog.Attr) {
	h := l.slog().Handler()
	r := slog.NewRecord(time.Now(), levelFor(h, level), message, pc)
	r.AddAttrs(attrs...)
	// As in slog itself, the error of a line that could not be written is dropped.
	_ = h.Handle(context.Background(), r)
}

// flush flushes the handler, if it can be.
func (l logger) flush() error {
	if f, ok := l.slog().Handler().(interface{ Flush() error }); ok {
		return f.Flush()
	}
	return nil
}

func (l logger) fatal() {
	if l.l != nil {
		_ = l.flush() // the process ends either way
	}
	_ = FlushLogger()
	exit(1)
}

func (l logger) Printf(format string, args ...any) { l.log(PRINT, 1, format, args...) }
func (l logger) Fatalf(format string, args ...any) { l.log(CRITICAL, 1, format, args...); l.fatal() }
func (l logger) Panicf(format string, args ...any) {
	l.log(CRITICAL, 1, format, args...)
	panic(fmt.Sprintf(format, args...))
}
func (l logger) Criticalf(format string, args ...any) { l.log(CRITICAL, 1, format, args...) }
func (l logger) Errorf(format string, args ...any)    { l.log(ERROR, 1, format, args...) }
func (l logger) Warnf(format string, args ...any)     { l.log(WARNING, 1, format, args...) }
func (l logger) Noticef(format string, args ...any)   { l.log(NOTICE, 1, format, args...) }
func (l logger) Infof(format string, args ...any)     { l.log(INFO, 1, format, args...) }
func (l logger) Debugf(format string, args ...any)    { l.log(DEBUG, 1, format, args...) }
func (l logger) Tracef(format string, args ...any)    { l.log(TRACE, 1, format, args...) }

// Printf logs at PRINT by the process-wide logger.
func Printf(format string, args ...any) { std.log(PRINT, 1, format, args...) }

// Fatalf logs at CRITICAL, flushes, and ends the process with exit code 1.
func Fatalf(format string, args ...any) { std.log(CRITICAL, 1, format, args...); std.fatal() }

// Panicf logs at CRITICAL and panics with the message.
func Panicf(format string, args ...any) {
	std.log(CRITICAL, 1, format, args...)
	panic(fmt.Sprintf(format, args...))
}

// Criticalf logs at CRITICAL.
func Criticalf(format string, args ...any) { std.log(CRITICAL, 1, format, args...) }

// Errorf logs at ERROR.
func Errorf(format string, args ...any) { std.log(ERROR, 1, format, args...) }

// Warnf logs at WARNING.
func Warnf(format string, args ...any) { std.log(WARNING, 1, format, args...) }

// Noticef logs at NOTICE.
func Noticef(format string, args ...any) { std.log(NOTICE, 1, format, args...) }

// Infof logs at INFO.
func Infof(format string, args ...any) { std.log(INFO, 1, format, args...) }

// Debugf logs at DEBUG.
func Debugf(format string, args ...any) { std.log(DEBUG, 1, format, args...) }

// Tracef logs at TRACE.
func Tracef(format string, args ...any) { std.log(TRACE, 1, format, args...) }

// LazyPrintf is Printf with a message that is made only if it is logged.
func LazyPrintf(message func() string) { std.lazy(PRINT, 1, message) }

// LazyFatalf is Fatalf with a message that is made only if it is logged.
func LazyFatalf(message func() string) { std.lazy(CRITICAL, 1, message); std.fatal() }

// LazyPanicf is Panicf; the message is made in any case, for the panic.
func LazyPanicf(message func() string) {
	text := message()
	std.log(CRITICAL, 1, "%s", text)
	panic(text)
}

// LazyCriticalf is Criticalf with a message that is made only if it is logged.
func LazyCriticalf(message func() string) { std.lazy(CRITICAL, 1, message) }

// LazyErrorf is Errorf with a message that is made only if it is logged.
func LazyErrorf(message func() string) { std.lazy(ERROR, 1, message) }

// LazyWarnf is Warnf with a message that is made only if it is logged.
func LazyWarnf(message func() string) { std.lazy(WARNING, 1, message) }

// LazyNoticef is Noticef with a message that is made only if it is logged.
func LazyNoticef(message func() string) { std.lazy(NOTICE, 1, message) }

// LazyInfof is Infof with a message that is made only if it is logged.
func LazyInfof(message func() string) { std.lazy(INFO, 1, message) }

// LazyDebugf is Debugf with a message that is made only if it is logged.
func LazyDebugf(message func() string) { std.lazy(DEBUG, 1, message) }

// LazyTracef is Tracef with a message that is made only if it is logged.
func LazyTracef(message func() string) { std.lazy(TRACE, 1, message) }
