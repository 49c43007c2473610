package tp

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/throttle"
	"github.com/teleport-go/teleport/core/socket"
)

// This file holds the path of a request, from top to bottom. The reader accepts it,
// finds its handler (route) and decodes its argument (bind); then, mostly on another
// goroutine, the handler runs (run) and its reply is sent (answer, in respond.go). A refused
// request takes the same path, without route, bind and run.

// maxRefusals is how many refused CALLs of a session may wait, beyond MaxHandlers, for their
// turn or for the hooks of their replies.
const maxRefusals = 1024

var errRefusals = errors.New("too many refused calls wait for their error replies")

// disposition says which goroutine has a message's context after the reader has done
// its part.
type disposition uint8

const (
	reuse  disposition = iota // the reader, for the next message
	inline                    // the reader, which runs the handler
	moved                     // another goroutine
	stolen                    // another goroutine, which reads the connection too
)

func (c *handlerCtx) acceptRequest() disposition {
	s := c.sess
	if s.env.live.Load().CountTime {
		c.start = s.env.sweeper.Now()
	}
	c.use(s.env.hooks())
	if c.in.Mtype() == TypeCall {
		c.seq = c.in.Seq()
		c.out.SetMtype(TypeReply)
		c.out.SetSeq(c.seq)
		if c.in.XferPipe().Len() > 0 {
			c.out.XferPipe().AppendFrom(c.in.XferPipe())
		}
	}
	c.link.current = c
	running := c.accept()
	if r := c.prepare(running); r != nil {
		return c.refuse(r, running)
	}
	h := c.handler
	c.expectReply()
	if !c.in.InTurn() && !h.ordered && !h.stream && h.inlining.Allowed() && !c.decodeLater && (c.expected == 0 || c.hasRoom()) && c.link.acquireSlot() {
		return inline
	}
	return c.handOver()
}

// handOver lets another goroutine handle the message.
func (c *handlerCtx) handOver() disposition {
	s, l, h := c.sess, c.link, c.handler
	l.current = nil
	l.mu.Lock()
	l.leave(c)
	l.mu.Unlock()
	switch {
	case c.in.InTurn():
		s.ordered.Add(nil, c, (*handlerCtx).handle)
	case h != nil && h.ordered && (c.refusal == nil || c.isAnswered()):
		s.ordered.Add(h, c, (*handlerCtx).handle)
	default:
		s.env.workers.Go(s.serial, c)
	}
	return moved
}

// prepare does all for a request that comes before its handler: it finds the handler
// and decodes the argument. It returns an error if the handler must not run.
func (c *handlerCtx) prepare(running int) *Rerror {
	s := c.sess
	switch {
	case c.refusal != nil:
		return c.refusal
	case c.in.Mtype() == TypeCall && s.leaving.Load():
		c.link.refuseFrom()
		return c.notRun(NewRerror(CodeConnClosed, CodeText(CodeConnClosed), socket.ErrDraining.Error()).WithCause(socket.ErrDraining))
	case running > s.env.live.Load().MaxHandlers:
		return c.notRun(busy(fmt.Sprintf("%d handlers of the session run already", running-1)))
	}
	if n := s.work.bytes() - c.bytes; s.exceeds(n) {
		if r := c.exceeded(n); r != nil {
			return r
		}
	}
	if c.in.Mtype() == TypeCall {
		c.link.take(c.in.Seq())
	}
	if c.in.Meta().Len() > 0 {
		c.readTimeout()
	}
	if r := c.route(); r != nil {
		return r
	}
	if c.handler.stream || c.in.Meta().Len() > 0 {
		if r := c.openStream(); r != nil {
			return r
		}
	}
	hooks := c.hooks.preReadBody[c.kind()]
	switch {
	case !c.handler.encoded():
		c.arg = c.handler.newArg(c)
		c.in.Expect(c.arg)
	case len(hooks) > 0:
		c.in.Expect(new([]byte))
	}
	if r := hooks.run(s.env.guard, c); r != nil {
		return r
	}
	switch {
	case c.handler.encoded() && !c.in.Replaced():
		c.in.Expected()
		c.in.SetBody(nil)
		c.in.KeepBody()
	case len(c.in.RawBody()) > decodeInReader:
		c.in.HoldBody()
		c.decodeLater = true
	default:
		if r := c.bind(); r != nil {
			return r
		}
	}
	if age := s.contextAge.Load(); age > 0 && !c.in.InTurn() && !c.handler.stream {
		c.startAge(age)
	}
	return nil
}

// exceeded returns why the handler must not run if the other requests, of n bytes, use up the
// session's memory; nil: it may, since the reader has paused, or will.
func (c *handlerCtx) exceeded(n int64) *Rerror {
	s, l := c.sess, c.link
	if !l.refuses && !l.mustRead() {
		return nil
	}
	if c.kind() == kindPush && n >= pushSlack*s.env.cfg.SessionMemory {
		l.kill(SideLocal, errPushes, "reading")
	}
	if c.kind() == kindPush && !l.shut.Load() {
		return nil
	}
	return c.notRun(busy(fmt.Sprintf("the requests of the session take %d bytes, and SessionMemory or ReadMemory is used up", n)))
}

// refuse answers a request whose handler must not run. running is the number of
// requests of the session, this one included.
func (c *handlerCtx) refuse(r *Rerror, running int) disposition {
	s := c.sess
	c.refusal = r
	c.in.SetBody(nil) // the argument, not decoded
	c.arg = nil
	if c.release != nil {
		c.release.free()
		c.release = nil
	}
	if c.kind() == kindPush {
		c.stage = stageAnswered
		limit := int64(throttle.Burst)
		if r.Code == CodeBusy {
			limit = 1 // all such lines are alike
		}
		s.env.stats.droppedPushes.Add(1)
		s.env.throttled(&s.drops, limit, WARNING, "PUSH %q from %s dropped: %s", methodText(c.in.ServiceMethod()), c.link.ip, r)
		c.logHandled(r)
		return c.refused()
	}
	inTurn := c.in.InTurn()
	if !inTurn && len(c.hooks.preWriteReply)+len(c.hooks.postWriteReply) == 0 && !c.isAnswered() {
		c.reply(nil, r, true)
		return c.refused()
	}
	if running > s.env.live.Load().MaxHandlers+maxRefusals {
		c.link.kill(SideLocal, errRefusals, "refusing")
		return c.refused()
	}
	c.in.DropRaw()
	return c.handOver() // these hooks may block
}

// refused is the end of a request that the reader has answered.
func (c *handlerCtx) refused() disposition {
	c.link.current = nil
	c.sess.handlerDone(c.bytes)
	return reuse
}

// handlerDone ends a request of n bytes.
func (s *session) handlerDone(n int64) {
	s.finish(n)
	s.becameIdle()
}

// readTimeout notes when the caller stops waiting, from X-Timeout.
func (c *handlerCtx) readTimeout() {
	if d, ok := getTimeout(c.in.Meta()); ok {
		c.link.mu.Lock()
		c.expires = c.sess.env.sweeper.After(d)
		c.limit(c.expires)
		c.link.mu.Unlock()
	}
}

// startAge lets the sweeper reply 408 if the handler takes longer than the context age,
// in nanoseconds.
func (c *handlerCtx) startAge(age int64) {
	l := c.link
	at := c.sess.env.sweeper.After(time.Duration(age))
	l.mu.Lock()
	c.ageAt = at
	c.agePipe = c.out.XferPipe().AppendIDs(c.agePipe[:0])
	c.limit(at)
	l.enlist(c)
	l.mu.Unlock()
	c.sess.env.sweeper.Touch(c.sess, at)
}

// bind decodes the body into the argument, or into the value with which a hook has
// replaced it: then the hook must fill the argument.
func (c *handlerCtx) bind() (r *Rerror) {
	if c.in.Replaced() {
		r = c.decode(c.in.Expected(), 0, false, nil)
	} else {
		r = c.decode(c.in.Expected(), codec.Fresh, c.handler.reuses, c.memory)
	}
	if r != nil {
		if errors.Is(r.Cause(), errNoRoom) {
			r = c.waitEnded()
		}
		c.in.SetBody(nil)
		return r
	}
	c.in.FreeBody()
	return nil
}

// handle runs and answers a request on a goroutine that is not the reader.
func (c *handlerCtx) handle() {
	s := c.sess
	defer func() {
		n := c.bytes
		if c.blind {
			c.handler.blind.Add(-1)
		}
		putCtx(c)
		s.handlerDone(n)
	}()
	defer c.abandon(false)
	if r := c.awaitReply(); r != nil {
		c.answer(nil, r)
		return
	}
	c.startSample()
	c.answer(c.run())
}

// run runs the hooks after decoding and the handler.
func (c *handlerCtx) run() (reply any, r *Rerror) {
	s := c.sess
	if c.refusal != nil {
		return nil, c.refusal
	}
	if r := c.expired(); r != nil {
		return nil, r
	}
	if age := s.contextAge.Load(); age > 0 && c.in.InTurn() && c.in.Mtype() != TypeAuthCall {
		c.startAge(age) // not before: the sweeper would reply out of turn
	}
	if c.decodeLater {
		if r := c.decodeLarge(c.bind); r != nil {
			return nil, r
		}
	}
	if r := c.hooks.postReadBody[c.kind()].run(s.env.guard, c); r != nil {
		return nil, r
	}
	if b, ok := c.in.Body().(*[]byte); ok && c.handler.encoded() { // a hook has decoded them
		c.in.SetBody(nil)
		c.in.UnmarshalBody(*b)
		c.in.OwnBody()
	}
	return c.invoke()
}

func (c *handlerCtx) invoke() (reply any, r *Rerror) {
	defer func() {
		if v := recover(); v != nil {
			e := c.sess.env
			e.throttled(&c.handler.panics, 1, ERROR, "panic in handler %s: %v\n%s", c.handler.name, v, debug.Stack())
			reason := fmt.Sprint(v)
			if e.cfg.HidePanics {
				reason = ""
			}
			reply, r = nil, NewRerror(CodeInternalServerError, CodeText(CodeInternalServerError), reason)
		}
	}()
	return c.handler.invoke(c, c.arg)
}
