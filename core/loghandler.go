package tp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/teleport-go/teleport/core/internal/plaintext"
)

// textHandler is the slog.Handler behind the default logger:
//
//	[2006/01/02 15:04:05.000] [INFO] message key=value <dir/file.go:12>
//
// It writes on the caller's goroutine, with one Write per line: a line is written when
// the call returns, and a crash loses none.
type textHandler struct {
	out   *logOutput // shared with the handlers made from this one
	attrs string     // from WithAttrs, ready to print
	group string     // from WithGroup, with a dot at the end
}

var _ slog.Handler = (*textHandler)(nil)

// levelFor returns the level at which h gets lines of a level. Only our own handler
// knows PRINT and NOTICE: another one would take them for errors, or for a level of its
// own.
func levelFor(h slog.Handler, level LoggerLevel) slog.Level {
	if level == PRINT || level == NOTICE {
		if _, own := h.(*textHandler); !own {
			return slog.LevelInfo
		}
	}
	return level.slogLevel()
}

// logOutput is the destination of the lines: outputter, or else w.
type logOutput struct {
	outputter atomic.Pointer[LoggerOutputter] // in place of w, if not nil
	colour    bool

	mu sync.Mutex // one line at a time
	w  io.Writer
}

var levelTags = [...]struct{ tag, colour string }{
	PRINT: {"PRIN", "\x1b[1m"}, CRITICAL: {"CRIT", "\x1b[1;35m"}, ERROR: {"ERRO", "\x1b[31m"}, WARNING: {"WARN", "\x1b[33m"},
	NOTICE: {"NOTI", "\x1b[36m"}, INFO: {"INFO", "\x1b[32m"}, DEBUG: {"DEBU", "\x1b[34m"}, TRACE: {"TRAC", "\x1b[90m"},
}

// wantsColour reports whether f is a terminal and the environment does not forbid colours.
func wantsColour(f *os.File) bool {
	if runtime.GOOS == "windows" || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (h *textHandler) Enabled(_ context.Context, level slog.Level) bool {
	return EnableLoggerLevel(levelOf(level))
}

func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h2 := *h
	var b []byte
	for _, a := range attrs {
		b = appendAttr(b, h.group, a)
	}
	h2.attrs += string(b)
	return &h2
}

func (h *textHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	h2 := *h
	h2.group += name + "."
	return &h2
}

// maxKeptLine is the largest line buffer that is kept for the next line, in bytes.
const maxKeptLine = 16 << 10

var linePool = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	buf := linePool.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= maxKeptLine {
			linePool.Put(buf)
		}
	}()
	b := (*buf)[:0]
	level := levelOf(r.Level)
	outputter := h.out.outputter.Load()
	if outputter == nil {
		b = appendStart(b, r.Time, level, h.out.colour)
	}
	b = appendMessage(b, r.Message)
	b = append(b, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, h.group, a)
		return true
	})
	if outputter != nil {
		*buf = b
		(*outputter).Output(callDepth(r.PC), b, level)
		return nil
	}
	b = append(appendCaller(b, r.PC), '\n')
	*buf = b
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := h.out.w.Write(b)
	return err
}

// callDepth returns the argument with which a function called by Handle gets the frame
// of pc from runtime.Caller; -1 if pc is not on the stack.
func callDepth(pc uintptr) int {
	if pc == 0 {
		return -1
	}
	var pcs [64]uintptr
	for i, p := range pcs[:runtime.Callers(2, pcs[:])] { // 2: the first is Handle
		if p == pc {
			return i + 1
		}
	}
	return -1
}

func appendStart(b []byte, t time.Time, level LoggerLevel, colour bool) []byte {
	if !t.IsZero() {
		b = t.AppendFormat(b, "[2006/01/02 15:04:05.000] ")
	}
	tag := levelTags[level]
	if !colour {
		return append(append(append(b, '['), tag.tag...), "] "...)
	}
	b = append(append(b, '['), tag.colour...)
	return append(append(b, tag.tag...), "\x1b[0m] "...)
}

// appendMessage appends text so that it can neither control a terminal nor forge a
// line: it escapes control characters, those that turn the direction of writing, and
// separators of lines, and indents the lines after the first.
func appendMessage(b []byte, text string) []byte {
	text = strings.TrimRight(text, "\r\n")
	for i, r := range text {
		switch {
		case r == '\n':
			b = append(b, "\n\t"...)
		case r == '\t' || !plaintext.Steers(r) && r != utf8.RuneError:
			b = utf8.AppendRune(b, r)
		case r == utf8.RuneError:
			b = appendInvalid(b, text[i:])
		default:
			q := strconv.QuoteRune(r)
			b = append(b, q[1:len(q)-1]...)
		}
	}
	return b
}

// appendInvalid appends the replacement character as it is, or a byte that is
// not UTF-8 as an escape.
func appendInvalid(b []byte, text string) []byte {
	if _, size := utf8.DecodeRuneInString(text); size > 1 {
		return utf8.AppendRune(b, utf8.RuneError)
	}
	return fmt.Appendf(b, `\x%02x`, text[0])
}

func appendCaller(b []byte, pc uintptr) []byte {
	if pc == 0 {
		return b
	}
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	if frame.File == "" {
		return b
	}
	dir, file := filepath.Split(frame.File)
	b = append(append(b, " <"...), filepath.Base(dir)...)
	b = append(append(b, '/'), file...)
	b = strconv.AppendInt(append(b, ':'), int64(frame.Line), 10)
	return append(b, '>')
}

// appendAttr appends " group.key=value"; a group becomes its members.
func appendAttr(b []byte, group string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, member := range v.Group() {
			b = appendAttr(b, group, member)
		}
		return b
	}
	if a.Key == "" && v.Equal(slog.Value{}) {
		return b // slog requires that handlers ignore an empty Attr
	}
	b = append(b, ' ')
	b = appendWord(b, group+a.Key)
	b = append(b, '=')
	switch v.Kind() {
	case slog.KindTime:
		return v.Time().AppendFormat(b, time.RFC3339Nano)
	case slog.KindAny:
		return appendWord(b, fmt.Sprint(v.Any())) // calls Error or String, and recovers their panics
	default:
		return appendWord(b, v.String())
	}
}

// appendWord quotes s unless it is one plain word.
func appendWord(b []byte, s string) []byte {
	plain := s != ""
	for _, r := range s {
		if r <= ' ' || r == '"' || r == '=' || r == utf8.RuneError || !unicode.IsPrint(r) {
			plain = false
			break
		}
	}
	if plain {
		return append(b, s...)
	}
	return strconv.AppendQuote(b, s)
}
