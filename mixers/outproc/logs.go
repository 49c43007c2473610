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

// tailLines is how many lines of a guest's output are kept for the error that says why
// it has ended.
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
	l.keep(text)
	if r, ok := parseRecord(line); ok {
		if l.to.Enabled(context.Background(), r.Level) {
			l.to.Handler().Handle(context.Background(), r)
		}
		return
	}
	l.mu.Lock()
	l.panicked = l.panicked || strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ")
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
	l.tail = append(l.tail, line)
	if len(l.tail) > tailLines {
		l.tail = l.tail[1:]
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
