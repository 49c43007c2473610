package outbox

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// A write that waits may make no progress for long although the peer reads: a socket
// says that it can be written only when a third of its buffer is free, and a peer that
// reads 100 KB a second needs many seconds for that. So while a write waits, what the
// socket has still to send is looked at too: any change of that is progress. Where it
// cannot be known only the bytes that a write has taken are.

// looks is how often the queue of a socket is looked at within Config.WriteTimeout: a
// stalled write ends at most that part of it late.
const looks = 4

// sendQueue is what a socket has taken and the peer's has not acknowledged.
type sendQueue struct {
	rc syscall.RawConn // nil: not known
	at int             // its length when it was looked at last, in bytes; -1: never
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

// moved looks at the queue and reports whether that has changed since the last look.
// ok is false where it cannot be known.
func (q *sendQueue) moved() (moved, ok bool) {
	if q.rc == nil {
		return false, false
	}
	n, ok := queued(q.rc)
	if !ok {
		q.rc = nil
		return false, false
	}
	moved = q.at >= 0 && n != q.at
	q.at = n
	return moved, true
}

// waitRaw is raw.write that waits, as long as there is progress.
func (w *Writer) waitRaw(b []byte) (n int, err error) {
	q := newSendQueue(w.conn)
	q.moved()
	wait := w.cfg.WriteTimeout
	for last := time.Now(); ; {
		if q.rc != nil {
			wait = min(time.Until(last.Add(w.cfg.WriteTimeout)), w.cfg.WriteTimeout/looks)
		}
		if err := w.conn.SetWriteDeadline(time.Now().Add(wait)); err != nil {
			return 0, err
		}
		n, err = w.raw.write(b, true)
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

// patience moves the write deadline of a connection on while its socket makes
// progress under a plain write. A TLS connection is lost by a write that times out.
type patience struct {
	conn    net.Conn
	timeout time.Duration

	mu    sync.Mutex
	timer *time.Timer
	under bool // a write is under way
	queue sendQueue
}

// newPatience returns nil if nothing can be known of what is below conn.
func newPatience(conn net.Conn, timeout time.Duration) *patience {
	q := newSendQueue(conn)
	if _, ok := q.moved(); !ok {
		return nil
	}
	return &patience{conn: conn, timeout: timeout, queue: q}
}

// begin is called before a write, whose deadline is set.
func (p *patience) begin() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.under, p.queue.at = true, -1
	if p.timer == nil {
		p.timer = time.AfterFunc(p.timeout/looks, p.look)
	} else {
		p.timer.Reset(p.timeout / looks)
	}
}

// end is called after it: from then on the deadline is not touched.
func (p *patience) end() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.under = false
	p.timer.Stop()
}

func (p *patience) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.under {
		return
	}
	if moved, _ := p.queue.moved(); moved {
		p.conn.SetWriteDeadline(time.Now().Add(p.timeout))
	}
	p.timer.Reset(p.timeout / looks)
}
