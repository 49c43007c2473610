package main

import (
	"bytes"
	"strings"
	"sync"
)

// logLimit is the number of bytes kept of the start, and of the end, of a child's log.
const logLimit = 8 << 10

// childLog keeps what a child has printed, for the reason of a failure. It is safe
// for concurrent use.
type childLog struct {
	mu          sync.Mutex
	begin, tail []byte
}

// Write implements io.Writer; it never fails.
func (l *childLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(b), logLimit-len(l.begin))
	l.begin = append(l.begin, b[:n]...)
	l.tail = append(l.tail, b[max(0, len(b)-logLimit):]...)
	if over := len(l.tail) - logLimit; over > 0 {
		l.tail = append(l.tail[:0], l.tail[over:]...)
	}
	return len(b), nil
}

// reason returns the line that best explains a failure: that of a panic, or else
// the last line. It is empty if the child has printed nothing.
func (l *childLog) reason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(append(bytes.Clone(l.begin), l.tail...)) {
		if bytes.HasPrefix(line, []byte("panic: ")) || bytes.HasPrefix(line, []byte("fatal error: ")) {
			return string(bytes.TrimSpace(line))
		}
	}
	last := strings.TrimSpace(string(l.tail))
	return strings.TrimSpace(last[strings.LastIndexByte(last, '\n')+1:])
}
