package tp

import "time"

// command returns a pooled command, which only the caller has.
func (s *session) command() *callCmd {
	cmd, ok := s.env.commands.Get().(*callCmd)
	if !ok {
		cmd = new(callCmd)
	}
	cmd.logger, cmd.sess, cmd.pooled = s.logger, s, true
	return cmd
}

func (s *session) Push(serviceMethod string, arg any, setting ...MessageSetting) *Rerror {
	p := s.command()
	pushed := false
	defer func() {
		if !pushed { // a hook or the codec has ended the goroutine
			s.logPush(p, goexitRerror())
		}
	}()
	r := p.push(serviceMethod, arg, setting)
	pushed = true
	s.logPush(p, r)
	p.recycle()
	return r
}

// recycle returns a command of command to the pool. No other goroutine may hold it.
func (cmd *callCmd) recycle() {
	e := cmd.sess.env
	cmd.out.Reset()
	if cmd.in.Len() > 0 {
		cmd.in.Reset()
	}
	cmd.logger, cmd.sess, cmd.link, cmd.result, cmd.swap, cmd.rerr = logger{}, nil, nil, nil, nil, nil
	cmd.giveUpAt, cmd.deadline, cmd.repeats = 0, 0, 0
	cmd.start, cmd.cost, cmd.seq, cmd.detail, cmd.method, cmd.inCodec, cmd.inSize = time.Time{}, 0, 0, "", "", 0, 0
	cmd.raw, cmd.reply, cmd.memory, cmd.mode, cmd.over, cmd.pooled, cmd.exclusive = nil, nil, nil, 0, false, false, false
	e.commands.Put(cmd)
}

func (cmd *callCmd) push(serviceMethod string, arg any, setting []MessageSetting) *Rerror {
	s := cmd.sess
	if r := cmd.prepare(kindPush, serviceMethod, arg, setting); r != nil {
		return r
	}
	m := &cmd.out
	if cmd.seq == 0 {
		cmd.seq = s.pending.Next()
	}
	m.SetSeq(cmd.seq)
	var r *Rerror
	l := s.cur.Load()
	if l == nil {
		if l, r = s.queuePush(cmd); l == nil {
			return r
		}
	}
	ctx := m.GivenContext()
	for {
		err := l.sock.Enqueue(ctx, m)
		if err == nil {
			break
		}
		if err != errMoving {
			return l.writeRerror(ctx, err)
		}
		if l, r = s.queuePush(cmd); l == nil { // until the session has moved, or has not
			return r
		}
	}
	cmd.link = l
	s.flush(l, ctx != nil && ctx.Done() != nil, s.pending.Len() > 0)
	cmd.written(kindPush)
	return nil
}
