package tp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
)

// decodeInReader is the largest body that is decoded by the reader; a larger one
// would hold up the messages behind it.
const decodeInReader = 64 << 10

// maxRefusals is how many refused CALLs of a session may wait, beyond
// MaxHandlers, for their turn or for the hooks of their replies.
const maxRefusals = 1024

var errRefusals = errors.New("too many refused calls wait to be answered")

// maxRouteHops bounds how often header hooks may reroute one message.
const maxRouteHops = 4

// serve reads messages and dispatches them until the connection ends, and
// returns why. It never waits for room to write. If the error is errHandedOver
// somebody else reads now.
func (s *session) serve(l *link) error {
	var c *handlerCtx // none while waiting: an idle session holds no more than it must
	defer func() {
		if c != nil {
			putCtx(c)
		}
	}()
	for {
		if len(s.env.hooks().preReadHeader) > 0 {
			if c == nil {
				c = getCtx(l)
			}
			c.sess = s
			if l.sock.Buffered() == 0 {
				l.beforeRead() // the hook may block
			}
			if err := s.preReadHeader(c); err != nil {
				return &frameError{err}
			}
		} else if c != nil && l.sock.Buffered() == 0 {
			putCtx(c)
			c = nil
		}
		if c == nil {
			if err := s.wait(l); err != nil {
				return err
			}
		} else if err := l.sock.Wait(); err != nil {
			return err
		}
		if c == nil {
			c = getCtx(l)
		}
		c.sess = s
		if err := l.sock.ReadInto(&c.in); err != nil {
			if refusal := refusalOf(err); refusal != nil {
				s.Debugf("refused a message from %s: %v", l.ip, err)
				c.rerr = refusal.Rerror
			} else if !errors.Is(err, socket.ErrBadMessage) || errors.Is(err, socket.ErrSizeLimit) {
				return readError(err)
			} else {
				s.env.throttled(&s.drops, aLot, s.logger, WARNING, "dropped a message from %s: %v", l.ip, err)
				c.recycle()
				continue
			}
		}
		l.got++
		given := c
		c = nil // for the case that a handler ends the goroutine
		switch s.dispatch(given) {
		case kept:
			c = given
			c.recycle()
		case handedOver:
			return errHandedOver
		}
	}
}

// readError tells a network that failed from a frame that cannot be read.
func readError(err error) error {
	if err == io.EOF {
		return err // the protocol says that this is a clean end
	}
	var netErr net.Error
	var errno syscall.Errno
	if errors.As(err, &netErr) || errors.As(err, &errno) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return &frameError{err}
}

func (s *session) preReadHeader(c *handlerCtx) error {
	for _, p := range s.env.hooks().preReadHeader {
		if err := guard(p.Name(), func() error { return p.PreReadHeader(c) }); err != nil {
			return fmt.Errorf("[PreReadHeaderPlugin:%s] %w", p.Name(), err)
		}
	}
	return nil
}

// fate is what became of a message's context.
type fate uint8

const (
	kept       fate = iota // it is the reader's
	taken                  // it was given away
	handedOver             // so was the reading
)

// dispatch handles the message in c as far as the reader does.
func (s *session) dispatch(c *handlerCtx) fate {
	switch c.in.Mtype() {
	case TypeReply:
		return s.handleReply(c)
	case TypeCall, TypePush:
		if s.env.cfg.CountTime {
			c.start = time.Now()
		}
		return s.handleRequest(c)
	}
	s.env.throttled(&s.drops, aLot, s.logger, WARNING, "dropped a message from %s: %d %s: type %d (%s), method %q, seq %d",
		c.link.ip, CodeMtypeNotAllowed, CodeText(CodeMtypeNotAllowed), c.in.Mtype(), TypeText(c.in.Mtype()), c.in.ServiceMethod(), c.in.Seq())
	return kept
}

// handleRequest takes a CALL or PUSH through the moments that belong to the
// reader, and starts the handler.
func (s *session) handleRequest(c *handlerCtx) fate {
	c.hooks = s.env.hooks()
	c.mayWait(c.hooks)
	call := c.in.Mtype() == TypeCall
	if call {
		c.out.SetMtype(TypeReply)
		c.out.SetSeq(c.in.Seq())
		if c.in.XferPipe().Len() > 0 {
			c.out.XferPipe().AppendFrom(c.in.XferPipe())
		}
	}
	running := int(s.running.Add(1))
	var r *Rerror
	switch {
	case c.rerr != nil: // the protocol's refusal
		r = c.rerr
	case call && s.leaving.Load():
		r = NewRerror(CodeConnClosed, CodeText(CodeConnClosed), errDraining.Error())
	case running > s.env.cfg.MaxHandlers:
		r = NewRerror(CodeBusy, CodeText(CodeBusy), fmt.Sprintf("%d handlers of the session run already", running-1))
	default:
		r = c.begin()
	}
	if r != nil {
		c.rerr = r
		inTurn := c.in.InTurn()
		if call && (inTurn || len(c.hooks.preWriteReply)+len(c.hooks.postWriteReply) > 0) {
			if running > s.env.cfg.MaxHandlers+maxRefusals {
				c.link.kill(SideLocal, errRefusals, "refusing")
				s.handlerDone()
				return kept
			}
			c.in.DropRaw()
			if inTurn {
				s.enqueueOrdered(nil, c)
			} else {
				s.env.workers.Go(s.shard, c) // these hooks may block
			}
			return taken
		}
		c.refuse(r)
		s.handlerDone()
		return kept
	}
	switch {
	case c.in.InTurn():
		s.enqueueOrdered(nil, c)
	case c.handler.ordered:
		s.enqueueOrdered(c.handler, c)
	case c.handler.pace.Here() && !c.undone && s.takeSeat(c.link):
		return c.handleHere()
	default:
		s.env.workers.Go(s.shard, c)
	}
	return taken
}

func (s *session) handlerDone() {
	s.running.Add(-1)
	s.becameIdle()
}

// refuse ends a request in the reader.
func (c *handlerCtx) refuse(r *Rerror) {
	if c.in.Mtype() == TypeCall {
		c.reply(nil, r, true)
		return
	}
	s := c.sess
	limit := int64(aLot)
	if r.Code == CodeBusy {
		limit = 1 // one is as good as another
	}
	s.env.throttled(&s.drops, limit, s.logger, WARNING, "PUSH %q from %s dropped: %s", c.in.ServiceMethod(), c.link.ip, r)
	c.logHandled(r)
}

// begin finds the handler, decodes the argument, and notes the deadlines.
func (c *handlerCtx) begin() *Rerror {
	s := c.sess
	push := c.in.Mtype() == TypePush
	c.readTimeout()
	if r := c.route(push); r != nil {
		return r
	}
	h := c.handler
	var r *Rerror
	if push {
		if len(c.hooks.preReadPushBody) > 0 {
			r = runHooks[PreReadPushBodyPlugin, ReadCtx](s.logger, s.env.cfg.HidePanics, c.hooks.preReadPushBody, PreReadPushBodyPlugin.PreReadPushBody, c)
		}
	} else if len(c.hooks.preReadCallBody) > 0 {
		r = runHooks[PreReadCallBodyPlugin, ReadCtx](s.logger, s.env.cfg.HidePanics, c.hooks.preReadCallBody, PreReadCallBodyPlugin.PreReadCallBody, c)
	}
	if r != nil {
		return r
	}
	switch {
	case h.unknown:
		c.in.KeepBody()
	case len(c.in.RawBody()) > decodeInReader:
		c.in.HoldBody()
		c.undone = true
	default:
		if r := c.bindArg(); r != nil {
			return r
		}
	}
	if age := s.contextAge.Load(); age > 0 && !c.in.InTurn() {
		c.startAge(age)
	}
	return nil
}

// bindArg makes the argument and decodes the body into it.
func (c *handlerCtx) bindArg() *Rerror {
	arg := c.handler.newArg(c)
	if err := c.bindSafely(arg, codec.Fresh, c.handler.reuses, c.memory); err != nil {
		return NewRerror(CodeBadMessage, CodeText(CodeBadMessage), err.Error()).WithCause(err)
	}
	c.arg = arg
	c.in.SetBody(arg)
	c.in.FreeBody()
	return nil
}

func (c *handlerCtx) bindSafely(arg any, mode codec.Mode, over bool, memory *[]byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("codec panicked: %v", v)
		}
	}()
	if over {
		_, err = c.in.BindOver(arg, memory, mode)
	} else {
		_, err = c.in.BindMode(arg, mode)
	}
	return err
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

// startAge makes the sweep answer for the handler when its age is over.
func (c *handlerCtx) startAge(age int64) {
	l := c.link
	at := c.sess.env.sweeper.Now() + age
	l.mu.Lock()
	c.ageAt = at
	if c.in.Mtype() == TypeCall {
		c.ageSeq = c.in.Seq() // of a PUSH nobody wants to know
	}
	c.agePipe = c.out.XferPipe().AppendIDs(c.agePipe[:0])
	c.limit(at)
	l.enlist(c)
	l.mu.Unlock()
	c.sess.env.sweeper.Touch(c.sess, at)
}

// handle is the handler's goroutine.
func (c *handlerCtx) handle() {
	s := c.sess
	returned := false
	defer func() {
		if !returned { // runtime.Goexit
			c.end(nil, goexitRerror())
		}
		putCtx(c)
		s.handlerDone()
	}()
	if c.count++; c.count%sampled == 1 {
		c.began = s.env.sweeper.Now()
	}
	reply, r := c.work()
	returned = true
	c.end(reply, r)
}

func goexitRerror() *Rerror {
	return NewRerror(CodeInternalServerError, CodeText(CodeInternalServerError), "the handler ended its goroutine")
}

// work is what happens between decoding and reply.
func (c *handlerCtx) work() (reply any, r *Rerror) {
	s := c.sess
	if c.rerr != nil {
		return nil, c.rerr // refused by the reader
	}
	if c.expires != 0 && c.expires <= s.env.sweeper.Now() {
		return nil, NewRerror(CodeHandleTimeout, CodeText(CodeHandleTimeout), "the caller's deadline was over before the handler began")
	}
	if age := s.contextAge.Load(); age > 0 && c.in.InTurn() {
		c.startAge(age) // not before: the sweep would answer out of turn
	}
	if c.undone {
		if r := c.bindArg(); r != nil {
			return nil, r
		}
	}
	if c.in.Mtype() == TypePush {
		if len(c.hooks.postReadPushBody) > 0 {
			r = runHooks[PostReadPushBodyPlugin, ReadCtx](s.logger, s.env.cfg.HidePanics, c.hooks.postReadPushBody, PostReadPushBodyPlugin.PostReadPushBody, c)
		}
	} else if len(c.hooks.postReadCallBody) > 0 {
		r = runHooks[PostReadCallBodyPlugin, ReadCtx](s.logger, s.env.cfg.HidePanics, c.hooks.postReadCallBody, PostReadCallBodyPlugin.PostReadCallBody, c)
	}
	if r != nil {
		return nil, r
	}
	return c.invoke()
}

func (c *handlerCtx) invoke() (reply any, r *Rerror) {
	defer func() {
		if v := recover(); v != nil {
			reason := fmt.Sprint(v)
			s := c.sess
			s.env.throttled(&c.handler.panics, 1, s.logger, ERROR, "panic in handler %s: %v\n%s", c.handler.name, v, debug.Stack())
			if c.sess.env.cfg.HidePanics {
				reason = ""
			}
			reply, r = nil, NewRerror(CodeInternalServerError, CodeText(CodeInternalServerError), reason)
		}
	}()
	return c.handler.invoke(c, c.arg)
}

// end answers a CALL; of a PUSH it logs.
func (c *handlerCtx) end(reply any, r *Rerror) {
	c.rerr = r
	if c.in.Mtype() == TypeCall {
		c.reply(reply, r, false)
		return
	}
	c.sample()
	if r != nil {
		s := c.sess
		s.env.throttled(&s.failures, aLot, s.logger, WARNING, "PUSH %q from %s: %s", c.in.ServiceMethod(), c.link.ip, r)
	}
	c.logHandled(r)
}

// reply sends the REPLY. now says that this is the reader, which must not wait.
func (c *handlerCtx) reply(body any, r *Rerror, now bool) {
	s, l := c.sess, c.link
	if !c.answer.CompareAndSwap(answerOpen, answerHandler) {
		s.Debugf("dropped the late reply to %q: it was answered %d", c.in.ServiceMethod(), CodeHandleTimeout)
		c.logHandled(NewRerror(CodeHandleTimeout, CodeText(CodeHandleTimeout), "the handler's context age is over"))
		return
	}
	if r != nil {
		c.out.SetRerror(r)
		c.out.SetBody(nil)
		c.out.SetBodyCodec(codec.NilCodecID)
	} else {
		c.out.SetBody(body)
		c.ReplyBodyCodec()
	}
	if len(c.hooks.preWriteReply) > 0 {
		if hr := runHooks[PreWriteReplyPlugin, WriteCtx](s.logger, s.env.cfg.HidePanics, c.hooks.preWriteReply, PreWriteReplyPlugin.PreWriteReply, c); hr != nil {
			s.env.throttled(&s.failures, aLot, s.logger, ERROR, "PreWriteReply of %q: %s", c.in.ServiceMethod(), hr)
		}
	}
	err := c.enqueue(now)
	c.sample()
	if err != nil && isPackError(err) {
		// The reply cannot be sent as it is; that is an answer too.
		r = NewRerror(CodeInternalServerError, CodeText(CodeInternalServerError), err.Error())
		c.rerr = r
		c.out.SetRerror(r)
		c.out.SetBody(nil)
		c.out.SetBodyCodec(codec.NilCodecID)
		c.out.Meta().Reset()
		c.out.XferPipe().Reset()
		if err = c.enqueue(now); err != nil {
			l.kill(SideLocal, fmt.Errorf("reply to %q: %w", c.in.ServiceMethod(), err), "replying")
		}
	}
	if err != nil {
		s.Debugf("dropped the reply to %q: %v", c.in.ServiceMethod(), err)
		c.logHandled(r)
		return
	}
	if !now && !c.reading() { // the reader flushes before it reads
		var mode socket.FlushMode
		if s.running.Load() > 1 {
			mode = socket.Yield
		}
		l.sock.Flush(mode)
	}
	l.closeIfEnded()
	if len(c.hooks.postWriteReply) > 0 {
		if hr := runHooks[PostWriteReplyPlugin, WriteCtx](s.logger, s.env.cfg.HidePanics, c.hooks.postWriteReply, PostWriteReplyPlugin.PostWriteReply, c); hr != nil {
			s.env.throttled(&s.failures, aLot, s.logger, ERROR, "PostWriteReply of %q: %s", c.in.ServiceMethod(), hr)
		}
	}
	c.logHandled(r)
}

func (c *handlerCtx) enqueue(now bool) error {
	if now {
		err := c.link.sock.EnqueueNow(&c.out)
		if err != nil && !isPackError(err) {
			c.link.kill(SideNetwork, err, "writing")
		}
		return err
	}
	if c.reading() {
		if err := c.link.sock.TryEnqueue(&c.out); err != socket.ErrFull {
			return err
		}
		c.link.handOver(c.turn) // to wait for room
	}
	return c.link.sock.Enqueue(context.Background(), &c.out)
}

// isPackError reports whether the message, not the connection, is to blame.
func isPackError(err error) bool {
	var pack *socket.PackError
	return errors.As(err, &pack)
}
