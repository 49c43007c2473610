package tp

import (
	"context"
	"fmt"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
)

var (
	_ CallCmd  = (*callCmd)(nil)
	_ WriteCtx = (*callCmd)(nil)
)

func (s *session) Call(serviceMethod string, arg, result any, setting ...MessageSetting) CallCmd {
	cmd := &callCmd{logger: s.logger, sess: s, result: result}
	if gone := cmd.begin(serviceMethod, arg, setting); gone == nil {
		<-cmd.wake
	} else {
		cmd.await(gone)
	}
	cmd.end()
	return cmd
}

// begin launches the command. The caller waits for wake, or in await if gone is not nil, and
// then calls end, which completes the command: no other goroutine does. If a hook or the codec
// ends the goroutine, exit completes it.
//
// What is called by the user waits itself, and not in a function below: a processor that has
// run other goroutines meanwhile mispredicts each return to the user's code, which takes it
// about 12 ns.
func (cmd *callCmd) begin(serviceMethod string, arg any, setting []MessageSetting) (gone <-chan struct{}) {
	begun := false
	defer func() {
		if !begun {
			cmd.exit()
		}
	}()
	cmd.takeWake()
	if r := cmd.prepare(kindCall, serviceMethod, arg, setting); r != nil {
		cmd.resolve(r)
	} else {
		cmd.sess.launch(cmd)
	}
	gone = cmd.gone()
	begun = true
	return gone
}

// end is the rest of a call that begin has begun, after the wait.
func (cmd *callCmd) end() {
	if cmd.rerr != nil {
		cmd.repeat()
	}
	cmd.putWake()
	cmd.complete()
}

// gone returns the Done of the call's context, nil if that has no end.
func (cmd *callCmd) gone() <-chan struct{} {
	if ctx := cmd.out.GivenContext(); ctx != nil {
		return ctx.Done()
	}
	return nil
}

// repeat makes the call again as long as it ends without having run. It is called by the
// goroutine that completes the call, after the first end.
func (cmd *callCmd) repeat() {
	ended := false
	defer func() {
		if !ended {
			cmd.exit()
		}
	}()
	for cmd.rerr != nil && cmd.mayRepeat() {
		cmd.sess.launch(cmd)
		cmd.await(cmd.gone())
	}
	ended = true
}

// repeatLater is the rest of an asynchronous call that has not run: from here on it is one
// whose caller waits, on a goroutine of its own, which ends with the call.
func (cmd *callCmd) repeatLater() {
	cmd.mu.Lock()
	unhook := cmd.async.unhook
	cmd.async.unhook = nil
	cmd.mu.Unlock()
	if unhook != nil {
		unhook()
	}
	cmd.takeWake()
	cmd.end()
}

// await waits until the call is resolved, when gone is closed at the latest: the Done of the
// call's context, or nil.
func (cmd *callCmd) await(gone <-chan struct{}) {
	select {
	case <-cmd.wake:
	case <-gone:
		ctx := cmd.out.GivenContext()
		if cmd.seq != 0 && cmd.sess.failCall(cmd.seq, contextRerror(ctx)) {
			cmd.sess.sayCanceled(cmd.seq, ctx)
		}
		<-cmd.wake // by failCall, or by the winner of the race, which is about to resolve the call
	}
}

// exit ends and completes a call whose goroutine a hook or a codec has ended: nothing is left
// of it in the table of pending calls.
func (cmd *callCmd) exit() {
	defer cmd.complete()
	if cmd.seq == 0 || cmd.sess.failCall(cmd.seq, goexitRerror()) {
		cmd.rerr = goexitRerror()
		if cmd.seq != 0 {
			cmd.sess.sayCancel(cmd.seq)
		}
		return
	}
	<-cmd.wake // somebody was faster, and is about to wake it
}

// exitAsync ends an asynchronous call whose goroutine a hook or a codec has ended; finishPart
// completes it.
func (cmd *callCmd) exitAsync() {
	if cmd.seq == 0 {
		cmd.resolve(goexitRerror())
	} else {
		cmd.sess.failCall(cmd.seq, goexitRerror())
	}
}

// prepare fills in a request, and runs the hooks before it is written.
func (cmd *callCmd) prepare(k kind, serviceMethod string, arg any, setting []MessageSetting) *Rerror {
	s := cmd.sess
	if s.env.live.Load().CountTime {
		cmd.start = s.env.sweeper.Now()
	}
	cmd.out.SetMtype(TypeCall)
	if k == kindPush {
		cmd.out.SetMtype(TypePush)
	}
	if r := prepareMessage(s, &cmd.out, serviceMethod, arg, setting); r != nil {
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
	if s.env.live.Load().PrintDetail {
		cmd.detail = bodyText(&cmd.out)
	}
	cmd.auth = k == kindCall && cmd.out.Mtype() == TypeAuthCall
	if hooks := s.env.hooks().preWrite[k]; len(hooks) > 0 && !cmd.auth {
		return cmd.preWrite(k, hooks)
	}
	return nil
}

// preWrite runs the hooks before a request is written, with its number set.
func (cmd *callCmd) preWrite(k kind, hooks moment[WriteCtx]) *Rerror {
	s := cmd.sess
	if k == kindPush {
		cmd.number()
		return hooks.run(s.env.guard, cmd)
	}
	seq, err := s.pending.Hold()
	if err != nil {
		return pendingRerror(err)
	}
	passed := false
	defer func() {
		if !passed { // a hook may end the goroutine
			s.pending.Release(seq)
		}
	}()
	cmd.out.SetSeq(seq)
	r := hooks.run(s.env.guard, cmd)
	if passed = r == nil; passed {
		cmd.seq = seq
	}
	return r
}

// number gives a PUSH its sequence number; one with a prepared body has 0, as all with that
// body have.
func (cmd *callCmd) number() {
	if cmd.seq == 0 {
		if _, shared := cmd.out.Body().(*Prepared); !shared {
			cmd.seq = cmd.sess.pending.Next()
		}
	}
	cmd.out.SetSeq(cmd.seq)
}

func pendingRerror(err error) *Rerror {
	return markNotRun(NewRerror(CodeWriteFailed, CodeText(CodeWriteFailed), err.Error()), nil)
}

// written runs the hooks after the batch has accepted a request.
func (cmd *callCmd) written(k kind) {
	s := cmd.sess
	if r := s.env.hooks().postWrite[k].run(s.env.guard, cmd); r != nil {
		s.Errorf("%s of %q: %s", [...]string{"PostWriteCall", "PostWritePush"}[k], methodText(cmd.out.ServiceMethod()), r)
	}
}

// prepareMessage fills in an outgoing message, which has its type.
func prepareMessage(s *session, m *socket.Envelope, serviceMethod string, arg any, setting []MessageSetting) *Rerror {
	m.SetServiceMethod(serviceMethod)
	m.SetBody(arg)
	if len(setting) > 0 {
		if r := applySettings(m, setting); r != nil {
			return r
		}
	}
	m.Share()
	if m.BodyCodec() == codec.NilCodecID {
		m.SetBodyCodec(s.env.cfg.codecID)
	}
	return nil
}

// applySettings applies the user's settings. One that panics (an unknown filter) is an error
// of the message.
func applySettings(m *socket.Envelope, setting []MessageSetting) (r *Rerror) {
	defer func() {
		if v := recover(); v != nil {
			r = NewRerror(CodeWriteFailed, CodeText(CodeWriteFailed), fmt.Sprint(v))
		}
	}()
	mtype := m.Mtype()
	for _, set := range setting {
		if set != nil {
			set(m)
		}
	}
	if t := m.Mtype(); t != mtype && (t == TypeControl || t == TypeData) {
		return NewRerror(CodeWriteFailed, CodeText(CodeWriteFailed), fmt.Sprintf("messages of the type %s are sent by the engine alone", TypeText(t)))
	}
	return nil
}

// failCall ends a pending call with an error. It returns false if the call was
// resolved before.
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

// watch ends an asynchronous call with its context.
func (cmd *callCmd) watch(ctx context.Context) {
	seq := cmd.seq // another one, if the call is made again
	unhook := context.AfterFunc(ctx, func() {
		if cmd.sess.failCall(seq, contextRerror(ctx)) {
			cmd.sess.sayCanceled(seq, ctx)
		}
	})
	cmd.mu.Lock()
	cmd.async.unhook = unhook
	finished := cmd.finished
	cmd.mu.Unlock()
	if finished {
		unhook()
	}
}

// resolve ends the call with the winner's error, nil for success, and wakes the
// caller, which completes it. An asynchronous call has no caller that waits, until it is
// made again, and is completed here. The winner, the goroutine that took the call from the
// table, must not touch cmd afterwards.
func (cmd *callCmd) resolve(r *Rerror) {
	cmd.rerr = r
	if cmd.wake != nil {
		cmd.wake <- struct{}{}
		return
	}
	cmd.finishPart()
}

// finishPart completes an asynchronous call when both parts of it are done, the
// sending and the reply: so the user never gets a command that is still being sent.
func (cmd *callCmd) finishPart() {
	cmd.mu.Lock()
	cmd.async.parts++
	both := cmd.async.parts == 2
	cmd.mu.Unlock()
	if !both {
		return
	}
	if cmd.rerr != nil && cmd.repeatable() != nil {
		go cmd.repeatLater()
		return
	}
	if cmd.endsInUserCode() {
		go cmd.complete() // it may take long, or end its goroutine, which may be anybody's
		return
	}
	cmd.complete()
}

// endsInUserCode reports whether complete decodes, runs hooks, or renders a result.
func (cmd *callCmd) endsInUserCode() bool {
	e := cmd.sess.env
	return cmd.large != nil || cmd.reply != nil || len(e.hooks().postExchange) > 0 || e.live.Load().PrintDetail
}

// complete decodes a large body, runs the last hooks, logs, and marks the call done. All
// of that is done if user code ends the goroutine, too.
func (cmd *callCmd) complete() {
	if !cmd.endsInUserCode() {
		cmd.readRest()
		cmd.sess.logCall(cmd)
		cmd.finish()
		return
	}
	defer cmd.finish()
	whole := false
	defer func() {
		if !whole {
			cmd.rerr = goexitRerror()
		}
		cmd.sess.logCall(cmd)
	}()
	cmd.readRest()
	whole = true
}

// readRest is what of reading the reply is the caller's.
func (cmd *callCmd) readRest() {
	s := cmd.sess
	if cmd.large != nil && cmd.rerr == nil {
		cmd.rerr = cmd.decodeReply()
	}
	if c := cmd.reply; c != nil {
		if c.decodeLater && cmd.rerr == nil {
			cmd.rerr = c.decode(c.in.Expected(), 0, false, nil)
			c.in.FreeBody()
		}
		if cmd.rerr == nil {
			cmd.rerr = c.hooks.postReadReply.run(s.env.guard, c)
		}
		cmd.reply = nil
		putCtx(c)
	}
	cmd.cost = s.env.since(cmd.start)
}

// finish marks the call done.
func (cmd *callCmd) finish() {
	if cmd.large != nil {
		cmd.sess.env.memory.Draw(-cmd.large.bytes)
		cmd.large = nil
	}
	if cmd.pooled {
		return // no other goroutine has it
	}
	if cmd.stream != nil {
		cmd.stream.replied() // before Wait returns
	}
	cmd.mu.Lock()
	cmd.finished = true
	done := cmd.done
	var unhook func() bool
	if cmd.async != nil {
		unhook = cmd.async.unhook
	}
	cmd.mu.Unlock()
	if unhook != nil {
		unhook()
	}
	if done != nil {
		close(done)
	}
	if cmd.async != nil && cmd.async.cmds != nil {
		cmd.deliver(cmd.async.cmds)
	}
}
