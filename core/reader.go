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

// reader holds what a connection needs for being read. All fields except state, key
// and idleAt belong to the goroutine that is the reader.
type reader struct {
	state   readerState
	cadence cadence
	current *handlerCtx          // accepted by the reader, and neither ended nor handed over
	exits   uint8                // how often PreReadHeader has ended the reader's goroutine since the last message
	lost    bool                 // nobody knows where the next frame begins
	roams   bool                 // the descriptor of the connection may change
	refuses bool                 // it has paused for as long as it may; see pauseWhile
	taken   int32                // number of the last CALL that was not refused by draining; 0: none
	loop    *poller.Loop         // that the reader runs, with onPoller
	slot    *watchdog.Slot[link] // nil: the watchdog does not see the reader
	key     atomic.Uint64        // a poller.Key

	// The sweeper checks at idleAt, in its time, whether the reader is idle; 0: not
	// before a reader starts again. idleSeen is the state's word at the last check, and
	// belongs to the sweeper.
	idleAt   atomic.Int64
	idleSeen uint64

	// See quietSince.
	quietSeen uint64
	quietAt   int64
}

// inReader reports whether the handler still runs on the reader's goroutine. Then the
// reader flushes what the handler enqueues.
func (c *handlerCtx) inReader() bool {
	handler, _ := c.link.state.handler()
	return c.turn != 0 && c.turn == handler
}

// escape is called when the handler gets its session or peer, with which it can call.
func (c *handlerCtx) escape() {
	if c.turn != 0 {
		c.link.state.escape(c.turn)
	}
}

// generation returns the state's generation. The reader calls it: as long as isReader
// returns true for the result, no other goroutine has become the reader.
func (l *link) generation() uint64              { return l.state.generation() }
func (l *link) isReader(generation uint64) bool { return l.state.generation() == generation }
func (l *link) beginHandler() (handler uint64)  { return l.state.begin() }
func (l *link) endHandler(handler uint64) bool  { return l.state.returned(handler) }

// startReader starts a goroutine that is the reader from now on. The caller was the
// reader, and is not any more.
func (l *link) startReader() { go l.sess.run(l) }

// mayBlock is called by the reader before it may block, on the network or in a hook. So
// its block holds up neither the other connections of the poller nor the callers that
// have left their flush to the reader.
func (l *link) mayBlock() {
	l.releaseSlot()
	if l.sock != nil { // nil while the socket is made, when the protocol may read already
		l.sock.Uncork()
		l.sock.Flush(socket.NoBlock)
	}
	l.detach()
}

// acquireSlot lets the watchdog watch the reader. If it returns false, the handler must
// run on another goroutine. Only the reader calls it.
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

// releaseSlot ends the watch of the watchdog. Only the reader calls it.
func (l *link) releaseSlot() {
	if l.slot != nil {
		l.slot.Release()
		l.slot = nil
	}
}

// Handler returns the generation of the handler that the reader runs, 0 for none. The
// watchdog calls it.
func (l *link) Handler() uint64 {
	handler, _ := l.state.handler()
	return handler
}

// Steal starts a goroutine that reads in place of the one that runs the handler. The
// watchdog calls it too.
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

// ensureReader is called after a call was sent. If the caller's own goroutine is the one
// that has to read the reply, since it is in a handler that the reader or the poll loop
// runs, another goroutine takes the reading over.
func (l *link) ensureReader() {
	l.yieldReader()
	if l.state.phase() == paused {
		l.sess.work.signal() // it must read the reply
	}
	if !l.state.registered() {
		return
	}
	if x := l.poller().Current(); x != nil && x != l {
		x.yieldReader() // the caller may be the poll loop, which has to read the reply
	}
}

// yieldReader steals the reading from a handler that has escaped, since that may be the
// goroutine that waits for the reply.
func (l *link) yieldReader() {
	if handler, hasEscaped := l.state.handler(); hasEscaped {
		l.Steal(handler)
	}
}

func (l *link) poller() *poller.Poller[link, *link] {
	pollers := l.env.pollers
	return &pollers[l.sess.serial%uint32(len(pollers))]
}

// pollable reports whether the connection may be parked: whether the poller, not only
// the protocol, can find out that bytes have arrived.
func (l *link) pollable() bool { return l.sock.Pollable() != nil }

// usesPoller reports whether the poll loop should serve the session.
func (s *session) usesPoller() bool {
	sessions := s.env.hub.count()
	if s.hasLoops() {
		sessions = minPolledSessions
	}
	return shouldUsePoller(sessions, s.env.hooks().mayBlock)
}

// hasLoops reports whether the peer has event loops: then each burst of messages begins on
// one, and no reader waits.
func (s *session) hasLoops() bool { return s.env.cfg.Loops > 0 }

// park leaves the connection to the poller. If it returns true, the caller is not the
// reader any more.
func (l *link) park() bool {
	raw := l.sock.Pollable()
	if raw == nil || l.kept != nil || !l.sock.Settled() {
		return false
	}
	l.mayBlock()
	l.sock.ReleaseIfEmpty()
	l.cadence.parked(l.env.sweeper.Now())
	c, roams := l.sock.NetConn().(socket.Roaming)
	if l.roams = roams; roams {
		if raw = c.Watch(l.roamed); raw == nil {
			return false
		}
	}
	l.state.park()
	if l.poller().Register(raw, l, func(k poller.Key) { l.key.Store(uint64(k)) }) != nil {
		return !l.state.unpark(0) // false: a concurrent close has unparked it, and started a reader
	}
	if (l.shut.Load() || roams && c.Roamed()) && l.state.unpark(0) { // Register need not fail: the descriptor of a Pollable may outlive its Close
		l.deregister()
		return false
	}
	return true
}

// rearm is park for the poll loop, whose registration stays. It returns false if this
// side has closed the connection meanwhile, or its descriptor has changed, since the poller
// reports no event for that.
func (l *link) rearm() bool {
	loop, roams := l.loop, l.roams
	l.releaseSlot()
	l.sock.Flush(socket.NoBlock)
	sp := sparesOf(loop)
	if sp != nil {
		sp.buf = l.sock.TakeEmpty()
	} else {
		l.sock.ReleaseIfEmpty()
	}
	l.loop = nil
	l.state.park()
	if !l.shut.Load() && !(roams && l.hasRoamed()) || !l.state.unpark(onPoller) {
		return true
	}
	l.loop = loop
	if sp != nil {
		sp.lend(l)
	}
	return false
}

// hasRoamed reports whether the descriptor of a connection that may change it is not the
// one that the poller waits with.
func (l *link) hasRoamed() bool { return l.sock.NetConn().(socket.Roaming).Roamed() }

// roamed is called when the descriptor of the connection has changed: if it was parked, a
// reader waits until it can be parked again. Any goroutine may call it.
func (l *link) roamed() {
	if l.state.unpark(0) {
		l.deregister()
		l.startReader()
	}
}

// OnReadable serves the connection on the poll loop, which calls it when bytes arrive.
func (l *link) OnReadable(loop *poller.Loop) {
	if !l.state.unpark(onPoller) {
		return
	}
	l.loop = loop
	now := l.env.sweeper.Now()
	l.cadence.polled(now)
	if !l.sess.usesPoller() || l.cadence.shouldPoll(now) && !l.sess.hasLoops() {
		l.detach()
		loop.Local = nil // this goroutine is the session's own from now on
	}
	l.sess.run(l)
}

// detach makes the goroutine the session's own, if it is the poll loop. The poller then
// starts another loop.
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

// leavePoller lets the goroutine go on with other connections, if it is the poll loop:
// nothing is read from this one any more.
func (l *link) leavePoller() {
	l.releaseSlot()
	if l.state.detach() {
		l.loop = nil
		l.deregister()
	}
}

func (l *link) deregister() { l.poller().Deregister(poller.Key(l.key.Load())) }

// close closes the connection, and starts a reader if it was parked: the reader cleans
// up. Any goroutine may call it.
func (l *link) close() {
	if l.state.registered() { // before closing: a descriptor with a duplicate stays in the poller when it is closed
		l.deregister()
	}
	l.mu.Lock()
	conn := l.conn // which a hook may replace
	l.mu.Unlock()
	conn.Close()
	l.shut.Store(true)
	l.sess.work.signal()
	if l.state.unpark(0) {
		l.deregister()
		l.startReader()
	}
}

// idleAfter is how long a reader waits without a message before its connection is
// parked.
const idleAfter = int64(5 * time.Second)

var pastTime = time.Unix(1, 0)

// scheduleIdleCheck lets the sweeper check a reader that starts.
func (l *link) scheduleIdleCheck() {
	if l.roams || l.pollable() {
		at := l.env.sweeper.Now() + idleAfter
		l.idleAt.Store(at)
		l.env.sweeper.Touch(l.sess, at)
	}
}

// wait waits until bytes have arrived. isElsewhere says that the wait has been ended and
// that the caller is not the reader any more: the connection was parked, which mayPark
// allows, or is held.
func (l *link) wait(mayPark bool) (isElsewhere bool, err error) {
	for {
		l.mayBlock()
		l.state.await()
		err = l.sock.Wait()
		idle := l.state.resume()
		if !idle && !l.wasInterrupted(err) {
			return false, err
		}
		l.mu.Lock() // until interruptIdle has set the deadline
		l.conn.SetReadDeadline(time.Time{})
		l.mu.Unlock()
		switch {
		case l.yield():
			return true, nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			l.scheduleIdleCheck() // bytes have arrived meanwhile
			return false, err
		case mayPark && idle:
			return l.park(), nil
		}
	}
}

// waitUnparked is wait that does not park the connection: a hook's context is held
// meanwhile. It returns at once if something is there already. The error is errNotReader if
// the connection is held.
func (l *link) waitUnparked() error {
	if l.sock.Buffered() > 0 {
		return nil
	}
	elsewhere, err := l.wait(false)
	if elsewhere {
		err = errNotReader
	}
	return err
}

// interruptIdle ends the wait of a reader that has waited since the last check. It
// returns when to check again, 0 for never. The sweeper calls it.
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

// quietSince returns since when the state's word has not changed, in the sweeper's time:
// since then nothing has arrived. The sweeper calls it.
func (l *link) quietSince(now int64) int64 {
	word := l.state.word.Load()
	if p := phaseOf(word); word != l.quietSeen || p != parked && p != waiting {
		l.quietSeen, l.quietAt = word, now
	}
	return l.quietAt
}

// interruptRead ends the wait of the reader, so that it looks whether to yield.
func (l *link) interruptRead() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch word := l.state.word.Load(); {
	case l.state.interrupt(word): // so that the reader clears the deadline before it reads on
		l.conn.SetReadDeadline(pastTime)
	case phaseOf(word) == reading && l.sock.Repeats():
		l.readInterrupted = true
		l.conn.SetReadDeadline(pastTime)
	}
}

// endInterrupt takes the deadline of interruptRead back. If the reader has done so already,
// endInterrupt leaves the deadline alone: it may be that of a message that arrives.
func (l *link) endInterrupt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.readInterrupted || l.state.word.Load()&interrupted != 0 {
		l.conn.SetReadDeadline(time.Time{}) // a reader whose Read has failed already sees why in the same two flags
	}
}

// wasInterrupted reports whether the error of a read is due to interruptRead.
func (l *link) wasInterrupted(err error) bool {
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.readInterrupted
	if l.readInterrupted = false; was {
		l.conn.SetReadDeadline(time.Time{})
	}
	return was
}

// yield leaves the reading to a goroutine that moves the connection, if there is one: then
// the caller is not the reader any more. The reader calls it between two messages, or when it
// has taken nothing of one.
func (l *link) yield() bool {
	if !l.wanted.Load() || l.kept != nil || l.lost || l.sock.Ahead() > 0 {
		return false
	}
	l.mayBlock()
	offer := l.state.offer()
	return l.wanted.Load() || !l.state.recall(offer)
}
