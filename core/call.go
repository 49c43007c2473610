package tp

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/bufpool"
	"github.com/teleport-go/teleport/core/socket"
)

var (
	_ CallCmd  = (*callCmd)(nil)
	_ WriteCtx = (*callCmd)(nil)
)

func (s *session) Call(serviceMethod string, arg, result any, setting ...MessageSetting) CallCmd {
	cmd := &callCmd{logger: s.logger, sess: s, result: result}
	cmd.call(serviceMethod, arg, setting)
	return cmd
}

// call launches and waits. Only the goroutine that runs it finishes the command.
func (cmd *callCmd) call(serviceMethod string, arg any, setting []MessageSetting) {
	s := cmd.sess
	wake := cmd.wake
	if wake == nil {
		var ok bool
		if wake, ok = s.env.wakes.Get().(chan struct{}); !ok {
			wake = make(chan struct{}, 1)
		}
		cmd.wake = wake
	}
	if r := cmd.prepare(kindCall, serviceMethod, arg, setting); r != nil {
		cmd.resolve(r)
	} else {
		s.launch(cmd)
	}
	if ctx := cmd.out.GivenContext(); ctx != nil && ctx.Done() != nil {
		select {
		case <-wake:
		case <-ctx.Done():
			if cmd.seq != 0 {
				s.failCall(cmd.seq, contextRerror(ctx))
			}
			<-wake // by us, or by who has won: that is about to decode, not to wait
		}
	} else {
		<-wake
	}
	if !cmd.pooled { // else they stay together
		cmd.wake = nil
		s.env.wakes.Put(wake)
	}
	cmd.complete()
}

func (s *session) AsyncCall(serviceMethod string, arg, result any, callCmdChan chan<- CallCmd, setting ...MessageSetting) CallCmd {
	if callCmdChan == nil {
		callCmdChan = make(chan CallCmd, 10)
	} else if cap(callCmdChan) == 0 {
		panic("*session.AsyncCall(): callCmdChan channel is unbuffered")
	}
	cmd := &callCmd{logger: s.logger, sess: s, result: result, async: true, cmds: callCmdChan}
	if r := cmd.prepare(kindCall, serviceMethod, arg, setting); r != nil {
		cmd.resolve(r)
	} else {
		s.launch(cmd)
	}
	cmd.finishPart()
	return cmd
}

// prepare fills in a request, and runs the hooks before it is written.
func (cmd *callCmd) prepare(k kind, serviceMethod string, arg any, setting []MessageSetting) *Rerror {
	s := cmd.sess
	if s.env.cfg.CountTime {
		cmd.start = time.Now()
	}
	mtype := TypeCall
	if k == kindPush {
		mtype = TypePush
	}
	if r := prepareMessage(s, &cmd.out, mtype, serviceMethod, arg, setting); r != nil {
		return r
	}
	if ctx := cmd.out.GivenContext(); ctx != nil {
		if ctx.Err() != nil {
			return contextRerror(ctx)
		}
		if at, ok := ctx.Deadline(); ok && k == kindCall {
			setTimeout(cmd.out.Meta(), time.Until(at))
		}
	}
	if s.env.cfg.PrintDetail {
		cmd.detail = bodyText(&cmd.out)
	}
	return s.env.hooks().preWrite[k].run(s.env.guard, cmd)
}

// written runs the hooks after the batch has accepted a request.
func (cmd *callCmd) written(k kind) {
	s := cmd.sess
	if r := s.env.hooks().postWrite[k].run(s.env.guard, cmd); r != nil {
		s.Errorf("%s of %q: %s", [...]string{"PostWriteCall", "PostWritePush"}[k], methodText(cmd.out.ServiceMethod()), r)
	}
}

// prepareMessage fills in an outgoing message. A setting that panics (an unknown
// filter) is an error of the message.
func prepareMessage(s *session, m *socket.Envelope, mtype byte, serviceMethod string, arg any, setting []MessageSetting) (r *Rerror) {
	if len(setting) > 0 {
		defer func() {
			if v := recover(); v != nil {
				r = NewRerror(CodeWriteFailed, CodeText(CodeWriteFailed), fmt.Sprint(v))
			}
		}()
	}
	m.SetMtype(mtype)
	m.SetServiceMethod(serviceMethod)
	m.SetBody(arg)
	for _, set := range setting {
		if set != nil {
			set(m)
		}
	}
	if m.BodyCodec() == codec.NilCodecID {
		m.SetBodyCodec(s.env.cfg.codecID)
	}
	return nil
}

// launch gives the call its number and sends it. Every error resolves it.
func (s *session) launch(cmd *callCmd) {
	ctx := cmd.out.GivenContext()
	deadline := int64(0)
	if d := s.env.cfg.DefaultCallTimeout; d > 0 && (ctx == nil || !hasDeadline(ctx)) {
		deadline = s.env.sweeper.Now() + int64(d)
	}
	if s.leaving.Load() { // before the table, whose calls get the connection's reason
		if reason := s.CloseReason(); reason != nil {
			cmd.resolve(reason.rerror())
			return
		}
	}
	cmd.method = cmd.out.ServiceMethod()
	seq, calls, err := s.pending.AddCounting(cmd, deadline)
	if err != nil {
		cmd.resolve(NewRerror(CodeWriteFailed, CodeText(CodeWriteFailed), err.Error()))
		return
	}
	// From here on somebody else may resolve it; if it is pooled its memory still
	// is ours, since only we wait for it.
	cmd.seq = seq
	cmd.out.SetSeq(seq)
	if deadline != 0 {
		s.env.sweeper.Touch(s, deadline)
	}
	if cmd.async && ctx != nil && ctx.Done() != nil {
		cmd.watch(ctx)
	}
	// A break clears cur before it drains the table: having added the call and
	// seen a link here, either the drain finds the call or the link lives.
	l := s.cur.Load()
	if l == nil {
		if l = s.queueCall(cmd); l == nil {
			return
		}
	}
	s.sendCall(l, cmd, deadline, calls > 1)
}

// failCall ends a pending call with an error; false if somebody was faster.
func (s *session) failCall(seq int32, r *Rerror) bool {
	cmd, ok := s.pending.Take(seq)
	if !ok {
		return false
	}
	s.forget(func(w *redialEntry) bool { return w.seq == seq })
	cmd.resolve(r)
	s.becameIdle()
	return true
}

// sendCall enqueues a call that has its number. deadline is the one that
// DefaultCallTimeout gives it, 0 for none; busy says that others are under way.
func (s *session) sendCall(l *link, cmd *callCmd, deadline int64, busy bool) {
	cmd.link = l
	ctx := cmd.out.GivenContext()
	admission := ctx
	if deadline != 0 {
		if _, queued := l.sock.Queued(); queued > s.env.cfg.WriteBound/2 { // it may have to wait
			var cancel context.CancelFunc
			admission, cancel = context.WithTimeout(cmd.out.Context(), time.Duration(deadline-s.env.sweeper.Now()))
			defer cancel()
		}
	}
	if err := l.sock.Enqueue(admission, &cmd.out); err != nil {
		r := l.writeRerror(admission, err)
		if r.Code == CodeConnClosed && s.redialable() && !cmd.async {
			s.relaunch(l, cmd, err)
		} else {
			s.failCall(cmd.seq, r)
		}
		return
	}
	if !busy || !l.sock.Corked() {
		s.flush(l, deadline != 0 || ctx != nil && ctx.Done() != nil, busy)
	}
	l.ensureReader()
	cmd.written(kindCall)
}

// relaunch launches a call again that a broken link has not accepted, as if it had
// come after the break: nothing of it was sent, so it waits for the redial. First
// the reader has to notice the break; until it does every call would fail at once.
// Only a caller that waits anyway waits for that: AsyncCall and Push may be called
// by a hook in the reader.
func (s *session) relaunch(l *link, cmd *callCmd, err error) {
	if _, ok := s.pending.Take(cmd.seq); !ok {
		return // somebody has resolved it
	}
	l.kill(SideNetwork, err, "writing")
	l.ensureReader()
	ctx := cmd.out.Context()
	select {
	case <-l.gone.Done():
		s.launch(cmd)
	case <-ctx.Done():
		cmd.resolve(contextRerror(ctx))
	}
	s.becameIdle()
}

// flush writes what was enqueued. A caller whose wait can end must not be held by
// the network.
func (s *session) flush(l *link, bounded, busy bool) {
	var mode socket.FlushMode
	if busy {
		mode |= socket.Yield
	}
	if bounded {
		mode |= socket.NoBlock
	}
	l.sock.Flush(mode)
}

// watch ends an asynchronous call with its context.
func (cmd *callCmd) watch(ctx context.Context) {
	unhook := context.AfterFunc(ctx, func() {
		cmd.sess.failCall(cmd.seq, contextRerror(ctx))
	})
	cmd.mu.Lock()
	cmd.unhook = unhook
	finished := cmd.finished
	cmd.mu.Unlock()
	if finished {
		unhook()
	}
}

// resolve ends the call with what the winner has found out, and wakes the caller,
// who completes it. A call that nobody waits for is completed here. The winner
// must not touch cmd afterwards.
func (cmd *callCmd) resolve(r *Rerror) {
	cmd.rerr = r
	if !cmd.async {
		cmd.wake <- struct{}{}
		return
	}
	cmd.finishPart()
}

// finishPart completes an asynchronous call when both parts of it are done: so the user
// never gets a command that is still being sent.
func (cmd *callCmd) finishPart() {
	cmd.mu.Lock()
	cmd.parts++
	both := cmd.parts == 2
	cmd.mu.Unlock()
	if !both {
		return
	}
	if cmd.raw != nil || cmd.reply != nil {
		go cmd.complete() // user code, or long decoding: not in the reader
		return
	}
	cmd.complete()
}

// complete decodes a large body, runs the last hooks, logs, and marks the call done.
func (cmd *callCmd) complete() {
	s := cmd.sess
	if cmd.raw != nil && cmd.rerr == nil {
		cmd.rerr = cmd.decode(cmd.raw)
		cmd.raw = nil
	}
	if c := cmd.reply; c != nil {
		if cmd.rerr == nil {
			c.in.SetBody(cmd.result)
			cmd.rerr = c.hooks.postReadReply.run(s.env.guard, c)
		}
		cmd.reply = nil
		putCtx(c)
	}
	if !cmd.start.IsZero() {
		cmd.cost = time.Since(cmd.start)
	}
	s.logCall(cmd)
	if cmd.pooled {
		return // nobody else has it
	}
	cmd.mu.Lock()
	cmd.finished = true
	done, unhook := cmd.done, cmd.unhook
	cmd.mu.Unlock()
	if unhook != nil {
		unhook()
	}
	if done != nil {
		close(done)
	}
	if cmd.cmds != nil {
		cmd.deliver()
	}
}

// deliver sends the finished command to the user's channel. If that is full it
// waits beside, at most as long as the session lives.
func (cmd *callCmd) deliver() {
	select {
	case cmd.cmds <- cmd:
		return
	default:
	}
	go func() {
		select {
		case cmd.cmds <- cmd:
		case <-cmd.sess.done.Done():
			cmd.sess.Warnf("call %q: callCmdChan was full until the session's end; the result was dropped", methodText(cmd.out.ServiceMethod()))
		}
	}()
}

// decode puts an encoded reply into the result.
func (cmd *callCmd) decode(raw []byte) *Rerror {
	if cmd.result == nil || len(raw) == 0 {
		return nil
	}
	if b, ok := cmd.result.(*[]byte); ok {
		switch {
		case b == nil:
		case cmd.over && cap(*b) >= len(raw):
			*b = append((*b)[:0], raw...)
		case cmd.exclusive:
			*b = raw
			return nil
		default:
			*b = bytes.Clone(raw)
		}
		cmd.free(raw)
		return nil
	}
	c, err := codec.Get(cmd.inCodec)
	if err == nil {
		err = safely(func() error { return c.Unmarshal(raw, cmd.result) })
	}
	cmd.free(raw)
	return badMessage(err)
}

// free gives the memory of a body back that was decoded.
func (cmd *callCmd) free(raw []byte) {
	if cmd.exclusive {
		bufpool.Put(raw)
	}
}
