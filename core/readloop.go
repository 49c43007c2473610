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

// This file holds what the reader of a connection does: it waits, reads a message, and
// runs the part of the message's path that is the reader's. Which goroutine is the
// reader, reader.go decides.

// errNotReader says that this goroutine is not the reader of the connection any more.
var errNotReader = errors.New("tp: the connection is read elsewhere")

// readLoop is the state of one goroutine that reads connections.
type readLoop struct {
	s   *session
	l   *link  // the connection it reads; nil: none
	gen uint64 // the generation of l's state when this goroutine was last its reader
}

// run reads the connection until its end, cleans up, redials if it may, and ends the
// session, unless another goroutine takes the reading over.
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
		l.mayBlock() // reading has ended, but the clean-up may block
		l.over.Fire()
		if s.endLink(l, readReason(l, err)) {
			l = s.redial()
		} else {
			l = nil
		}
	}
	s.end()
}

// serve reads messages and dispatches them until the connection ends, and returns
// why. It never blocks on room to write.
func (r *readLoop) serve() error {
	s, l := r.s, r.l
	if l.loop == nil {
		l.scheduleIdleCheck()
	}
	if err := r.serveKept(); err != nil {
		return err
	}
	var c *handlerCtx // nil while it waits: an idle session should hold little memory
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
			if l.sock.Buffered() == 0 {
				if _, err := l.wait(false); err != nil { // not parked: the hook's context is held
					return err
				}
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
		c = nil // dispatch owns it, also if a handler calls runtime.Goexit
		switch r.dispatch(given) {
		case reuse:
			c = given
			c.recycle()
		case stolen:
			return errNotReader
		}
	}
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
		if err := c.preReadHeader(); err != nil {
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
	case TypeCall, TypePush:
		d := c.acceptRequest()
		if d == inline {
			return r.runInline(c)
		}
		return d
	}
	s := r.s
	s.env.throttled(&s.drops, throttle.Burst, WARNING, "dropped a message from %s: %d %s: type %d (%s), method %q, seq %d",
		r.l.ip, CodeMtypeNotAllowed, CodeText(CodeMtypeNotAllowed), c.in.Mtype(), TypeText(c.in.Mtype()), c.in.ServiceMethod(), c.in.Seq())
	return reuse
}

// await returns when bytes have arrived. The error is errNotReader if the connection
// was parked.
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
			if isParked, err = l.wait(true); isParked {
				return errNotReader
			}
		}
		l.cadence.observeWait(s.env.sweeper.Now() - began)
		if err != nil {
			return err
		}
	}
	if l.sock.Buffered() > 0 {
		return nil
	}
	_, err := l.wait(false)
	return err
}

// awaitPolled is await on the poll loop. If done is false, the goroutine is not the
// poll loop any more, and must wait as an ordinary reader.
func (r *readLoop) awaitPolled() (done bool, err error) {
	l := r.l
	if !l.pollable() { // the protocol reads ahead: only it knows whether bytes are there
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

// busyPoll polls for bytes, at most for PeerConfig.BusyPoll, if the next message will
// come soon: to wake a thread that sleeps costs both ends more than a few polls. Other
// goroutines run between the polls.
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
			l.sock.Flush(socket.NoBlock) // replies of handlers must not wait for the callers below
		}
		runtime.Gosched() // the callers of this batch call again, and all their calls become one write
	}
	for last := began; last-began < most; {
		l.sock.Flush(socket.NoBlock)
		if some, err = l.sock.TryWait(); some || err != nil {
			return some, err
		}
		runtime.Gosched()
		now := s.env.sweeper.Now()
		if !l.cadence.polledAgain(last, now) {
			break
		}
		last = now
	}
	return false, nil
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
	c.turn = l.beginHandler() // from here on another goroutine may steal the reading
	r.gen = c.turn
	if inlining.Always {
		go l.Steal(c.turn) // in tests, without waiting for the watchdog
	}
	answered, complete := false, false
	defer func() { // runs after the deferred answer below
		d = moved
		switch {
		case !l.endHandler(c.turn):
			d = stolen
			now := s.env.sweeper.Now()
			h.inlining.Slow(now, polled && now-since > longWait) // another goroutine's call may have stolen the reading
		case !complete: // runtime.Goexit; run starts another reader
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
