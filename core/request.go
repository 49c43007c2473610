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

// The road of a request, from top to bottom: it is accepted, finds its handler (route),
// and gets its argument (bind) in the reader; then, mostly on another goroutine, it is
// handled: the handler runs and its reply is sent (run, answer). A refused request goes
// the same way from accept to answer.

const (
	// decodeInReader is the largest body that the reader decodes; a larger one would
	// hold up the messages behind it.
	decodeInReader = 64 << 10
	// maxRefusals is how many refused CALLs of a session may wait, beyond
	// MaxHandlers, for their turn or for the hooks of their replies.
	maxRefusals = 1024
	// sampled is how many messages of a handler there are to one that is timed.
	sampled = 16
)

var errRefusals = errors.New("too many refused calls wait to be answered")

// disposition is where a message's context is after the reader has done its part.
type disposition uint8

const (
	reuse  disposition = iota // the reader has it, for the next message
	inline                    // the reader has it, and runs the handler
	moved                     // another goroutine has it
	stolen                    // another goroutine has it, and the reading too
)

// unreadable handles an error of reading a message. fatal ends the connection; else
// the message is dropped, unless it is a request that the protocol has refused, which
// is answered.
func (c *handlerCtx) unreadable(err error) (dropped bool, fatal error) {
	s := c.sess
	var refusal *socket.Refusal
	switch {
	case errors.As(err, &refusal):
		if errors.Is(err, socket.ErrUnsupportedProto) {
			c.link.stranger(err)
		} else {
			s.Debugf("refused a message from %s: %s", c.link.ip, brief(err.Error()))
		}
		c.refusal = refusal.Rerror
		return false, nil
	case !errors.Is(err, socket.ErrBadMessage) || errors.Is(err, socket.ErrSizeLimit):
		fatal = readError(err)
		if _, frame := fatal.(*frameError); frame && !c.link.sock.Heard() {
			c.link.stranger(err)
		}
		return false, fatal
	}
	s.env.throttled(&s.drops, throttle.Burst, WARNING, "dropped a message from %s: %v", c.link.ip, err)
	return true, nil
}

func (c *handlerCtx) acceptRequest() disposition {
	s := c.sess
	if s.env.cfg.CountTime {
		c.start = time.Now()
	}
	c.use(s.env.hooks())
	if c.in.Mtype() == TypeCall {
		c.out.SetMtype(TypeReply)
		c.out.SetSeq(c.in.Seq())
		if c.in.XferPipe().Len() > 0 {
			c.out.XferPipe().AppendFrom(c.in.XferPipe())
		}
	}
	running := int(s.running.Add(1))
	if r := c.prepare(running); r != nil {
		return c.refuse(r, running)
	}
	switch h := c.handler; {
	case c.in.InTurn():
		s.ordered.Add(nil, c, (*handlerCtx).handle)
	case h.ordered:
		s.ordered.Add(h, c, (*handlerCtx).handle)
	case h.inlining.Allowed() && !c.decodeLater && c.link.acquireSlot():
		return inline
	default:
		s.env.workers.Go(s.serial, c)
	}
	return moved
}

// prepare takes a request to where its handler can run; an error says why it must not.
func (c *handlerCtx) prepare(running int) *Rerror {
	s := c.sess
	switch {
	case c.refusal != nil:
		return c.refusal
	case c.in.Mtype() == TypeCall && s.leaving.Load():
		return NewRerror(CodeConnClosed, CodeText(CodeConnClosed), errDraining.Error())
	case running > s.env.cfg.MaxHandlers:
		return NewRerror(CodeBusy, CodeText(CodeBusy), fmt.Sprintf("%d handlers of the session run already", running-1))
	}
	c.readTimeout()
	if r := c.route(); r != nil {
		return r
	}
	if r := c.hooks.preReadBody[c.kind()].run(s.env.guard, c); r != nil {
		return r
	}
	switch {
	case c.handler.unknown:
		c.in.KeepBody()
	case len(c.in.RawBody()) > decodeInReader:
		c.in.HoldBody()
		c.decodeLater = true
	default:
		if r := c.bind(); r != nil {
			return r
		}
	}
	if age := s.contextAge.Load(); age > 0 && !c.in.InTurn() {
		c.startAge(age)
	}
	return nil
}

// refuse answers a request whose handler must not run. running is the number of
// requests of the session, this one included.
func (c *handlerCtx) refuse(r *Rerror, running int) disposition {
	s := c.sess
	c.refusal = r
	if c.kind() == kindPush {
		limit := int64(throttle.Burst)
		if r.Code == CodeBusy {
			limit = 1 // one is as good as another
		}
		s.env.throttled(&s.drops, limit, WARNING, "PUSH %q from %s dropped: %s", methodText(c.in.ServiceMethod()), c.link.ip, r)
		c.logHandled(r)
		s.handlerDone()
		return reuse
	}
	inTurn := c.in.InTurn()
	if !inTurn && len(c.hooks.preWriteReply)+len(c.hooks.postWriteReply) == 0 {
		c.reply(nil, r, true)
		s.handlerDone()
		return reuse
	}
	if running > s.env.cfg.MaxHandlers+maxRefusals {
		c.link.kill(SideLocal, errRefusals, "refusing")
		s.handlerDone()
		return reuse
	}
	c.in.DropRaw()
	if inTurn {
		s.ordered.Add(nil, c, (*handlerCtx).handle)
	} else {
		s.env.workers.Go(s.serial, c) // these hooks may block
	}
	return moved
}

// readTimeout notes when the caller will have gone.
func (c *handlerCtx) readTimeout() {
	if c.in.Meta().Len() == 0 {
		return
	}
	if d, ok := getTimeout(c.in.Meta()); ok {
		c.link.mu.Lock()
		c.expires = c.sess.env.sweeper.Now() + int64(d)
		c.limit(c.expires)
		c.link.mu.Unlock()
	}
}

// startAge lets the sweep answer for the handler when its age is over.
func (c *handlerCtx) startAge(age int64) {
	l := c.link
	at := c.sess.env.sweeper.Now() + age
	l.mu.Lock()
	c.ageAt = at
	if c.in.Mtype() == TypeCall {
		c.ageSeq = c.in.Seq() // a PUSH has no answer
	}
	c.agePipe = c.out.XferPipe().AppendIDs(c.agePipe[:0])
	c.limit(at)
	l.enlist(c)
	l.mu.Unlock()
	c.sess.env.sweeper.Touch(c.sess, at)
}

// bind makes the argument and decodes the body into it.
func (c *handlerCtx) bind() *Rerror {
	arg := c.handler.newArg(c)
	if r := c.decode(arg, codec.Fresh, c.handler.reuses, c.memory); r != nil {
		return r
	}
	c.arg = arg
	c.in.SetBody(arg)
	c.in.FreeBody()
	return nil
}

// decode decodes the body of the message into v. over says that v has served another
// message, memory is what the codec may use for it.
func (c *handlerCtx) decode(v any, mode codec.Mode, over bool, memory *[]byte) *Rerror {
	return badMessage(safely(func() (err error) {
		if over {
			_, err = c.in.BindOver(v, memory, mode)
		} else {
			_, err = c.in.BindMode(v, mode)
		}
		return err
	}))
}

// handle is the rest of the road on a goroutine that is not the reader.
func (c *handlerCtx) handle() {
	s := c.sess
	answered := false
	defer func() {
		if !answered { // runtime.Goexit
			c.answer(nil, goexitRerror())
		}
		putCtx(c)
		s.handlerDone()
	}()
	c.startSample()
	reply, r := c.run()
	answered = true
	c.answer(reply, r)
}

func (s *session) handlerDone() {
	s.running.Add(-1)
	s.becameIdle()
}

// startSample notes the time of some messages, for endSample.
func (c *handlerCtx) startSample() {
	if c.count++; c.count%sampled == 1 {
		c.began = c.sess.env.sweeper.Now()
	}
}

// endSample notes how long the handler took: whether it is short enough for the
// reader depends on that.
func (c *handlerCtx) endSample() {
	if c.began == 0 || c.handler == nil || c.handler.unknown || c.handler.ordered {
		return
	}
	now := c.sess.env.sweeper.Now()
	w := &c.sess.env.watchdog
	if c.handler.inlining.Sample(now, now-c.began) || c.handler.inlining.Allowed() && !w.Awake() {
		w.Wake() // or again, after a pause
	}
	c.began = 0
}

// run is what happens between decoding and reply.
func (c *handlerCtx) run() (reply any, r *Rerror) {
	s := c.sess
	if c.refusal != nil {
		return nil, c.refusal
	}
	if c.expires != 0 && c.expires <= s.env.sweeper.Now() {
		return nil, NewRerror(CodeHandleTimeout, CodeText(CodeHandleTimeout), "the caller's deadline was over before the handler began")
	}
	if age := s.contextAge.Load(); age > 0 && c.in.InTurn() {
		c.startAge(age) // not before: the sweep would answer out of turn
	}
	if c.decodeLater {
		if r := c.bind(); r != nil {
			return nil, r
		}
	}
	if r := c.hooks.postReadBody[c.kind()].run(s.env.guard, c); r != nil {
		return nil, r
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

// answer ends a request: a CALL gets its reply, of a PUSH an error is logged.
func (c *handlerCtx) answer(reply any, r *Rerror) {
	c.result = r
	if c.kind() == kindCall {
		c.reply(reply, r, false)
		return
	}
	c.endSample()
	if r != nil {
		s := c.sess
		s.env.throttled(&s.failures, throttle.Burst, WARNING, "PUSH %q from %s: %s", methodText(c.in.ServiceMethod()), c.link.ip, r)
	}
	c.logHandled(r)
}

// reply sends the REPLY. now says that the caller is the reader, which must not wait.
func (c *handlerCtx) reply(body any, r *Rerror, now bool) {
	s, l := c.sess, c.link
	c.result = r
	if !c.answeredBy.CompareAndSwap(answerOpen, answerHandler) {
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
	c.logHookError("PreWriteReply", c.hooks.preWriteReply.run(s.env.guard, c))
	err := c.enqueue(now)
	c.endSample()
	if err != nil && isPackError(err) {
		// The reply cannot be sent as it is; that is an answer too.
		r = NewRerror(CodeInternalServerError, CodeText(CodeInternalServerError), err.Error())
		c.result = r
		c.setRerror(r)
		c.out.Meta().Reset()
		c.out.XferPipe().Reset()
		if err = c.enqueue(now); err != nil {
			l.kill(SideLocal, fmt.Errorf("reply to %q: %w", c.in.ServiceMethod(), err), "replying")
		}
	}
	if err != nil {
		s.Debugf("dropped the reply to %q: %s", methodText(c.in.ServiceMethod()), brief(err.Error()))
		c.logHandled(r)
		return
	}
	if !now && !c.inReader() { // the reader flushes before it reads
		var mode socket.FlushMode
		if s.running.Load() > 1 {
			mode = socket.Yield
		}
		l.sock.Flush(mode)
	}
	l.closeIfEnded()
	c.logHookError("PostWriteReply", c.hooks.postWriteReply.run(s.env.guard, c))
	c.logHandled(r)
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

// enqueue appends the reply to the batch. The reader must not wait for room: it goes
// over the bound with an error reply, and loses the reading with a handler's.
func (c *handlerCtx) enqueue(now bool) error {
	sock := c.link.sock
	switch {
	case now:
		err := sock.EnqueueNow(&c.out)
		if err != nil && !isPackError(err) {
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
