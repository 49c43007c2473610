package tp

import (
	"context"
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
// goroutine, the handler runs (run) and its reply is sent (answer). A refused request
// takes the same path, without route, bind and run.

const (
	// maxRefusals is how many refused CALLs of a session may wait, beyond
	// MaxHandlers, for their turn or for the hooks of their replies.
	maxRefusals = 1024
	// sampled says that one of so many messages is timed.
	sampled = 16
)

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
	if n := s.work.bytes() - c.bytes; s.exceeds(n) && (c.link.refuses || c.link.mustRead()) { // else the reader has paused, or will
		if c.kind() == kindPush && n >= pushSlack*s.env.cfg.SessionMemory {
			c.link.kill(SideLocal, errPushes, "reading")
		}
		if c.kind() == kindCall || c.link.shut.Load() {
			return c.notRun(busy(fmt.Sprintf("the requests of the session take %d bytes, and SessionMemory or ReadMemory is used up", n)))
		}
	}
	if c.in.Mtype() == TypeCall {
		c.link.take(c.in.Seq())
	}
	c.readTimeout()
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
	if c.in.Meta().Len() == 0 {
		return
	}
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

// startSample notes the time at which some handlers begin, for endSample.
func (c *handlerCtx) startSample() {
	if c.count++; c.count%sampled == 1 {
		c.began = c.sess.env.sweeper.Now()
	}
}

// endSample records how long the handler took, which decides whether the reader runs it
// itself from now on.
func (c *handlerCtx) endSample() {
	if c.began == 0 || c.handler == nil || c.handler.unknown || c.handler.ordered {
		return
	}
	now := c.sess.env.sweeper.Now()
	w := &c.sess.env.watchdog
	if c.handler.inlining.Sample(now, now-c.began) || c.handler.inlining.Allowed() && !w.Awake() {
		w.Wake() // for the first time, or after a pause
	}
	c.began = 0
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

// answer ends a request: it replies to a CALL, and logs the error of a PUSH.
func (c *handlerCtx) answer(reply any, r *Rerror) {
	c.result = r
	if c.kind() == kindCall {
		c.reply(reply, r, false)
		return
	}
	c.stage = stageAnswered
	c.endSample()
	if r != nil {
		s := c.sess
		s.env.throttled(&s.failures, throttle.Burst, WARNING, "PUSH %q from %s: %s", methodText(c.in.ServiceMethod()), c.link.ip, r)
	}
	c.logHandled(r)
}

// reply sends the REPLY. now says that the reader sends an error reply, and must not
// wait for room.
func (c *handlerCtx) reply(body any, r *Rerror, now bool) {
	s, l := c.sess, c.link
	if v, ok := answered(r); ok {
		body, r = v, nil
	}
	c.result = r
	if c.stream != nil {
		c.endStream()
	}
	if !c.answeredBy.CompareAndSwap(answerOpen, answerHandler) {
		c.stage = stageAnswered
		if r := c.callerGone(); r != nil {
			c.result = r
			c.logHandled(r)
			return
		}
		s.env.stats.unsentReplies.Add(1)
		s.Debugf("dropped the late reply to %q: it was answered %d", methodText(c.in.ServiceMethod()), CodeHandleTimeout)
		c.logHandled(NewRerror(CodeHandleTimeout, CodeText(CodeHandleTimeout), "the handler's context age is over"))
		return
	}
	if r != nil {
		c.setRerror(r)
	} else {
		c.out.SetBody(body)
		c.ReplyBodyCodec()
	}
	if s.leaving.Load() {
		c.out.SetLast()
	}
	c.stage = stageReplying
	c.logHookError("PreWriteReply", c.hooks.preWriteReply.run(s.env.guard, c))
	h, known := c.handler, int64(0)
	if h != nil {
		known = h.replySize.Load()
		if n := int64(c.out.BodyLen()); n >= largeReply && n > known {
			h.noteReply(n) // before it waits for room: others begin without knowing it
		}
	}
	err := c.enqueue(now)
	if h != nil && r == nil {
		switch n := max(int64(c.out.Size()), c.out.Plain()); {
		case err != nil && n <= known: // nothing was sent
		case n >= largeReply || c.expected > 0 || known == 0:
			h.noteReply(n)
		}
	}
	c.endSample()
	if err != nil && isPackError(err) {
		// The reply cannot be sent as it is; that is an answer too.
		r, err = c.replyPlain(NewRerror(CodeInternalServerError, CodeText(CodeInternalServerError), err.Error()), now)
	}
	c.stage = stageAnswered
	if err != nil {
		s.env.stats.unsentReplies.Add(1)
		s.Debugf("dropped the reply to %q: %s", methodText(c.in.ServiceMethod()), brief(err.Error()))
		if r == nil {
			r = (&CloseReason{SideNetwork, err, "replying"}).rerror()
			c.result = r
		}
		c.logHandled(r)
		return
	}
	switch {
	case now: // the reader flushes before it reads
	case !c.inReader():
		var mode socket.FlushMode
		if s.work.running() > 1 {
			mode = socket.Yield
		}
		l.sock.Flush(mode)
	case c.flushes:
		l.sock.Flush(socket.NoBlock)
	}
	l.closeIfEnded()
	c.logHookError("PostWriteReply", c.hooks.postWriteReply.run(s.env.guard, c))
	c.logHandled(r)
}

// replyPlain enqueues an error in place of a reply that could not be sent: without hooks,
// metadata and filters.
func (c *handlerCtx) replyPlain(r *Rerror, now bool) (*Rerror, error) {
	c.stage = stageAnswered
	c.result = r
	c.setRerror(r)
	c.out.Meta().Reset()
	c.out.XferPipe().Reset()
	err := c.enqueue(now)
	if err != nil {
		c.link.kill(SideLocal, fmt.Errorf("reply to %q: %w", c.in.ServiceMethod(), err), "replying")
	}
	return r, err
}

func (c *handlerCtx) setRerror(r *Rerror) {
	c.out.SetRerror(r)
	c.out.SetBody(nil)
	c.out.SetBodyCodec(codec.NilCodecID)
}

func (c *handlerCtx) logHookError(moment string, r *Rerror) {
	if r != nil {
		s := c.sess
		s.env.throttled(&s.failures, throttle.Burst, ERROR, "%s of %q: %s", moment, methodText(c.in.ServiceMethod()), r)
	}
}

// enqueue appends the reply to the batch. The reader must not wait for room: with now
// the reply may exceed the bound; for the reply of a handler on the reader's goroutine,
// another goroutine takes the reading over first.
func (c *handlerCtx) enqueue(now bool) error {
	sock := c.link.sock
	if method := c.out.ServiceMethod(); method != "" { // a REPLY has none on the wire
		c.out.SetServiceMethod("")
		defer c.out.SetServiceMethod(method)
	}
	switch {
	case now:
		err := sock.EnqueueNow(&c.out)
		if err != nil && !isPackError(err) && !isCloseReason(err) { // after a farewell nothing is sent, and the peer must read that
			c.link.kill(SideNetwork, err, "writing")
		}
		return err
	case c.inReader():
		if err := sock.TryEnqueue(&c.out); err != socket.ErrFull {
			return err
		}
		c.link.Steal(c.turn)
	}
	return sock.Enqueue(context.Background(), &c.out)
}
