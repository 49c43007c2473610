package tp

import (
	"fmt"
	"reflect"

	"github.com/teleport-go/teleport/core/internal/throttle"
)

// acceptReply resolves the call that the reply in c answers. If the call has ended
// already, with its context for example, it drops the reply undecoded.
func (c *handlerCtx) acceptReply() (d disposition) {
	s := c.sess
	cmd, ok := s.pending.Take(c.in.Seq())
	if c.in.Last() {
		c.link.bye.CompareAndSwap(nil, &farewell{known: true})
	}
	if !ok {
		c.unasked()
		return reuse
	}
	cmd.inCodec, cmd.inSize = c.in.BodyCodec(), c.in.Size()
	if c.in.Meta().Len() > 0 {
		cmd.in = new(Meta)
		c.in.Meta().CopyTo(cmd.in)
	}
	c.in.SetServiceMethod(cmd.method)
	c.cmd = cmd
	if cmd.auth {
		c.hooks = &noHooks
	} else {
		c.use(s.env.hooks())
	}
	if c.refusal == nil && cmd.auth != (c.in.Mtype() == TypeAuthReply) {
		c.refusal = c.ofWrongType()
	}
	c.link.current = c
	if !c.hooks.mayBlock && c.link.loop == nil && c.link.pollable() {
		c.link.sock.Cork() // the callers whose replies are read now will call again: one write for all
	}
	r := c.readReply()
	if r == nil && (len(c.hooks.postReadReply) > 0 || c.decodeLater) {
		cmd.reply = c
		if !c.decodeLater {
			c.in.DropRaw()
		}
		d = moved
	}
	c.link.current = nil
	cmd.resolve(r)
	s.becameIdle()
	return d
}

// unasked handles a reply to no pending call.
func (c *handlerCtx) unasked() {
	s := c.sess
	if isBye(&c.in) {
		c.link.acceptBye(c.in.Meta().Peek(MetaBye), c.in.Meta().Peek(metaByeAfter), c.in.Rerror())
		return
	}
	s.env.stats.droppedReplies.Add(1)
	s.env.throttled(&s.unasked, throttle.Burst, DEBUG, "dropped a reply from %s: no call is pending with seq %d", c.link.ip, c.in.Seq())
}

// ofWrongType is the error of a call that a message of another type answers.
func (c *handlerCtx) ofWrongType() *Rerror {
	return badMessage(fmt.Errorf("the reply is of type %d (%s)", c.in.Mtype(), TypeText(c.in.Mtype())))
}

// readReply runs the hooks of a reply that run in the reader, and decodes the body
// unless it is large.
func (c *handlerCtx) readReply() *Rerror {
	cmd, g := c.cmd, c.sess.env.guard
	if c.refusal != nil {
		return c.refusal
	}
	if r := c.hooks.replyHeader.run(g, c); r != nil {
		return r
	}
	if len(c.hooks.preReadReply) > 0 {
		c.in.Expect(cmd.result)
		if r := c.hooks.preReadReply.run(g, c); r != nil {
			return r
		}
	}
	if c.in.Rerror().HasError() {
		return c.remoteRerror()
	}
	if c.in.Replaced() {
		return c.bindReplaced()
	}
	c.in.Expected()
	c.in.SetBody(cmd.result)
	if cmd.result == nil {
		return nil
	}
	if len(c.in.RawBody()) > decodeInReader {
		cmd.inCodec = c.in.BodyCodec()
		raw, exclusive := c.in.TakeBody()
		cmd.large = &largeBody{raw: raw, bytes: c.arrived, exclusive: exclusive}
		c.arrived = 0
		return nil
	}
	return c.decode(cmd.result, cmd.mode, cmd.over, cmd.memory)
}

// bindReplaced decodes a reply into the value with which a hook has replaced the result:
// then the hook must fill the result.
func (c *handlerCtx) bindReplaced() *Rerror {
	if v := reflect.ValueOf(c.cmd.result); c.cmd.over && v.Kind() == reflect.Pointer && !v.IsNil() {
		v.Elem().SetZero() // else the hook would find another call's
	}
	if len(c.in.RawBody()) > decodeInReader {
		c.in.HoldBody()
		c.decodeLater = true
		return nil
	}
	return c.decode(c.in.Expected(), 0, false, nil)
}
