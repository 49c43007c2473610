package tp

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/teleport-go/teleport/core/internal/pace"
	"github.com/teleport-go/teleport/core/internal/poison"
	"github.com/teleport-go/teleport/core/socket"
)

// A handler that is known to be short (see pace.Pace) is run by the reader itself:
// handing the message to another goroutine would cost more than the handler. Two
// guards see to it that a session is read all the same while a handler takes its
// time: a call that the handler makes on its own session hands the reading over
// to a new goroutine at once, and a watchdog does when a handler does not return.
//
// The reading belongs to whoever wins the link's turn: the reader stores a number
// of its own before the handler, and both guards, and the reader afterwards, try
// to swap that for 0.

var errHandedOver = errors.New("another goroutine reads the connection")

// sampled is how many messages of a handler there are to one whose time is taken.
const sampled = 16

// handleHere is handle on the reader's goroutine.
func (c *handlerCtx) handleHere() (f fate) {
	s, l, h := c.sess, c.link, c.handler
	l.turns++
	turn := l.turns
	c.turn = turn
	if turn%sampled == 0 {
		c.began = s.env.sweeper.Now()
	}
	visit, since := l.keeper != nil, l.visited
	if visit {
		s.lot().inside.Store(l)
	}
	l.unattend()
	me := l.reader.Load()
	l.turn.Store(turn) // from here on the reading may be somebody else's
	if pace.Always {
		go l.handOver(turn) // tests do not wait for the watchdog
	}
	worked, ended := false, false
	defer func() { // what the deferred answer below ends, too, comes here
		mine := l.turn.CompareAndSwap(turn, 0)
		if visit && mine {
			s.lot().inside.Store(nil)
		}
		f = taken
		switch {
		case !mine:
			f = handedOver
			l.reader.CompareAndSwap(me, me+1) // who took it may not have got so far: if this goroutine is ended, run must not read
			now := s.env.sweeper.Now()
			h.pace.Slow(now, visit && now-since > longWait) // a call of anybody's may have taken the reading
		case !ended: // runtime.Goexit; run sees to the reading
		case !poison.On():
			c.retire()
			f = kept
		}
		if f != kept {
			putCtx(c)
		}
		s.handlerDone()
	}()
	defer func() {
		if !worked {
			c.end(nil, goexitRerror())
		}
	}()
	reply, r := c.work()
	worked = true
	c.end(reply, r)
	ended = true
	return f
}

// reading reports whether this handler runs in the goroutine that reads. What is
// enqueued before that is asked is flushed by whoever reads next.
func (c *handlerCtx) reading() bool { return c.turn != 0 && c.link.turn.Load() == c.turn }

// asked is live for a handler that may be about to use its session.
func (c *handlerCtx) asked() *session {
	s := c.live()
	if c.turn != 0 {
		c.link.reach.Store(c.turn)
	}
	return s
}

// sample tells the handler's pace how long it took.
func (c *handlerCtx) sample() {
	if c.began == 0 || c.handler == nil || c.handler.unknown || c.handler.ordered {
		return
	}
	now := c.sess.env.sweeper.Now()
	w := &c.sess.env.watch
	if c.handler.pace.Sample(now, now-c.began) || c.handler.pace.Here() && !w.awake.Load() {
		w.wake() // or again, after a pause
	}
	c.began = 0
}

// handOver lets a new goroutine read, if the reader is in a handler and this is
// still its turn.
func (l *link) handOver(turn uint64) {
	if !l.turn.CompareAndSwap(turn, 0) {
		return
	}
	l.leaveSeat()
	if l.keeper != nil {
		l.sess.lot().inside.Store(nil)
		l.endVisit()
	}
	l.read()
}

// callsBack is asked after a call was sent: its reply has to be read by somebody.
func (l *link) callsBack() {
	l.giveUp()
	if l.place.Load() == itself {
		return
	}
	if x := l.sess.lot().inside.Load(); x != nil && x != l {
		x.giveUp() // who calls may be the keeper that has to read the reply
	}
}

// giveUp hands the reading over if the reader is in a handler that has asked for
// its session.
func (l *link) giveUp() {
	if turn := l.turn.Load(); turn != 0 && l.reach.Load() == turn {
		l.handOver(turn)
	}
}

// beforeRead is called by the reader before each read from the network.
func (l *link) beforeRead() {
	l.pause()
	if !l.trying {
		l.aside()
	}
}

// pause is for a reader that has nothing to do at the moment.
func (l *link) pause() {
	if l.seat != nil {
		l.leaveSeat()
	}
	if l.sock != nil { // else a protocol reads while it is made
		l.sock.Flush(socket.NoBlock)
	}
}

// attend says that the reader flushes before long: it is busy with replies, or polls.
// Until it says otherwise, callers whose replies it has to read anyway leave their
// calls to it. So what the callers of a batch of replies call next is one write, and
// none of them has to wait until the others have appended. A reader that attends runs
// no handler and no hook that may wait; codecs, filters and the log of asynchronous
// calls it does run.
func (l *link) attend() {
	if !l.attends.Load() && l.keeper == nil && l.sock.Descriptor() != nil {
		l.attends.Store(true)
	}
}

// unattend ends that, before anything that may take its time. It flushes: a call that
// was enqueued before is left to that, one that comes later sees that nobody attends.
func (l *link) unattend() {
	if l.attends.Load() {
		l.attends.Store(false)
		l.sock.Flush(socket.NoBlock)
	}
}

// aside is called before what may wait: nobody else is to wait for that.
func (l *link) aside() {
	l.unattend()
	l.endVisit()
}

// leaveSeat is for whoever has the reading.
func (l *link) leaveSeat() {
	if l.seat != nil {
		l.seat.link.Store(nil)
		l.seat = nil
	}
}

// takeSeat gets the reader a place where the watchdog looks at it.
func (s *session) takeSeat(l *link) bool {
	w := &s.env.watch
	if !w.awake.Load() {
		return false
	}
	if l.seat == nil {
		seat := &w.seats[s.place%uint32(len(w.seats))]
		if !seat.link.CompareAndSwap(nil, l) {
			return false // taken; the message goes the usual way
		}
		if !w.awake.Load() { // it went to sleep, perhaps before it could see this
			seat.link.Store(nil)
			return false
		}
		l.seat = seat
	}
	if !w.used.Load() {
		w.used.Store(true)
	}
	return true
}

const (
	watchPeriod = 2 * time.Millisecond
	watchLooks  = 4  // at one and the same handler: a busy system takes the processor away for a few milliseconds
	watchRest   = 20 // periods without a handler after which the watchdog sleeps
)

// watch is a peer's watchdog over handlers that readers run. It is awake only
// while there are such.
type watch struct {
	awake atomic.Bool
	used  atomic.Bool // since the last look
	seats []seat
	next  atomic.Uint32

	mu      sync.Mutex // guards what follows
	closing chan struct{}
	closed  bool
	wg      sync.WaitGroup
}

// seat is where a reader sits while it may run handlers.
type seat struct {
	link atomic.Pointer[link]
	was  *link // what the watchdog saw at its last look, the turn, and how often
	turn uint64
	seen int
	_    [32]byte // seats do not share a cache line
}

func (w *watch) init() {
	w.seats = make([]seat, min(16*runtime.GOMAXPROCS(0), 256))
	w.closing = make(chan struct{})
	if pace.Always {
		w.wake()
	}
}

// wake starts the watchdog, and lets readers run handlers.
func (w *watch) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.awake.Load() {
		return
	}
	w.awake.Store(true)
	w.wg.Go(w.run)
}

// close ends the watchdog. Readers must not run handlers any more.
func (w *watch) close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.closing)
	}
	w.mu.Unlock()
	w.wg.Wait()
}

func (w *watch) run() {
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	for rest := 0; ; {
		select {
		case <-tick.C:
		case <-w.closing:
			w.awake.Store(false)
			return
		}
		if w.look() || w.used.Load() || pace.Always {
			rest = 0
			w.used.Store(false)
		} else if rest++; rest >= watchRest && w.sleep() {
			return
		}
	}
}

// look hands the reading over from each handler that was there at the last looks
// already. It reports whether there is a reader to be watched.
func (w *watch) look() (any bool) {
	for i := range w.seats {
		s := &w.seats[i]
		l := s.link.Load()
		turn := uint64(0)
		if l != nil {
			any = true
			turn = l.turn.Load()
		}
		if turn == 0 || l != s.was || turn != s.turn {
			s.was, s.turn, s.seen = l, turn, 1
		} else if s.seen++; s.seen >= watchLooks {
			l.handOver(turn)
			s.was = nil
		}
	}
	return any
}

// sleep reports whether the watchdog may end: nobody sits anywhere.
func (w *watch) sleep() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.awake.Store(false)
	for i := range w.seats {
		if w.seats[i].link.Load() != nil {
			w.awake.Store(true) // it sat down meanwhile
			return false
		}
	}
	return true
}
