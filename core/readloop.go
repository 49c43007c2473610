package tp

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/teleport-go/teleport/core/internal/busypoll"
	"github.com/teleport-go/teleport/core/internal/inlining"
	"github.com/teleport-go/teleport/core/internal/poison"
	"github.com/teleport-go/teleport/core/internal/throttle"
	"github.com/teleport-go/teleport/core/socket"
)

// What the reader of a connection does: it waits, reads a message, and runs the part of
// its road that belongs to it. Who the reader is, is reader.go's.

// errNotReader says that this goroutine does not read the connection any more.
var errNotReader = errors.New("tp: the connection is read elsewhere")

// readLoop is one goroutine while it reads a connection.
type readLoop struct {
	s   *session
	l   *link  // nil: it does not read
	gen uint64 // the generation of l's state when this goroutine was its reader last
}

// run reads the connection, and owns its end and the session's, unless another
// goroutine takes the reading over.
func (s *session) run(l *link) {
	r := readLoop{s: s}
	elsewhere := false
	defer func() {
		switch {
		case elsewhere:
		case r.l == nil:
			s.env.sessions.Done()
		case r.l.isReader(r.gen): // a hook or a handler has ended this goroutine
			r.l.detach()
			r.l.startReader()
		}
	}()
	for l != nil {
		r.l = l
		err := r.serve()
		if err == errNotReader {
			elsewhere = true
			return
		}
		r.l = nil
		l.mayBlock() // nothing is read any more, but the end may take its time
		l.over.Fire()
		if s.settleLink(l, readReason(l, err)) {
			l = s.redial()
		} else {
			l = nil
		}
	}
	s.finish()
}

// serve reads messages and dispatches them until the connection ends, and returns
// why. It never waits for room to write.
func (r *readLoop) serve() error {
	s, l := r.s, r.l
	if l.loop == nil {
		l.scheduleIdleCheck()
	}
	var c *handlerCtx // nil while it waits: an idle session holds no more than it must
	defer func() {
		if c != nil {
			putCtx(c)
		}
	}()
	for {
		r.gen = l.generation()
		if len(s.env.hooks().preReadHeader) > 0 {
			if c == nil {
				c = getCtx(l)
			}
			c.sess = s
			if l.sock.Buffered() == 0 {
				l.mayBlock()
			}
			if err := c.preReadHeader(); err != nil {
				return &frameError{err}
			}
			if err := l.sock.Wait(); err != nil {
				return err
			}
		} else {
			if c != nil && l.sock.Buffered() == 0 {
				putCtx(c)
				c = nil
			}
			if err := r.await(); err != nil {
				return err
			}
			if c == nil {
				c = getCtx(l)
			}
			c.sess = s
		}
		r.gen = l.generation()
		if err := l.sock.ReadInto(&c.in); err != nil {
			dropped, fatal := c.unreadable(err)
			if fatal != nil {
				return fatal
			}
			if dropped {
				c.recycle()
				continue
			}
		}
		if !l.cadence.message(c.in.Size()) {
			l.detach()
		}
		given := c
		c = nil // in case that a handler ends the goroutine
		switch r.dispatch(given) {
		case reuse:
			c = given
			c.recycle()
		case stolen:
			return errNotReader
		}
	}
}

func (c *handlerCtx) preReadHeader() error {
	for _, p := range c.sess.env.hooks().preReadHeader {
		if err := plainHook(p, func() error { return p.PreReadHeader(c) }); err != nil {
			return fmt.Errorf("[PreReadHeaderPlugin:%s] %w", p.Name(), err)
		}
	}
	return nil
}

// dispatch takes the message in c through the part of its road that belongs to the
// reader.
func (r *readLoop) dispatch(c *handlerCtx) disposition {
	switch c.in.Mtype() {
	case TypeReply:
		return c.acceptReply()
	case TypeCall, TypePush:
		d := c.acceptRequest()
		if d == inline {
			return r.runInline(c)
		}
		return d
	}
	s := r.s
	s.env.throttled(&s.drops, throttle.Burst, WARNING, "dropped a message from %s: %d %s: type %d (%s), method %q, seq %d",
		r.l.ip, CodeMtypeNotAllowed, CodeText(CodeMtypeNotAllowed), c.in.Mtype(), TypeText(c.in.Mtype()), methodText(c.in.ServiceMethod()), c.in.Seq())
	return reuse
}

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
	if s.usesPoller() && l.cadence.shouldPark(s.env.sweeper.Now()) && l.park() {
		return errNotReader
	}
	for l.sock.Buffered() == 0 && l.pollable() {
		began := s.env.sweeper.Now()
		some, err := r.busyPoll(began, batch)
		if !some && err == nil {
			var isParked bool
			if isParked, err = l.wait(); isParked {
				return errNotReader
			}
		}
		l.cadence.observeWait(s.env.sweeper.Now() - began)
		if err != nil {
			return err
		}
	}
	l.mayBlock()
	return l.sock.Wait()
}

// awaitPolled is await on the poll loop. Unless done, the reader has left that.
func (r *readLoop) awaitPolled() (done bool, err error) {
	l := r.l
	if !l.pollable() { // the protocol reads ahead: it alone knows what is there
		l.detach()
		return false, nil
	}
	for l.sock.Buffered() == 0 {
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

// busyPoll looks for bytes for a moment, if the next message is about to come: a
// thread that sleeps has to be woken, which costs both ends more than a few looks. All
// other goroutines run in between.
func (r *readLoop) busyPoll(began int64, batch int32) (some bool, err error) {
	s, l := r.s, r.l
	most := int64(s.env.cfg.BusyPoll)
	if !l.cadence.shouldPoll(began) || most < 0 || !busypoll.Begin() {
		return false, nil
	}
	defer busypoll.End()
	handled := l.slot != nil
	l.releaseSlot()
	if batch > 1 && l.sock.Corked() {
		if handled {
			l.sock.Flush(socket.NoBlock) // the replies of handlers do not wait for callers
		}
		runtime.Gosched() // the callers of the batch call again: all of that is one write
	}
	for last := began; last-began < most; {
		l.sock.Flush(socket.NoBlock)
		if some, err = l.sock.TryWait(); some || err != nil {
			return some, err
		}
		runtime.Gosched()
		now := s.env.sweeper.Now()
		if !l.cadence.looked(last, now) {
			break
		}
		last = now
	}
	return false, nil
}

// runInline runs the handler in c on the reader's goroutine: to hand the message to
// another one would cost more than the handler. Two things see to it that the
// connection is read all the same while the handler takes its time. A call that it
// makes on its own session steals the reading at once (ensureReader), and the watchdog
// does so when it does not return.
func (r *readLoop) runInline(c *handlerCtx) (d disposition) {
	s, l, h := r.s, r.l, c.handler
	polled, since := l.loop != nil, l.cadence.at
	l.sock.Uncork()
	c.startSample()
	c.turn = l.beginHandler() // from here on the reading may be stolen
	r.gen = c.turn
	if inlining.Always {
		go l.Steal(c.turn) // tests do not wait for the watchdog
	}
	answered, complete := false, false
	defer func() { // also of the answer that the next function defers
		d = moved
		switch {
		case !l.endHandler(c.turn):
			d = stolen
			now := s.env.sweeper.Now()
			h.inlining.Slow(now, polled && now-since > longWait) // the reading may be stolen by a call that somebody else makes
		case !complete: // runtime.Goexit; run sees to the reading
		case !poison.On():
			c.retire()
			d = reuse
		}
		if d != reuse {
			putCtx(c)
		}
		s.handlerDone()
	}()
	defer func() {
		if !answered {
			c.answer(nil, goexitRerror())
		}
	}()
	reply, rerr := c.run()
	answered = true
	c.answer(reply, rerr)
	complete = true
	return d
}
