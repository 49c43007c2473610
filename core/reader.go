package tp

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/teleport-go/teleport/core/internal/poller"
	"github.com/teleport-go/teleport/core/internal/watchdog"
	"github.com/teleport-go/teleport/core/socket"
)

// A connection is read by one goroutine at a time, or by none while it is parked.
// Which one that is, and what it does, is told by one word:
//
//	   ┌───────────────────── park ──────────────────────┐
//	   ▼                                                 │
//	parked ── unpark ──► reading+onPoller ── detach ──► reading ── await ──► waiting
//	 ▲  │                 │  │    ▲                      │  ▲ ▲               │  │
//	 └──│──── park ───────┘  │ returned                  │  │ └─── resume ────┘  │
//	    │                    ▼    │                  begin  │ returned           │
//	    │                handling+onPoller               ▼  │             interrupt
//	    │                         │                    handling                  │
//	    │                         └────── steal ──────────┤                      ▼
//	    └── unpark (close, no poller) ──► reading ◄───────┘     waiting+interrupted
//
// The goroutine in the phase reading or waiting is the reader. It owns the reading half
// of the connection and the fields of reader: it alone leaves these phases. Everything
// else is taken over from it, or from the poller, by one compare-and-swap: a handler
// that does not return, or that calls back, loses the reading to a new goroutine
// (steal); a parked connection gets a reader when something arrives or when it is closed
// (unpark); the sweep ends a wait that takes long, and the reader parks the connection
// (interrupt). The generation counts waits, handlers, and changes of the reader, so that
// a number seen earlier says whether it is the same wait, the same handler, the same
// reader still.
//
// A reader that must not go on reading, because memory is short or the connection moves
// to another process, is a further phase, left by the one that has put it there.
type readerState struct{ word atomic.Uint64 }

const (
	reading  uint64 = iota // reads, decodes, dispatches, runs hooks; at first, prepares the connection
	parked                 // no goroutine: the poller waits for the connection
	waiting                // for the first byte of a message
	handling               // runs a handler
	phases          = 7

	onPoller    uint64 = 1 << 3 // the reader is the poll loop
	escaped     uint64 = 1 << 4 // the handler has asked for its session
	interrupted uint64 = 1 << 5 // the wait is to end

	generationShift = 8
)

func wordOf(generation, phase, flags uint64) uint64 {
	return generation<<generationShift | phase | flags
}
func phaseOf(w uint64) uint64      { return w & phases }
func generationOf(w uint64) uint64 { return w >> generationShift }

func (r *readerState) phase() uint64      { return phaseOf(r.word.Load()) }
func (r *readerState) generation() uint64 { return generationOf(r.word.Load()) }

// registered reports whether the poller knows the connection.
func (r *readerState) registered() bool {
	w := r.word.Load()
	return phaseOf(w) == parked || w&onPoller != 0
}

// next is the reader's: it goes to a phase in a new generation.
func (r *readerState) next(phase, flags uint64) (generation uint64) {
	generation = r.generation() + 1
	r.word.Store(wordOf(generation, phase, flags))
	return generation
}

func (r *readerState) park()                   { r.next(parked, 0) }
func (r *readerState) await() (wait uint64)    { return r.next(waiting, 0) }
func (r *readerState) begin() (handler uint64) { return r.next(handling, r.word.Load()&onPoller) }
func (r *readerState) resume() (wasEnded bool) {
	return r.word.Swap(wordOf(r.generation(), reading, 0))&interrupted != 0
}

// detach reports whether the reader was the poll loop; it is not any more.
func (r *readerState) detach() bool {
	w := r.word.Load()
	if w&onPoller == 0 {
		return false
	}
	r.word.Store(w &^ onPoller)
	return true
}

// unpark makes the caller the reader, as the poll loop or not. False: the connection
// is not parked.
func (r *readerState) unpark(flag uint64) bool {
	w := r.word.Load()
	return phaseOf(w) == parked && r.word.CompareAndSwap(w, wordOf(generationOf(w)+1, reading, flag))
}

// interrupt ends the wait that was seen as w.
func (r *readerState) interrupt(w uint64) bool {
	return phaseOf(w) == waiting && r.word.CompareAndSwap(w, w|interrupted)
}

// handler returns which handler the reader runs, 0 for none, and whether that has
// asked for its session.
func (r *readerState) handler() (handler uint64, asked bool) {
	if w := r.word.Load(); phaseOf(w) == handling {
		return generationOf(w), w&escaped != 0
	}
	return 0, false
}

// change replaces the word while the reader runs that handler. False: it does not.
func (r *readerState) change(handler uint64, f func(w uint64) uint64) bool {
	for {
		w := r.word.Load()
		if phaseOf(w) != handling || generationOf(w) != handler {
			return false
		}
		if r.word.CompareAndSwap(w, f(w)) {
			return true
		}
	}
}

// escape notes that the handler has asked for its session.
func (r *readerState) escape(handler uint64) {
	if now, asked := r.handler(); now == handler && !asked {
		r.change(handler, func(w uint64) uint64 { return w | escaped })
	}
}

// returned makes the goroutine of the handler the reader again. False: the reading was
// stolen from it.
func (r *readerState) returned(handler uint64) bool {
	return r.change(handler, func(w uint64) uint64 { return wordOf(handler, reading, w&onPoller) })
}

// steal makes the caller the reader in place of the goroutine of the handler.
func (r *readerState) steal(handler uint64) bool {
	return r.change(handler, func(w uint64) uint64 { return wordOf(handler+1, reading, w&onPoller) })
}

// reader is what a connection needs for being read. But for state, key and idleAt it
// belongs to the reader.
type reader struct {
	state   readerState
	cadence cadence
	current *handlerCtx          // accepted by the reader, and neither ended nor handed over
	exits   uint8                // how often PreReadHeader has ended the reader's goroutine since the last message
	lost    bool                 // nobody knows where the next frame begins
	loop    *poller.Loop         // that the reader runs, with onPoller
	slot    *watchdog.Slot[link] // nil: the watchdog does not see the reader
	key     atomic.Uint64        // a poller.Key

	// The sweep looks at the reader at idleAt, in the sweeper's time; 0: not before the
	// reader begins again. Then it has seen the word idleSeen.
	idleAt   atomic.Int64
	idleSeen uint64

	// See quietSince.
	quietSeen uint64
	quietAt   int64
}

// inReader reports whether the handler runs in the reader still. Then the reader
// flushes what it enqueues.
func (c *handlerCtx) inReader() bool {
	handler, _ := c.link.state.handler()
	return c.turn != 0 && c.turn == handler
}

// escape is called when the handler asks for its session, which it may use to call.
func (c *handlerCtx) escape() {
	if c.turn != 0 {
		c.link.state.escape(c.turn)
	}
}

// generation is the reader's: as long as isReader of it holds, no other goroutine is.
func (l *link) generation() uint64              { return l.state.generation() }
func (l *link) isReader(generation uint64) bool { return l.state.generation() == generation }
func (l *link) beginHandler() (handler uint64)  { return l.state.begin() }
func (l *link) endHandler(handler uint64) bool  { return l.state.returned(handler) }

// startReader starts the goroutine that reads from now on. The caller was the reader.
func (l *link) startReader() { go l.sess.run(l) }

// mayBlock is called by the reader before anything that may block: a wait for the
// network, or a hook. Nobody else waits for that then: not the other connections of the
// poller, nor the callers that have left their flush to the reader.
func (l *link) mayBlock() {
	l.releaseSlot()
	if l.sock != nil { // nil: a protocol reads while it is made
		l.sock.Uncork()
		l.sock.Flush(socket.NoBlock)
	}
	l.detach()
}

// acquireSlot makes sure that the watchdog sees the reader. If it returns false another
// goroutine has to run the handler. The reader calls it.
func (l *link) acquireSlot() bool {
	w := &l.env.watchdog
	switch {
	case !w.Awake():
		return false
	case l.slot == nil:
		l.slot = w.Acquire(l.sess.serial, l)
	default:
		w.Use()
	}
	return l.slot != nil
}

// releaseSlot ends that. The reader calls it.
func (l *link) releaseSlot() {
	if l.slot != nil {
		l.slot.Release()
		l.slot = nil
	}
}

// Handler is called by the watchdog.
func (l *link) Handler() uint64 {
	handler, _ := l.state.handler()
	return handler
}

// Steal lets a new goroutine read in place of the one that runs the handler.
func (l *link) Steal(handler uint64) {
	l.mu.Lock()
	stolen := l.state.steal(handler)
	if stolen {
		l.leave(l.current)
		l.current = nil
	}
	l.mu.Unlock()
	if stolen {
		l.releaseSlot()
		l.detach()
		l.startReader()
	}
}

// ensureReader is called after a call was sent: its reply has to be read by somebody.
func (l *link) ensureReader() {
	l.yieldReader()
	if !l.state.registered() {
		return
	}
	if x := l.poller().Current(); x != nil && x != l {
		x.yieldReader() // the caller may be the poll loop, which has to read the reply
	}
}

// yieldReader steals the reading from a handler that has asked for its session: it
// may be the caller.
func (l *link) yieldReader() {
	if handler, asked := l.state.handler(); asked {
		l.Steal(handler)
	}
}

func (l *link) poller() *poller.Poller[link, *link] {
	pollers := l.env.pollers
	return &pollers[l.sess.serial%uint32(len(pollers))]
}

// pollable reports whether the connection may be parked: whether something else than
// the protocol can tell that bytes have arrived.
func (l *link) pollable() bool { return l.sock.Pollable() != nil }

// usesPoller reports whether the poll loop should serve the session.
func (s *session) usesPoller() bool {
	return shouldUsePoller(s.env.hub.count(), s.env.hooks().mayBlock)
}

// park gives the reading to the poller. It is the reader's last act if it returns
// true.
func (l *link) park() bool {
	raw := l.sock.Pollable()
	if raw == nil || l.sock.Buffered() > 0 || l.kept != nil {
		return false
	}
	l.mayBlock()
	l.cadence.parked(l.env.sweeper.Now())
	l.state.park()
	if l.poller().Register(raw, l, func(k poller.Key) { l.key.Store(uint64(k)) }) != nil {
		return !l.state.unpark(0) // a close may have been faster
	}
	return true
}

// rearm is park on the poll loop, which serves the connection again when there is
// more. It returns false if this side has closed the connection meanwhile, which is no
// event.
func (l *link) rearm() bool {
	loop := l.loop
	l.releaseSlot()
	l.sock.Flush(socket.NoBlock)
	l.sock.ReleaseIfEmpty()
	l.loop = nil
	l.cadence.parked(l.env.sweeper.Now())
	l.state.park()
	if !l.shut.Load() || !l.state.unpark(onPoller) {
		return true
	}
	l.loop = loop
	return false
}

// OnReadable is called by the poll loop.
func (l *link) OnReadable(loop *poller.Loop) {
	if !l.state.unpark(onPoller) {
		return
	}
	l.loop = loop
	now := l.env.sweeper.Now()
	l.cadence.polled(now)
	if !l.sess.usesPoller() || l.cadence.shouldPoll(now) {
		l.detach()
	}
	l.sess.run(l)
}

// detach makes the goroutine the session's own, if it was the poll loop.
func (l *link) detach() {
	if !l.state.detach() {
		return
	}
	loop := l.loop
	l.loop = nil
	l.deregister()
	loop.Detach()
	l.scheduleIdleCheck()
}

func (l *link) deregister() { l.poller().Deregister(poller.Key(l.key.Load())) }

// close closes the connection; its reader notices. Any goroutine may call it.
func (l *link) close() {
	if l.state.registered() { // before: a descriptor of which there is a copy does not leave the poller by being closed
		l.deregister()
	}
	l.mu.Lock()
	conn := l.conn // which a hook may replace
	l.mu.Unlock()
	conn.Close()
	l.shut.Store(true)
	if l.state.unpark(0) {
		l.deregister()
		l.startReader()
	}
}

// idleAfter is how long a reader waits in vain before its connection is parked.
const idleAfter = int64(5 * time.Second)

var pastTime = time.Unix(1, 0)

// scheduleIdleCheck lets the sweep look at a reader that begins.
func (l *link) scheduleIdleCheck() {
	if l.pollable() {
		at := l.env.sweeper.Now() + idleAfter
		l.idleAt.Store(at)
		l.env.sweeper.Touch(l.sess, at)
	}
}

// wait waits until something has arrived. isParked says that the sweep has ended the wait,
// and that the connection was parked, which mayPark allows.
func (l *link) wait(mayPark bool) (isParked bool, err error) {
	for {
		l.mayBlock()
		l.state.await()
		err = l.sock.Wait()
		if !l.state.resume() {
			return false, err
		}
		l.mu.Lock() // until interruptIdle has set the deadline
		l.conn.SetReadDeadline(time.Time{})
		l.mu.Unlock()
		switch {
		case !errors.Is(err, os.ErrDeadlineExceeded):
			l.scheduleIdleCheck() // something has come meanwhile
			return false, err
		case mayPark:
			return l.park(), nil
		}
	}
}

// waitUnparked is wait that does not park the connection: a hook's context is held
// meanwhile. It returns at once if something is there already.
func (l *link) waitUnparked() error {
	if l.sock.Buffered() > 0 {
		return nil
	}
	_, err := l.wait(false)
	return err
}

// interruptIdle ends the wait of a reader that has waited since the last check. It
// returns when to check again. The sweep calls it.
func (l *link) interruptIdle(now int64) (next int64) {
	at := l.idleAt.Load()
	if at == 0 || now < at {
		return at
	}
	if l.state.registered() {
		l.idleAt.CompareAndSwap(at, 0)
		return l.idleAt.Load()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	word := l.state.word.Load()
	if word == l.idleSeen && l.state.interrupt(word) {
		l.idleAt.Store(0)
		l.conn.SetReadDeadline(pastTime)
		return 0
	}
	l.idleSeen = word
	l.idleAt.Store(now + idleAfter)
	return now + idleAfter
}

// quietSince returns when the reader was seen first where it is now, in the sweeper's
// time: since then nothing has arrived. The sweep calls it.
func (l *link) quietSince(now int64) int64 {
	word := l.state.word.Load()
	if p := phaseOf(word); word != l.quietSeen || p != parked && p != waiting {
		l.quietSeen, l.quietAt = word, now
	}
	return l.quietAt
}
