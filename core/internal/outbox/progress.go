package outbox

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// A write that waits may take no bytes for long although the peer reads: a socket is
// writable only when a third of its buffer is free, and a peer that reads 100 KB a second
// needs many seconds for that. So while a write waits, the number of bytes that the
// socket has not sent yet is checked too: any change of it is progress. Where it is not
// known, only bytes that a write has taken are progress.

// checks is how often the queue of a socket is checked within Config.WriteTimeout: a
// stalled write ends late by at most that part of it.
const checks = 4

// sendQueue holds the number of bytes that a socket has taken and the peer's has not acknowledged.
type sendQueue struct {
	rc syscall.RawConn // nil: not known
	at int             // its length at the last check, in bytes; -1: not checked yet
}

// newSendQueue returns the queue of the socket at the bottom of conn.
func newSendQueue(conn net.Conn) sendQueue {
	const layers = 8
	q := sendQueue{at: -1}
	for range layers {
		switch c := conn.(type) {
		case *net.TCPConn:
			q.rc, _ = c.SyscallConn()
			return q
		case *net.UnixConn:
			q.rc, _ = c.SyscallConn()
			return q
		case interface{ NetConn() net.Conn }: // *tls.Conn, for example
			conn = c.NetConn()
		default:
			return q
		}
	}
	return q
}

// moved checks the queue and reports whether it has changed since the last check; at the
// first one it has. ok is false where its length is not known.
func (q *sendQueue) moved() (moved, ok bool) {
	if q.rc == nil {
		return false, false
	}
	n, ok := queued(q.rc)
	if !ok {
		q.rc = nil
		return false, false
	}
	moved = n != q.at
	q.at = n
	return moved, true
}

// waitRaw is raw.write with wait, as long as there is progress.
func (w *Writer) waitRaw(b []byte) (n int, err error) {
	q := newSendQueue(w.conn)
	q.moved()
	wait := w.cfg.WriteTimeout
	for last := time.Now(); ; {
		if q.rc != nil {
			wait = min(time.Until(last.Add(w.cfg.WriteTimeout)), w.cfg.WriteTimeout/checks)
		}
		if err := w.conn.SetWriteDeadline(time.Now().Add(wait)); err != nil {
			return 0, err
		}
		n, err = w.raw.write(w.conn, b, true)
		if !isTimeout(err) {
			return n, err
		}
		moved, ok := q.moved()
		if moved {
			last = time.Now()
		}
		if !ok || time.Since(last) >= w.cfg.WriteTimeout {
			return n, err
		}
	}
}

// progressTimer ends a plain write during which there is no progress. It is not left to a
// deadline that each progress puts off: if the process does not run for a while, the
// deadline has passed before the progress is seen, and a TLS connection cannot be used after
// a write that timed out.
type progressTimer struct {
	conn    net.Conn
	timeout time.Duration

	mu      sync.Mutex
	timer   *time.Timer
	writing bool      // between begin and end
	last    time.Time // of progress; at first the write's begin
	ended   bool      // the write's deadline has been set, to end it
	queue   sendQueue
}

// newProgressTimer returns nil if the send queue of conn's socket is not known, or if
// conn has no deadlines.
func newProgressTimer(conn net.Conn, timeout time.Duration) *progressTimer {
	q := newSendQueue(conn)
	if _, ok := q.moved(); !ok || conn.SetWriteDeadline(time.Time{}) != nil {
		return nil
	}
	return &progressTimer{conn: conn, timeout: timeout, queue: q}
}

// begin is called before a write.
func (p *progressTimer) begin(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writing, p.last, p.queue.at = true, now, -1
	if p.timer == nil {
		p.timer = time.AfterFunc(p.timeout/checks, p.check)
	} else {
		p.timer.Reset(p.timeout / checks)
	}
}

// end is called after the write. From then on the timer does not set the deadline.
func (p *progressTimer) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writing = false
	p.timer.Stop()
	if p.ended { // a deadline that stays would fail what others write
		p.ended = false
		p.conn.SetWriteDeadline(time.Time{})
	}
}

func (p *progressTimer) check() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.writing {
		return
	}
	now := time.Now()
	if moved, _ := p.queue.moved(); moved {
		p.last = now
	}
	if now.Sub(p.last) >= p.timeout {
		p.ended = true
		p.conn.SetWriteDeadline(now)
		return
	}
	p.timer.Reset(p.timeout / checks)
}
