package tptest

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Logger returns a logger for PeerConfig.Logger that writes lines at WARN and
// above to t.Log. It drops lines after the end of the test. Lines below the level of
// tp.SetLoggerLevel never reach it.
func Logger(t testing.TB) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(w.end)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: dropTime}))
}

// testWriter writes to a test's log until the test ends; after that t.Log panics.
type testWriter struct {
	mu sync.Mutex
	t  testing.TB // nil: the test has ended
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Logf("%s", bytes.TrimRight(p, "\n"))
	}
	return len(p), nil
}

func (w *testWriter) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t = nil
}

func dropTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// Lines keeps log lines, for tests that check them. The zero value is ready for use.
// All methods may be called concurrently.
type Lines struct {
	mu   sync.Mutex // guards the fields below
	list []line
}

type line struct {
	level slog.Level
	text  string
}

// Logger returns a logger whose lines are kept. Lines below the level of
// tp.SetLoggerLevel never reach it.
func (l *Lines) Logger() *slog.Logger { return slog.New(&linesHandler{to: l}) }

// All returns the lines in order: level, message and attributes, as
// slog.TextHandler writes them.
func (l *Lines) All() []string { return l.texts(lowest) }

// Errors returns the lines at ERROR and CRITICAL.
func (l *Lines) Errors() []string { return l.texts(slog.LevelError) }

const lowest slog.Level = -100

func (l *Lines) texts(least slog.Level) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var texts []string
	for _, x := range l.list {
		if least <= x.level {
			texts = append(texts, x.text)
		}
	}
	return texts
}

// Contain reports whether a line contains text.
func (l *Lines) Contain(text string) bool {
	return slices.ContainsFunc(l.All(), func(x string) bool { return strings.Contains(x, text) })
}

// linesHandler writes each record as text, and keeps it.
type linesHandler struct {
	to   *Lines
	with []func(slog.Handler) slog.Handler
}

var _ slog.Handler = (*linesHandler)(nil)

func (h *linesHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *linesHandler) Handle(ctx context.Context, r slog.Record) error {
	var b bytes.Buffer
	text := slog.Handler(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: lowest, ReplaceAttr: dropTime}))
	for _, f := range h.with {
		text = f(text)
	}
	if err := text.Handle(ctx, r); err != nil {
		return err
	}
	h.to.mu.Lock()
	defer h.to.mu.Unlock()
	h.to.list = append(h.to.list, line{r.Level, strings.TrimRight(b.String(), "\n")})
	return nil
}

func (h *linesHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.and(func(t slog.Handler) slog.Handler { return t.WithAttrs(attrs) })
}

func (h *linesHandler) WithGroup(name string) slog.Handler {
	return h.and(func(t slog.Handler) slog.Handler { return t.WithGroup(name) })
}

func (h *linesHandler) and(f func(slog.Handler) slog.Handler) slog.Handler {
	return &linesHandler{h.to, append(slices.Clip(h.with), f)}
}
