package memnet

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// parcelSize is how many bytes arrive together when Bandwidth limits them.
const parcelSize = 1460

// link is a connection: two ends and two directions, under one lock. Each waiting
// goroutine waits for a change of one direction.
type link struct {
	net  *Network // nil for a Pipe
	id   uint64
	a, b *Conn // the dialer's end and the listener's

	mu     sync.Mutex // guards the fields below, both halves, and the state of both ends
	frozen bool       // by Freeze
	parted bool       // by Partition
}

func newLink(cfg *config, n *Network, id uint64, a, b Addr) *link {
	l := &link{net: n, id: id}
	ab := &half{cfg: cfg, rng: cfg.rng(2 * id), cutAt: -1}
	ba := &half{cfg: cfg, rng: cfg.rng(2*id + 1), cutAt: -1}
	l.a = &Conn{link: l, local: a, remote: b, in: ba, out: ab}
	l.b = &Conn{link: l, local: b, remote: a, in: ab, out: ba}
	l.a.peer, l.b.peer = l.b, l.a
	return l
}

// still reports whether the connection is frozen or parted. The caller holds l.mu.
func (l *link) still() bool { return l.frozen || l.parted }

func (l *link) part(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parted = on
	l.signal()
}

func (l *link) freeze(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen = on
	l.signal()
}

// cut breaks both directions at once.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range []*Conn{l.a, l.b} {
		c.broken = ErrReset
		c.in.drop()
	}
	l.signal()
}

// signal wakes all waiting goroutines. The caller holds l.mu.
func (l *link) signal() {
	l.a.in.signal()
	l.b.in.signal()
}

// wait returns when h has changed or the time until has come; zero is never.
// The caller holds l.mu, which is unlocked meanwhile.
func (l *link) wait(h *half, until time.Time) {
	if h.wake == nil {
		h.wake = make(chan struct{})
	}
	wake := h.wake
	l.mu.Unlock()
	defer l.mu.Lock()
	if until.IsZero() {
		<-wake
		return
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-wake:
	case <-t.C:
	}
}

// half is one direction of a link: the writer's buffer, the wire and the
// reader's buffer in one. All of it is guarded by the link's lock.
type half struct {
	cfg *config
	rng *rand.Rand // nil: every Read gets as much as it can

	buf     bytes.Buffer // bytes written and not read
	arrived int          // how many bytes of buf have arrived at the reader
	wire    []parcel     // the other bytes of buf, in order of arrival
	free    time.Time    // when the wire has sent all bytes (Bandwidth)

	fin  notice // the reader's error after the last byte
	gone notice // the writer's error once the reader has closed

	written int64   // bytes taken from the writer
	cutAt   int64   // break when written reaches it; negative: never
	corrupt []int64 // bytes to flip

	readBy, writeBy time.Time // deadlines; zero: none

	writers []uint64 // tickets of the Writes in progress; the first may write
	tickets uint64

	wake chan struct{} // made by a waiting goroutine, closed by one that changes something
}

// parcel is a number of bytes that arrive at a time.
type parcel struct {
	n  int
	at time.Time
}

// notice is an error that arrives at a time; the zero value never arrives.
type notice struct {
	err error
	at  time.Time
}

// set sets err, unless an error is set already.
func (n *notice) set(err error, at time.Time) {
	if n.err == nil {
		*n = notice{err, at}
	}
}

func (n *notice) here() bool { return n.err != nil && past(n.at) }

// past reports whether t has come. The zero time always has.
func past(t time.Time) bool { return t.IsZero() || !time.Now().Before(t) }

// expired is past for deadlines, of which zero means none.
func expired(t time.Time) bool { return !t.IsZero() && past(t) }

// earlier returns the earlier time, where zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (h *half) signal() {
	if h.wake != nil {
		close(h.wake)
		h.wake = nil
	}
}

func (h *half) room() int { return h.cfg.buffer - h.buf.Len() }

// send puts n bytes on the wire and returns when they arrive; with 0 bytes, when an event
// after all bytes arrives. The zero time means at once.
func (h *half) send(n int) time.Time {
	if !h.cfg.timed() {
		return time.Time{}
	}
	at := time.Now()
	if h.free.After(at) {
		at = h.free
	}
	if h.cfg.bandwidth > 0 {
		at = at.Add(time.Duration(n) * time.Second / time.Duration(h.cfg.bandwidth))
	}
	h.free = at
	return at.Add(h.cfg.latency)
}

// put takes bytes from the writer. There is room for them.
func (h *half) put(p []byte) {
	start := h.buf.Len()
	h.buf.Write(p)
	h.flip(h.buf.Bytes()[start:])
	h.written += int64(len(p))
	if !h.cfg.timed() {
		h.arrived += len(p)
		return
	}
	for left := len(p); left > 0; {
		n := left
		if h.cfg.bandwidth > 0 {
			n = min(n, parcelSize)
		}
		h.wire = append(h.wire, parcel{n, h.send(n)})
		left -= n
	}
}

// flip damages those bytes of p, the next ones to be written, that Corrupt has chosen.
func (h *half) flip(p []byte) {
	h.corrupt = slices.DeleteFunc(h.corrupt, func(nth int64) bool {
		i := nth - h.written
		if i >= int64(len(p)) {
			return false
		}
		p[i] ^= 0xff
		return true
	})
}

// take copies bytes that have arrived to p.
func (h *half) take(p []byte) int {
	for len(h.wire) > 0 && past(h.wire[0].at) {
		h.arrived += h.wire[0].n
		h.wire = h.wire[1:]
	}
	n := min(len(p), h.arrived)
	if n > 0 && h.cfg.chunk > 0 {
		n = min(n, h.portion())
	}
	copy(p, h.buf.Next(n))
	h.arrived -= n
	return n
}

func (h *half) portion() int {
	if h.rng == nil {
		return h.cfg.chunk
	}
	return 1 + h.rng.IntN(h.cfg.chunk)
}

// next returns when the next bytes or the end arrive at the reader; zero if nothing is on
// the way.
func (h *half) next() time.Time {
	if len(h.wire) > 0 {
		return h.wire[0].at
	}
	return h.fin.at
}

// drop discards the bytes that are not read.
func (h *half) drop() {
	h.buf.Reset()
	h.arrived, h.wire = 0, nil
}

// join adds a Write to the queue.
func (h *half) join() (ticket uint64) {
	h.tickets++
	h.writers = append(h.writers, h.tickets)
	return h.tickets
}

// leave removes a Write from the queue. The next one need not be woken: what ends a
// Write, its last byte or an error, has woken them all or ends them all.
func (h *half) leave(ticket uint64) {
	h.writers = slices.DeleteFunc(h.writers, func(t uint64) bool { return t == ticket })
}
