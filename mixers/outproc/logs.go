package outproc

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// maxLine is the longest line of a guest's output that is one record, in bytes; of a
// longer one each piece is a record.
const maxLine = 64 << 10

// tailLines is how many lines of a guest's output, the last ones or the first ones of a
// panic, are kept for the error that says why it has ended.
const tailLines = 5

// logs passes the output of a guest on to a logger.
type logs struct {
	to *slog.Logger

	mu       sync.Mutex
	tail     []string
	panicked bool // what follows is the text of a panic
}

// stderr logs a line: a record of slog's JSONHandler as that record, another line as
// INFO, the text of a panic as ERROR.
func (l *logs) stderr(line []byte) {
	text := string(line)
	if strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ") {
		l.mu.Lock()
		l.panicked, l.tail = true, nil
		l.mu.Unlock()
	}
	l.keep(text)
	if r, ok := parseRecord(line); ok {
		if l.to.Enabled(context.Background(), r.Level) {
			l.to.Handler().Handle(context.Background(), r)
		}
		return
	}
	l.mu.Lock()
	level := slog.LevelInfo
	if l.panicked {
		level = slog.LevelError
	}
	l.mu.Unlock()
	l.to.Log(context.Background(), level, text)
}

// stdout logs a line that follows the handshake.
func (l *logs) stdout(line []byte) {
	l.keep(string(line))
	l.to.Info(string(line))
}

func (l *logs) keep(line string) {
	const most = 300
	if len(line) > most {
		line = line[:most] + "…"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.tail) < tailLines:
		l.tail = append(l.tail, line)
	case !l.panicked: // of a panic the first lines say what it is
		l.tail = append(l.tail[1:], line)
	}
}

// last returns the last lines, for an error; "" if there are none.
func (l *logs) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.tail, "\n\t")
}

// parseRecord reads a line that slog's JSONHandler has written. Its attributes keep their
// JSON values, in the order of the line.
func parseRecord(line []byte) (slog.Record, bool) {
	var head struct {
		Time  time.Time
		Level *slog.Level
		Msg   *string
	}
	if json.Unmarshal(line, &head) != nil || head.Level == nil || head.Msg == nil {
		return slog.Record{}, false
	}
	r := slog.NewRecord(head.Time, *head.Level, *head.Msg, 0)
	d := json.NewDecoder(strings.NewReader(string(line)))
	d.Token() // {
	for d.More() {
		key, err := d.Token()
		if err != nil {
			break
		}
		var value any
		if d.Decode(&value) != nil {
			break
		}
		if k, ok := key.(string); ok && k != slog.TimeKey && k != slog.LevelKey && k != slog.MessageKey {
			r.AddAttrs(slog.Any(k, value))
		}
	}
	return r, true
}

// warnings returns a logger of the lines of l from WARN on: for the lanes, whose
// connections are lines of the guest's start and end.
func warnings(l *slog.Logger) *slog.Logger { return slog.New(warnHandler{l.Handler()}) }

type warnHandler struct{ slog.Handler }

func (h warnHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

func (h warnHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnHandler{h.Handler.WithAttrs(attrs)}
}

func (h warnHandler) WithGroup(name string) slog.Handler {
	return warnHandler{h.Handler.WithGroup(name)}
}
