package main

import (
	"bytes"
	"strings"
	"sync"
)

// kept is how much of the begin and of the end of a child's log is remembered.
const kept = 8 << 10

// childLog remembers what a child has printed, to tell why it has failed. It may
// be used concurrently.
type childLog struct {
	mu          sync.Mutex
	begin, tail []byte
}

// Write implements io.Writer; it never fails.
func (l *childLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(b), kept-len(l.begin))
	l.begin = append(l.begin, b[:n]...)
	l.tail = append(l.tail, b[max(0, len(b)-kept):]...)
	if over := len(l.tail) - kept; over > 0 {
		l.tail = append(l.tail[:0], l.tail[over:]...)
	}
	return len(b), nil
}

// reason is the line that tells most of why a child has failed: that of a panic,
// or else the last one. It is empty if the child was silent.
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
