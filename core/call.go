package tp

import (
	"context"
	"time"

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

// launch gives the call a sequence number, unless it holds one, and sends it. Every
// error resolves it.
//
// With thousands of callers each line of a stack that is touched is fetched from memory:
// what launch calls while the message is sent has small frames, and what is rare is done in
// functions of its own.
func (s *session) launch(cmd *callCmd) {
	if l, busy := s.addCall(cmd); l != nil {
		s.sendCall(l, cmd, busy)
	}
}

// addCall is launch before the call is sent. l is what to send it on, nil if the call is
// resolved or queued. busy says that other calls are pending.
func (s *session) addCall(cmd *callCmd) (l *link, busy bool) {
	ctx := cmd.out.GivenContext()
	if d := s.env.live.Load().DefaultCallTimeout; d > 0 && cmd.deadline == 0 && cmd.stream == nil && (ctx == nil || !hasDeadline(ctx)) {
		cmd.deadline = s.env.sweeper.After(d)
	}
	deadline := cmd.deadline
	if s.leaving.Load() { // checked before adding: calls in the table get the connection's reason
		if reason := s.CloseReason(); reason != nil {
			if cmd.seq != 0 {
				s.pending.Release(cmd.seq)
			}
			cmd.resolve(markNotRun(reason.rerror(), nil))
			return nil, false
		}
	}
	cmd.method = cmd.out.ServiceMethod()
	seq, calls, err := cmd.seq, 0, error(nil)
	if seq == 0 {
		seq, calls, err = s.pending.AddCounting(cmd, deadline)
	} else {
		calls, err = s.pending.AddHeld(seq, cmd, deadline)
	}
	if err != nil {
		cmd.resolve(pendingRerror(err))
		return nil, false
	}
	// From here on another goroutine may resolve the call. The memory of a pooled
	// command is still ours, since only we wait for it.
	cmd.seq = seq
	cmd.out.SetSeq(seq)
	if deadline != 0 {
		s.env.sweeper.Touch(s, deadline)
	}
	if cmd.wake == nil && ctx != nil && ctx.Done() != nil {
		cmd.watch(ctx)
	}
	// A broken connection clears cur before the table is drained. So if cur holds a
	// link after the call was added, either the link lives or the drain finds the call.
	l = s.cur.Load()
	if cmd.stream != nil {
		if r := cmd.stream.attach(l, cmd); r != nil {
			s.failCall(seq, r)
			return nil, false
		}
	}
	if l == nil {
		l = s.queueCall(cmd)
	}
	return l, calls > 1
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

// sendCall enqueues a call that has its sequence number. busy says that other calls
// are pending.
func (s *session) sendCall(l *link, cmd *callCmd, busy bool) {
	cmd.link = l
	ctx := cmd.out.GivenContext()
	bounded := cmd.deadline != 0 || ctx != nil && ctx.Done() != nil // the caller may give up
	if bounded {
		l.sayHello()
	}
	if cmd.deadline != 0 && s.mayWait(l) {
		if !s.enqueueUntil(l, cmd) {
			return
		}
	} else if err := l.sock.Enqueue(ctx, &cmd.out); err != nil {
		s.notSent(l, cmd, ctx, err)
		return
	}
	if !busy || !l.sock.Corked() {
		s.flush(l, bounded, busy)
	}
	l.ensureReader()
	if cmd.repeats == 0 && !cmd.auth {
		cmd.written(kindCall)
	}
}

// mayWait reports whether a call may have to wait for room in the batch.
func (s *session) mayWait(l *link) bool {
	_, queued := l.sock.Queued()
	return queued > s.env.cfg.WriteBound/2
}

// enqueueUntil enqueues a call that waits for room until its deadline. If it returns false
// the call has failed.
func (s *session) enqueueUntil(l *link, cmd *callCmd) bool {
	ctx, cancel := context.WithTimeout(cmd.out.Context(), time.Duration(cmd.deadline-s.env.sweeper.Now()))
	defer cancel()
	if err := l.sock.Enqueue(ctx, &cmd.out); err != nil {
		s.notSent(l, cmd, ctx, err)
		return false
	}
	return true
}

// notSent fails a call with an error of Enqueue, which was given ctx.
func (s *session) notSent(l *link, cmd *callCmd, ctx context.Context, err error) {
	r := l.writeRerror(ctx, err)
	if r.Code == CodeConnClosed { // nothing of it was sent
		if s.redialable() && !isCloseReason(err) {
			l.kill(SideNetwork, err, "writing") // so that the reader notices the break
			l.ensureReader()
		}
		r = markNotRun(r, l)
	}
	s.failCall(cmd.seq, r)
}

// flush writes what was enqueued. bounded says that the caller's wait can end before
// the call does: then flush must not block on the network. busy says that other calls
// are pending.
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
