package tp

// handleReply finishes the call that waits for this reply. The caller's context
// may have won already: then the reply is dropped undecoded.
func (s *session) handleReply(c *handlerCtx) (f fate) {
	cmd, ok := s.pending.Take(c.in.Seq())
	if !ok {
		s.env.throttled(&s.unasked, aLot, s.logger, DEBUG, "dropped a reply from %s: nobody waits for seq %d", c.link.ip, c.in.Seq())
		return kept
	}
	cmd.inCodec, cmd.inSize = c.in.BodyCodec(), c.in.Size()
	if c.in.Meta().Len() > 0 {
		c.in.Meta().CopyTo(&cmd.in)
	}
	c.in.SetServiceMethod(cmd.method)
	c.cmd, c.rerr = cmd, c.in.Rerror()
	c.hooks = s.env.hooks()
	c.mayWait(c.hooks)
	c.link.replies++
	if !c.hooks.waits {
		c.link.attend()
	}
	r := s.readReply(c, cmd)
	if r == nil && len(c.hooks.postReadReplyBody) > 0 {
		cmd.reply = c
		c.in.DropRaw()
		f = taken
	}
	cmd.settle(r)
	s.becameIdle()
	return f
}

func (s *session) readReply(c *handlerCtx, cmd *callCmd) *Rerror {
	if len(c.hooks.postReadReplyHeader) > 0 {
		if r := runHooks[PostReadReplyHeaderPlugin, ReadCtx](s.logger, s.env.cfg.HidePanics, c.hooks.postReadReplyHeader, PostReadReplyHeaderPlugin.PostReadReplyHeader, c); r != nil {
			return r
		}
	}
	if c.in.Rerror().HasError() {
		return c.in.Rerror()
	}
	if len(c.hooks.preReadReplyBody) > 0 {
		if r := runHooks[PreReadReplyBodyPlugin, ReadCtx](s.logger, s.env.cfg.HidePanics, c.hooks.preReadReplyBody, PreReadReplyBodyPlugin.PreReadReplyBody, c); r != nil {
			return r
		}
	}
	if cmd.result == nil {
		return nil
	}
	if len(c.in.RawBody()) > decodeInReader {
		cmd.inCodec = c.in.BodyCodec()
		cmd.raw, cmd.whole = c.in.TakeBody()
		return nil
	}
	if err := c.bindSafely(cmd.result, cmd.mode, cmd.over, cmd.memory); err != nil {
		return NewRerror(CodeBadMessage, CodeText(CodeBadMessage), err.Error()).WithCause(err)
	}
	c.in.SetBody(cmd.result)
	return nil
}
