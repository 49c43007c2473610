package socket

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/teleport-go/teleport/core/internal/bufpool"
	"github.com/teleport-go/teleport/core/internal/inbox"
	"github.com/teleport-go/teleport/core/xfer"
)

// A filter that waits for another process holds up all frames behind its own, and with them
// the session. So a frame with such a filter is copied and queued, its filters run on a
// goroutine of their own, and the reading goroutine reads what else has arrived. When it is
// a frame's turn its filters have run, mostly, and Unpack is called once more, with the
// copy, and with the result in place of the filters. So messages leave ReadInto in the order
// of their frames, one at a time, and everything behind ReadInto is as it is without the
// queue. The reading goroutine never waits for the network while frames are queued.
//
// Whatever comes while frames are queued is queued too, since it must not overtake.

const (
	// aheadFrames is how many frames are queued at most, and how many goroutines there are.
	aheadFrames = 64
	// aheadRoom is what the result of filters may take ahead, or twice what they are given
	// if that is more. What takes more is reversed again in turn.
	aheadRoom = 4 << 10
	// aheadStack is what a goroutine of the queue is taken to take.
	aheadStack = 8 << 10
	// aheadFlush is after how many messages in succession, without a wait, messages that
	// were corked are written.
	aheadFlush = 32
	// aheadLook is after how many messages in succession, without a wait, the reader looks
	// what else has arrived.
	aheadLook = 8
	// aheadTime is how long the filters of a frame may take, from when it was queued. They
	// have a bound of their own, which is shorter; the connection of one that does not
	// keep it ends, with its goroutine left to it.
	aheadTime = 2 * time.Minute
)

// unpackFree is how many bytes a message may unpack to without a reservation.
const unpackFree = 64 << 10

// endOf returns the last byte of a slice's capacity, nil if it has none. Slices of the
// same memory have the same.
func endOf(b []byte) *byte {
	if cap(b) == 0 {
		return nil
	}
	return &b[:cap(b)][cap(b)-1]
}

// ahead is the queue. All but count belongs to the reading goroutine.
type ahead struct {
	in        *inbox.Reader
	readFrame func(m *Envelope) error // calls Unpack
	memory    *inbox.Memory           // may be nil
	most      int64                   // bytes that frames may take
	count     atomic.Int32            // frames that are queued or were not dispatched yet

	queue []*queuedFrame // in the order of arrival
	spare []*queuedFrame
	bytes int64 // of the queue, and of the last frame that left it
	full  bool  // there was no room for the last one
	end   error // why nothing follows the queue; nil: nobody knows yet
	quick int   // messages without a wait
	part  int   // bytes that have arrived of a frame that is not whole

	reading bool         // Unpack reads a frame that has arrived, and may be put off
	putOff  bool         // it was
	peeked  []byte       // by the last Peek
	frame   []byte       // that was discarded; nil: none was, or only a part
	now     *queuedFrame // that Unpack reads again
	rest    []byte       // of its bytes
	last    *queuedFrame // that ReadInto has returned

	timer *time.Timer // of await; nil: it was not needed yet
}

// queuedFrame is a frame that waits for its turn.
type queuedFrame struct {
	frame     []byte
	exclusive bool  // frame is a buffer of its own that the Reader has left to it: the message may keep it
	cost      int64 // bytes that it counts

	pipe  xfer.XferPipe
	src   []byte // a part of frame
	limit int    // of plain

	done     chan struct{} // gets a value when the fields below are set; of capacity 1
	running  bool          // the value was not received yet
	until    time.Time     // when the connection does not wait for it any more
	undone   bool          // the filters have run
	plain    []byte
	err      error
	panicked any
	exited   bool // a filter has ended its goroutine
}

// errNoFrame ends a connection whose protocol says that it is [Repeatable], and is not.
var errNoFrame = errors.New("socket: Unpack of a Repeatable protocol has not discarded the whole frame that it has peeked at last")

// errPutOff is in the error of an Unpack that is called again.
var errPutOff = errors.New("socket: the filters of the frame run elsewhere")

func (a *ahead) dispatched() bool {
	if a.last == nil {
		return false
	}
	a.free(a.last)
	a.last = nil
	return a.recount() == 0
}

func (a *ahead) recount() int {
	n := len(a.queue)
	if a.last != nil {
		n++
	}
	a.count.Store(int32(n))
	return n
}

// waiting reports whether ReadInto has something to return.
func (a *ahead) waiting() bool { return len(a.queue) > 0 || a.end != nil }

// readInto is ReadInto.
func (a *ahead) readInto(m *Envelope) error {
	a.dispatched()
	look := true
	if !a.waiting() {
		a.quick, a.part = 0, 0
		if err := a.next(m); !a.putOff {
			return err
		}
	} else if len(a.queue) > 0 {
		look = !a.queue[0].isDone() || a.quick%aheadLook == aheadLook-1
	}
	a.readOn(m, look)
	if len(a.queue) == 0 {
		return a.end
	}
	return a.repeat(m)
}

// next reads a frame that has arrived. It may put it off.
func (a *ahead) next(m *Envelope) error {
	a.reading, a.putOff, a.peeked, a.frame = true, false, nil, nil
	defer func() { a.reading = false }()
	return a.readFrame(m)
}

// readOn queues what has arrived, and if look is true what the network has, which costs a
// system call.
func (a *ahead) readOn(m *Envelope, look bool) {
	for len(a.queue) > 0 && len(a.queue) < aheadFrames && !a.full && a.end == nil {
		n := a.in.Buffered()
		if n == a.part && !look {
			return
		}
		if n == 0 {
			if a.in.Raw() == nil {
				return
			}
			some, err := a.in.TryWait()
			if a.end = err; !some {
				return
			}
		}
		m.Clear()
		a.in.SetEager(true)
		err := a.next(m)
		a.in.SetEager(false)
		a.part = 0
		switch {
		case a.putOff:
		case err != nil && errors.Is(err, inbox.ErrNothing):
			a.part = a.in.Buffered() // of the frame only this has arrived
			return
		case a.frame != nil:
			a.add(a.frame) // its Unpack is repeated, error and all
		case err != nil:
			a.end = err
		default:
			a.end = errNoFrame
		}
	}
}

// repeat returns the message of the first frame.
func (a *ahead) repeat(m *Envelope) error {
	f := a.queue[0]
	a.quick++
	if f.running {
		select {
		case <-f.done:
		default:
			a.in.BeforeWait()
			a.quick = 0
			if !a.await(f) {
				a.end = fmt.Errorf("socket: the filters %s of a message have not returned within %v", strings.Join(f.pipe.Names(), ", "), aheadTime)
				return a.end
			}
		}
		f.running, f.undone = false, true
	}
	if a.quick == aheadFlush {
		a.quick = 0
		a.in.BeforeWait()
	}
	a.queue = append(a.queue[:0], a.queue[1:]...)
	a.full = false
	a.last, a.now, a.rest = f, f, f.frame
	a.recount()
	m.Clear()
	defer func() { a.now, a.rest = nil, nil }()
	err := a.readFrame(m)
	if f.exclusive && m.raw != nil && endOf(m.raw) == endOf(f.frame) {
		m.rawOwned = true
		f.frame = nil
	}
	return err
}

// isDone reports whether the filters of f have run. Those of other frames that are about
// to come to their end do so before it returns false: they have been answered together.
func (f *queuedFrame) isDone() bool {
	if !f.running || len(f.done) > 0 {
		return true
	}
	runtime.Gosched()
	return len(f.done) > 0
}

// await waits for the filters of f. It returns false if they have taken too long.
func (a *ahead) await(f *queuedFrame) bool {
	if a.timer == nil {
		a.timer = time.NewTimer(time.Until(f.until))
	} else {
		a.timer.Reset(time.Until(f.until))
	}
	defer a.timer.Stop()
	select {
	case <-f.done:
		return true
	case <-a.timer.C:
		return false
	}
}

// putsOff queues the frame whose filters are to be reversed, and lets them run, unless
// there is nothing else to do meanwhile.
func (a *ahead) putsOff(pipe *xfer.XferPipe, src []byte, most int) bool {
	behind := a.in.Buffered()
	if a.frame == nil {
		behind -= len(a.peeked) // not discarded yet
	}
	if len(a.queue) == 0 && (behind <= 0 || !pipe.Remote()) {
		return false
	}
	frame := a.peeked
	at := cap(frame) - cap(src)
	if endOf(frame) != endOf(src) || at < 0 || at+len(src) > len(frame) {
		return false // src is in memory of the protocol's own
	}
	q := a.add(frame)
	q.src, q.limit = q.frame[at:at+len(src)], min(most, max(aheadRoom, 2*len(src)))
	q.pipe.AppendFrom(pipe)
	if n := int64(q.limit) + aheadStack; !a.full && a.draw(n) {
		q.cost += n
		q.running, q.until = true, time.Now().Add(aheadTime)
		go q.run()
	} else {
		a.full = true
	}
	return true
}

// add queues a frame. Its bytes have arrived, so they are counted, whatever there is room for.
func (a *ahead) add(frame []byte) *queuedFrame {
	var q *queuedFrame
	if n := len(a.spare); n > 0 {
		q, a.spare = a.spare[n-1], a.spare[:n-1]
	} else {
		q = &queuedFrame{done: make(chan struct{}, 1)}
	}
	if q.exclusive = a.in.Owned(); q.exclusive {
		q.frame = frame
	} else {
		q.frame = append(bufpool.Get(len(frame)), frame...)
	}
	q.cost = int64(cap(q.frame))
	a.bytes += q.cost
	if a.memory != nil {
		a.memory.Draw(q.cost)
	}
	if a.bytes >= a.most {
		a.full = true
	}
	a.queue = append(a.queue, q)
	a.recount()
	return q
}

// draw counts n bytes more if there is room for them.
func (a *ahead) draw(n int64) bool {
	if a.bytes+n > a.most || a.memory != nil && !a.memory.TryDraw(n) {
		return false
	}
	a.bytes += n
	return true
}

// uncount ends what draw and add have counted for a frame.
func (a *ahead) uncount(q *queuedFrame) {
	a.bytes -= q.cost
	if a.memory != nil {
		a.memory.Draw(-q.cost)
	}
}

// free ends what a frame takes.
func (a *ahead) free(q *queuedFrame) {
	a.uncount(q)
	bufpool.Put(q.frame)
	bufpool.Put(q.plain)
	pipe := q.pipe
	pipe.Reset()
	*q = queuedFrame{done: q.done, pipe: pipe}
	a.spare = append(a.spare, q)
}

// close waits for the filters that run, and forgets the queue. The memory of a frame whose
// filters have taken too long is left to them.
func (a *ahead) close() {
	for _, q := range a.queue {
		if q.running && !a.await(q) {
			a.uncount(q)
			continue
		}
		a.free(q)
	}
	a.queue = nil
	if a.last != nil {
		a.free(a.last)
		a.last = nil
	}
	a.spare = nil
	a.recount()
}

// run lets the filters run.
func (q *queuedFrame) run() {
	returned := false
	defer func() {
		if !returned {
			q.panicked = recover()
			q.exited = q.panicked == nil
		}
		q.done <- struct{}{}
	}()
	q.plain, q.err = q.pipe.AppendUnpack(bufpool.Get(min(q.limit, len(q.src))), q.src, q.limit)
	returned = true
}

// result is the outcome of the filters, as if they had run now. If done is false they must:
// they have not, or their result is larger than there was room for.
func (q *queuedFrame) result(dst, src []byte, max int) (out []byte, err error, done bool) {
	switch {
	case !q.undone || q.limit > max || len(src) != len(q.src):
		return nil, nil, false
	case q.panicked != nil:
		panic(q.panicked)
	case q.exited:
		runtime.Goexit()
	case q.err != nil:
		return dst, q.err, q.limit == max || !errors.Is(q.err, xfer.ErrTooLarge)
	}
	if cap(q.plain) <= unpackFree {
		return append(dst, q.plain...), nil, true
	}
	out, q.plain = q.plain, nil // larger ones are not used again by the protocol
	return out, nil, true
}

// peek, discard and readRest are Peek, Discard and Read of the frame that is read again.
func (a *ahead) peek(n int) ([]byte, error) {
	if n > len(a.rest) {
		return a.rest, a.short(n)
	}
	return a.rest[:n], nil
}

func (a *ahead) discard(n int) (int, error) {
	if n > len(a.rest) {
		return 0, a.short(n)
	}
	a.rest = a.rest[n:]
	return n, nil
}

func (a *ahead) readRest(p []byte) (int, error) {
	if len(a.rest) == 0 && len(p) > 0 {
		return 0, a.short(len(p))
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

func (a *ahead) short(n int) error {
	return fmt.Errorf("socket: the protocol wants %d bytes, where the frame has %d left: %w", n, len(a.rest), io.ErrUnexpectedEOF)
}

// discarded notes what the protocol has discarded.
func (a *ahead) discarded(n int) {
	if a.frame = nil; n == len(a.peeked) {
		a.frame = a.peeked
	}
}
