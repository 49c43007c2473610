package tp

import (
	"context"
	"crypto/tls"
	"time"
)

// This file holds what the user sees of a call: CallCmd, and the WriteCtx of its hooks;
// and how its end reaches the caller.

func (cmd *callCmd) wait() { <-cmd.Done() }

func (cmd *callCmd) TracePeer() (Peer, bool) {
	if cmd.sess == nil {
		return nil, false
	}
	return cmd.sess.env.peer, true
}

func (cmd *callCmd) TraceSession() (Session, bool) {
	if cmd.sess == nil {
		return nil, false
	}
	return cmd.sess, true
}

func (cmd *callCmd) Context() context.Context { return cmd.out.Context() }
func (cmd *callCmd) Output() Message          { return &cmd.out }

func (cmd *callCmd) Rerror() *Rerror {
	cmd.mu.Lock()
	defer cmd.mu.Unlock()
	if !cmd.finished {
		return nil
	}
	return cmd.rerr
}

// doneAlready is the closed channel of all finished calls.
var doneAlready = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (cmd *callCmd) Done() <-chan struct{} {
	cmd.mu.Lock()
	defer cmd.mu.Unlock()
	switch {
	case cmd.finished:
		return doneAlready
	case cmd.done == nil:
		cmd.done = make(chan struct{})
	}
	return cmd.done
}

func (cmd *callCmd) Reply() (any, *Rerror)   { cmd.wait(); return cmd.result, cmd.rerr }
func (cmd *callCmd) InputBodyCodec() byte    { cmd.wait(); return cmd.inCodec }
func (cmd *callCmd) CostTime() time.Duration { cmd.wait(); return cmd.cost }

func (cmd *callCmd) InputMeta() *Meta {
	cmd.wait()
	cmd.mu.Lock()
	defer cmd.mu.Unlock()
	if cmd.in == nil {
		cmd.in = new(Meta)
	}
	return cmd.in
}

// The methods below make callCmd the WriteCtx of its hooks.

func (cmd *callCmd) Peer() Peer          { return cmd.sess.env.peer }
func (cmd *callCmd) Session() CtxSession { return cmd.sess }
func (cmd *callCmd) IP() string          { return addrText(cmd.sess.RemoteAddr()) }
func (cmd *callCmd) RealIP() string      { return cmd.IP() }

func (cmd *callCmd) ConnectionState() *tls.ConnectionState { return cmd.sess.ConnectionState() }

// Swap may be called by hooks on the caller's and on the reader's goroutine at once.
func (cmd *callCmd) Swap() *Swap {
	cmd.mu.Lock()
	defer cmd.mu.Unlock()
	if cmd.swap == nil {
		cmd.swap = new(Swap)
		cmd.sess.Swap().CopyTo(cmd.swap)
	}
	return cmd.swap
}

// NewFakeCallCmd returns a finished call that was never sent. TracePeer and
// TraceSession of it return false.
func NewFakeCallCmd(serviceMethod string, arg, result any, rerr *Rerror) CallCmd {
	cmd := &callCmd{logger: std, result: result, rerr: rerr}
	cmd.out.SetMtype(TypeCall)
	cmd.out.SetServiceMethod(serviceMethod)
	cmd.out.SetBody(arg)
	cmd.finished = true
	return cmd
}

// deliver sends the finished command to cmds, the user's channel. If the channel is full, a
// goroutine waits for room, at most until the session ends.
func (cmd *callCmd) deliver(cmds chan<- CallCmd) {
	select {
	case cmds <- cmd:
		return
	default:
	}
	go func() {
		select {
		case cmds <- cmd:
		case <-cmd.sess.done.Done():
			cmd.sess.Warnf("call %q: callCmdChan was full until the session ended; the result is dropped", methodText(cmd.out.ServiceMethod()))
		}
	}()
}

// takeWake gives the command the channel on which its caller waits.
func (cmd *callCmd) takeWake() {
	if cmd.wake != nil {
		return
	}
	var ok bool
	if cmd.wake, ok = cmd.sess.env.wakes.Get().(chan struct{}); !ok {
		cmd.wake = make(chan struct{}, 1)
	}
}

// putWake gives the channel back.
func (cmd *callCmd) putWake() {
	if !cmd.pooled { // a pooled command keeps its channel
		cmd.sess.env.wakes.Put(cmd.wake)
		cmd.wake = nil
	}
}
