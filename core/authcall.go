package tp

import (
	"fmt"

	"github.com/teleport-go/teleport/core/socket"
)

// This file holds AUTH_CALLs on a session that is ready: with one, the peer renews its
// credentials. Before the session is ready the hooks of its connection read and answer
// them (presession.go). No hook of messages runs for AUTH messages, no proxy forwards
// them, and the log does not show their bodies.

// authHandler returns the handler of an AUTH_CALL; nil if no plugin answers them.
func (e *env) authHandler() *Handler {
	hooks := e.hooks().authCall
	if len(hooks) == 0 {
		return nil
	}
	return &Handler{
		name:    "AUTH_CALL",
		unknown: true,
		invoke: func(c *handlerCtx, _ any) (any, *Rerror) {
			reply, r := hooks[0](c)
			if r.HasError() {
				return nil, r
			}
			return reply, nil
		},
	}
}

// acceptAuth handles an AUTH_CALL on a session that is ready.
func (c *handlerCtx) acceptAuth() disposition {
	s := c.sess
	c.handler, c.hooks = s.env.authHandler(), &noHooks
	c.seq = c.in.Seq()
	c.out.SetMtype(TypeAuthReply)
	c.out.SetSeq(c.seq)
	c.out.XferPipe().AppendFrom(c.in.XferPipe())
	c.link.current = c
	running := c.accept()
	switch {
	case c.refusal != nil:
	case c.handler == nil:
		c.refusal = NewRerror(CodeMtypeNotAllowed, CodeText(CodeMtypeNotAllowed), "AUTH_CALL: this peer asks for no authentication, or has finished it")
	case s.leaving.Load():
		c.link.refuseFrom()
		c.refusal = c.notRun(NewRerror(CodeConnClosed, CodeText(CodeConnClosed), socket.ErrDraining.Error()).WithCause(socket.ErrDraining))
	case running > s.env.live.Load().MaxHandlers:
		c.refusal = c.notRun(busy(fmt.Sprintf("%d handlers of the session run already", running-1)))
	case c.in.Size() > preparingLimit:
		c.refusal = badMessage(fmt.Errorf("AUTH_CALL: %d bytes, the limit is %d", c.in.Size(), preparingLimit))
	}
	if c.refusal != nil {
		c.handler = nil
		return c.refuse(c.refusal, running)
	}
	c.link.take(c.seq)
	c.readTimeout()
	c.in.Expected()
	c.in.SetBody(nil)
	c.in.KeepBody()
	return c.handOver()
}
