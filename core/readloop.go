package tp

import (
	"fmt"
	"net"
	"runtime"

	"github.com/teleport-go/teleport/core/internal/busypoll"
	"github.com/teleport-go/teleport/core/internal/inlining"
	"github.com/teleport-go/teleport/core/internal/poison"
	"github.com/teleport-go/teleport/core/internal/poller"
	"github.com/teleport-go/teleport/core/internal/throttle"
	"github.com/teleport-go/teleport/core/socket"
)

// This file holds what the reader of a connection does: it waits, reads a message, and
// runs the part of the message's path that is the reader's. Which goroutine is the
// reader, reader.go decides.

// readLoop is the state of one goroutine that reads connections.
type readLoop struct {
	s   *session
	l   *link  // nil: it does not read
	gen uint64 // the generation of l's state when this goroutine was its reader last
	in  place  // where user code runs, outside of a message

	next *handlerCtx  // for the next message; nil while the reader waits: an idle session should hold little memory
	used bool         // next was given out for a message since it was recycled
	loop *poller.Loop // that this goroutine ran when it began to read l; nil: it ran none
}

// place is where a reader is that runs user code which may end its goroutine.
type place uint8

const (
	_            place = iota
	beforeHeader       // in PreReadHeader
	inFrame            // in Unpack, which may run filters
)

// run reads the connection, unless another goroutine takes the reading over, and then
// leaves the end of it to endQueue.
func (s *session) run(l *link) { s.runFrom(l, nil) }

// runFrom is run. If ended is not nil it is why reading has ended: then runFrom owns the
// end of the connection and the session's, and reads on only if that redials.
func (s *session) runFrom(l *link, ended error) {
	r := readLoop{s: s}
	elsewhere, finished := false, false
	defer func() {
		switch {
		case elsewhere:
		case r.l == nil:
			if !finished { // the network has ended this goroutine
				s.setReason(&CloseReason{SideLocal, errExit, "redialing"})
				s.end()
			}
			s.release()
		case r.l.isReader(r.gen): // a hook, a handler or a codec has
			r.replace()
		}
	}()
	for l != nil {
		if ended == nil {
			r.l = l
			err := r.serve()
			elsewhere = true
			if err != errNotReader {
				r.l = nil
				l.leavePoller()
				s.env.ends.add(s.runFrom, l, err) // the clean-up may block
			}
			return
		}
		l.mayBlock()
		l.over.Fire()
		if s.endLink(l, readReason(l, ended)) {
			l, ended = s.redial(), nil
		} else {
			l = nil
		}
	}
	s.end()
	finished = true
}

// OnHangUp lets another goroutine read to the end of the connection, in its turn: when a
// crowd hangs up, the poll loop has others to serve.
func (l *link) OnHangUp() {
	if l.state.unpark(0) {
		l.deregister()
		l.env.ends.add(l.sess.runFrom, l, nil)
	}
}

// replace starts another goroutine that reads, in place of this one, which ends.
func (r *readLoop) replace() {
	l := r.l
	switch r.in {
	case beforeHeader:
		l.exits++
		l.logExit("PreReadHeader")
	case inFrame:
		l.lost = true
		l.kill(SideLocal, errExit, readingFrame)
		l.logExit("reading a message")
	}
	l.detach()
	l.startReader()
}

// serve reads messages and dispatches them until the connection ends, and returns
// why. It never blocks on room to write.
func (r *readLoop) serve() error {
	s, l := r.s, r.l
	if l.lost {
		return net.ErrClosed
	}
	if r.loop = l.loop; r.loop == nil {
		l.scheduleIdleCheck()
	} else if sp := sparesOf(r.loop); sp != nil {
		sp.lend(l)
	}
	l.sock.ReadAhead(min(s.env.cfg.SessionMemory/4, mostAhead))
	if err := r.serveKept(); err != nil {
		return err
	}
	defer func() {
		r.dropNext()
		if l.isReader(r.gen) {
			l.abandon()
		}
	}()
	for {
		// Between two messages: a drain may wait for that, a move for the reading; memory may be used up.
		r.gen = l.generation()
		if l.sock.Dispatched() {
			s.becameIdle()
		}
		if l.wanted.Load() && l.yield() {
			return errNotReader
		}
		if l.refuses {
			l.refuses = s.full()
		}
		if s.overBudget() {
			l.pauseWhile(s.overBudget)
		}
		// Wait for a message: with a context if hooks need it, else without one.
		if len(s.env.hooks().preReadHeader) > 0 {
			if l.sock.Buffered() == 0 {
				l.mayBlock()
			}
			if err := r.beforeHeader(r.makeNext()); err != nil {
				return err
			}
		} else if err := r.await(); err != nil {
			return err
		}
		c := r.makeNext()
		// Read it; a part of it has come.
		r.gen = l.generation()
		if l.cadence.needsRead(l.sock.Buffered()) {
			l.sock.Uncork() // callers must not wait for that either
			l.sock.Flush(socket.NoBlock)
		}
		r.in = inFrame
		err := l.sock.ReadInto(&c.in)
		r.in = 0
		c.arrived = l.sock.TakeMemory()
		if err != nil {
			if again, err := r.notRead(c, err); err != nil {
				return err
			} else if again {
				continue
			}
		}
		// Dispatch it, when there is room for it.
		if l.silent {
			l.silent = false
			l.logAccepted()
		}
		if !l.cadence.message(c.in.Size()) {
			l.detach()
		}
		if c.in.Mtype() == TypePush && s.work.running() >= s.env.live.Load().MaxHandlers {
			l.pauseWhile(s.full)
		}
		r.next = nil // dispatch owns it, also if a handler calls runtime.Goexit
		switch r.dispatch(c) {
		case reuse:
			c.recycle()
			r.next, r.used = c, false
		case stolen:
			return errNotReader
		}
	}
}

// notRead handles an error of reading a message. It returns why reading has ended, or whether
// to read again: else the message, of which the header is known, is to be refused.
func (r *readLoop) notRead(c *handlerCtx, err error) (again bool, fatal error) {
	if r.l.wasInterrupted(err) { // in the middle of a message, of which nothing has been taken
		c.recycle()
		return true, nil
	}
	dropped, fatal := c.unreadable(err)
	if dropped && fatal == nil {
		c.recycle()
	}
	return dropped, fatal
}

// makeNext returns the context for the next message.
func (r *readLoop) makeNext() *handlerCtx {
	if r.next == nil {
		if sp := sparesOf(r.loop); sp != nil && sp.c != nil {
			r.next, sp.c = sp.c, nil
			r.next.attach(r.l)
		} else {
			r.next = getCtx(r.l)
		}
	}
	r.next.sess, r.used = r.s, true
	return r.next
}

// dropNext leaves next to the next connection of the poll loop, or to the pool.
func (r *readLoop) dropNext() {
	c := r.next
	if c == nil {
		return
	}
	r.next = nil
	sp := sparesOf(r.loop)
	if sp == nil || r.used || poison.On() {
		putCtx(c)
		return
	}
	c.sess, c.link = nil, nil // but not c.named: all connections of a loop have the same routes
	sp.c = c
}

// serveKept dispatches the requests that PreCall has kept, as if they arrived now.
func (r *readLoop) serveKept() error {
	l := r.l
	for l.kept != nil {
		c := l.kept.list[0]
		if l.kept.list = l.kept.list[1:]; len(l.kept.list) == 0 {
			l.kept = nil
		}
		r.gen = l.generation()
		l.mayBlock()
		r.in = beforeHeader
		err := c.preReadHeader()
		r.in = 0
		if err != nil {
			putCtx(c)
			return &frameError{err}
		}
		r.gen = l.generation()
		switch r.dispatch(c) {
		case reuse:
			putCtx(c)
		case stolen:
			return errNotReader
		}
	}
	return nil
}

// beforeHeader runs the PreReadHeader hooks and waits for a message. A hook that ends its
// goroutine runs once more when something has come, so that it does not run again and again
// for nothing; if it does so again that message is refused.
func (r *readLoop) beforeHeader(c *handlerCtx) error {
	l := r.l
	if l.exits > 0 {
		if err := l.waitUnparked(); err != nil {
			return err
		}
		r.gen = l.generation()
	}
	if l.exits < 2 {
		r.in = beforeHeader
		if err := c.preReadHeader(); err != nil {
			r.in = 0
			return &frameError{err}
		}
		r.in = 0
	} else {
		c.refusal = goexitRerror()
	}
	l.exits = 0
	return l.waitUnparked()
}

func (c *handlerCtx) preReadHeader() error {
	for _, p := range c.sess.env.hooks().preReadHeader {
		if err := plainHook(p, func() error { return p.PreReadHeader(c) }); err != nil {
			return fmt.Errorf("[PreReadHeaderPlugin:%s] %w", p.Name(), err)
		}
	}
	return nil
}

// dispatch runs the reader's part of the path of the message in c.
func (r *readLoop) dispatch(c *handlerCtx) disposition {
	switch c.in.Mtype() {
	case TypeReply:
		return c.acceptReply()
	case TypeAuthReply:
		if r.s.answersCall(c) {
			return c.acceptReply()
		}
	case TypeCall, TypePush:
		d := c.acceptRequest()
		if d == inline {
			return r.runInline(c)
		}
		return d
	case TypeAuthCall:
		return c.acceptAuth()
	case TypeControl:
		r.l.acceptControl(&c.in)
		return reuse
	case TypeData:
		c.acceptData()
		return reuse
	}
	s := r.s
	if s.answersCall(c) {
		c.refusal = c.ofWrongType()
		return c.acceptReply()
	}
	s.env.stats.droppedMessages.Add(1)
	s.env.throttled(&s.drops, throttle.Burst, WARNING, "dropped a message from %s: %d %s: type %d (%s), method %q, seq %d",
		r.l.ip, CodeMtypeNotAllowed, CodeText(CodeMtypeNotAllowed), c.in.Mtype(), TypeText(c.in.Mtype()), methodText(c.in.ServiceMethod()), c.in.Seq())
	return reuse
}

// answersCall reports whether a message of another type than REPLY has the number of a
// pending call, which would wait in vain for another answer.
func (s *session) answersCall(c *handlerCtx) bool { return s.pending.Has(c.in.Seq()) }

// await returns when something has arrived. The error is errNotReader if the
// connection was parked.
func (r *readLoop) await() error {
	s, l := r.s, r.l
	if l.sock.Buffered() > 0 {
		return nil
	}
	if l.loop != nil {
		if done, err := r.awaitPolled(); done {
			return err
		}
	}
	batch := l.cadence.endBatch()
	if s.usesPoller() && (s.hasLoops() || l.cadence.shouldPark(s.env.sweeper.Now())) && l.park() {
		return errNotReader
	}
	for l.sock.Buffered() == 0 && l.pollable() {
		began := s.env.sweeper.Now()
		ended, some, err := r.busyPoll(began, batch)
		if !some && err == nil {
			r.dropNext()
			var isParked bool
			if isParked, err = l.wait(true); isParked {
				return errNotReader
			}
			ended = s.env.sweeper.Now()
		}
		l.cadence.observeWait(ended - began)
		if err != nil {
			return err
		}
	}
	if l.sock.Buffered() == 0 {
		r.dropNext()
	}
	return l.waitUnparked()
}

// awaitPolled is await on the poll loop. If done is false, the goroutine is not the
// poll loop any more, and must wait as an ordinary reader.
func (r *readLoop) awaitPolled() (done bool, err error) {
	l := r.l
	for l.sock.Buffered() == 0 {
		if !l.pollable() || l.roams && l.hasRoamed() { // only the protocol, or the connection, knows whether bytes are there
			l.detach()
			return false, nil
		}
		if l.cadence.reads > 0 && l.sock.LastReadShort() && l.rearm() {
			return true, errNotReader
		}
		if !l.cadence.polledRead() {
			l.detach()
			return false, nil
		}
		l.sock.Flush(socket.NoBlock)
		some, err := l.sock.TryWait()
		if err != nil {
			return true, err
		}
		if !some && l.rearm() {
			return true, errNotReader
		}
	}
	return true, nil
}

// busyPoll polls for bytes, at most for PeerConfig.BusyPoll, if the next message will
// come soon: to wake a thread that sleeps costs both ends more than a few polls. Other
// goroutines run between the polls. last is when it found nothing for the last time, about
// when the wait has ended: so no clock is read between the arrival of a message and its
// handler.
func (r *readLoop) busyPoll(began int64, batch int32) (last int64, some bool, err error) {
	s, l := r.s, r.l
	most := int64(s.env.cfg.BusyPoll)
	if !l.cadence.shouldPoll(began) || most < 0 || !busypoll.Begin() {
		return began, false, nil
	}
	defer busypoll.End()
	handled := l.slot != nil
	l.releaseSlot()
	last = began
	if !handled || batch > 1 && l.sock.Corked() {
		if handled {
			l.sock.Flush(socket.NoBlock) // replies of handlers must not wait for the callers below
		}
		// The callers of this batch call again, before a poll delays them, and all their calls
		// become one write. The time that they take is a part of the wait.
		runtime.Gosched()
		last = s.env.sweeper.Now()
	}
	for {
		l.sock.Flush(socket.NoBlock)
		if some, err = l.sock.TryWait(); some || err != nil {
			return last, some, err
		}
		runtime.Gosched()
		now := s.env.sweeper.Now()
		if !l.cadence.polledAgain(last, now) || now-began >= most {
			return last, false, nil
		}
		last = now
	}
}

// runInline runs the handler in c on the reader's goroutine: to hand the message to
// another goroutine would cost more than the handler. A slow handler does not keep the
// connection from being read: a call that it makes on its own session steals the
// reading at once (ensureReader), and the watchdog steals it if the handler does not
// return.
func (r *readLoop) runInline(c *handlerCtx) (d disposition) {
	s, l, h := r.s, r.l, c.handler
	polled, since := l.loop != nil, l.cadence.at
	l.sock.Uncork()
	c.startSample()
	c.flushes = l.sock.Buffered() == 0
	c.turn = l.beginHandler() // from here on another goroutine may steal the reading
	r.gen = c.turn
	if inlining.Always {
		go l.Steal(c.turn) // in tests, without waiting for the watchdog
	}
	complete := false
	defer func() { // also of the answer that abandon gives
		d = moved
		switch {
		case !l.endHandler(c.turn):
			d = stolen
			l.delist(c)
			now := s.env.sweeper.Now()
			h.inlining.Slow(now, polled && now-since > longWait) // the reading may be stolen by a call that somebody else makes
		case !complete: // runtime.Goexit; run sees to the reading
			l.current = nil
		default:
			l.current = nil
			if !poison.On() {
				c.retire()
				d = reuse
			}
		}
		n := c.bytes
		if d != reuse {
			putCtx(c)
		}
		s.handlerDone(n)
	}()
	defer c.abandon(false)
	reply, rerr := c.run()
	c.answer(reply, rerr)
	complete = true
	return d
}
