package tp

import (
	"context"
	"fmt"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/throttle"
	"github.com/teleport-go/teleport/core/socket"
)

// This file holds how a request is answered.

// sampled says that one of so many handlers is timed.
const sampled = 16

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
	if r != nil {
		if v, ok := answered(r); ok {
			body, r = v, nil
		}
	}
	c.result = r
	if c.stream != nil {
		c.endStream()
	}
	if !c.answeredBy.CompareAndSwap(answerOpen, answerHandler) {
		c.tooLate()
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
	if len(c.hooks.preWriteReply) > 0 {
		c.logHookError("PreWriteReply", c.hooks.preWriteReply.run(s.env.guard, c))
	}
	known := c.knownSize()
	err := c.enqueue(now)
	c.noteSize(r, err, known)
	c.endSample()
	if err != nil && isPackError(err) {
		// The reply cannot be sent as it is; that is an answer too.
		r, err = c.replyPlain(NewRerror(CodeInternalServerError, CodeText(CodeInternalServerError), err.Error()), now)
	}
	c.stage = stageAnswered
	if err != nil {
		c.unsent(r, err)
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
	if len(c.hooks.postWriteReply) > 0 {
		c.logHookError("PostWriteReply", c.hooks.postWriteReply.run(s.env.guard, c))
	}
	c.logHandled(r)
}

// tooLate is the end of a request that has been answered, or given up, before its handler
// returned.
func (c *handlerCtx) tooLate() {
	s := c.sess
	c.stage = stageAnswered
	if r := c.callerGone(); r != nil {
		c.result = r
		c.logHandled(r)
		return
	}
	s.env.stats.unsentReplies.Add(1)
	s.Debugf("dropped the late reply to %q: it was answered %d", methodText(c.in.ServiceMethod()), CodeHandleTimeout)
	c.logHandled(NewRerror(CodeHandleTimeout, CodeText(CodeHandleTimeout), "the handler's context age is over"))
}

// unsent is the end of a request whose reply, with the error r, could not be sent.
func (c *handlerCtx) unsent(r *Rerror, err error) {
	s := c.sess
	s.env.stats.unsentReplies.Add(1)
	s.Debugf("dropped the reply to %q: %s", methodText(c.in.ServiceMethod()), brief(err.Error()))
	if r == nil {
		r = (&CloseReason{SideNetwork, err, "replying"}).rerror()
		c.result = r
	}
	c.logHandled(r)
}

// knownSize returns what the route knows of the size of its replies. It notes that of a
// large one before that waits for room: others begin without knowing it.
func (c *handlerCtx) knownSize() (known int64) {
	h := c.handler
	if h == nil {
		return 0
	}
	known = h.replySize.Load()
	if n := int64(c.out.BodyLen()); n >= largeReply && n > known {
		h.noteReply(n)
	}
	return known
}

// noteSize notes the size of a reply that was enqueued, with the error err.
func (c *handlerCtx) noteSize(r *Rerror, err error, known int64) {
	h := c.handler
	if h == nil || r != nil {
		return
	}
	switch n := max(int64(c.out.Size()), c.out.Plain()); {
	case err != nil && n <= known: // nothing was sent
	case n >= largeReply || c.expected > 0 || known == 0:
		h.noteReply(n)
	}
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
