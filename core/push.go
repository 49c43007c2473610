package tp

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
	_, r := s.push(serviceMethod, arg, setting, PushWait)
	return r
}

// push is Push with another policy in place of PushWait. lost says that the policy has
// dropped the message.
func (s *session) push(serviceMethod string, arg any, setting []MessageSetting, wait PushPolicy) (lost bool, r *Rerror) {
	p := s.command()
	pushed := false
	defer func() {
		if !pushed { // a hook or the codec has ended the goroutine
			s.logPush(p, goexitRerror())
		}
	}()
	r = p.push(serviceMethod, arg, setting, wait)
	pushed, lost = true, p.lost
	s.logPush(p, r)
	p.recycle()
	return lost, r
}

// recycle returns a command of command to the pool. No other goroutine may hold it.
func (cmd *callCmd) recycle() {
	e := cmd.sess.env
	cmd.out.Reset()
	cmd.logger, cmd.sess, cmd.link, cmd.result, cmd.swap, cmd.rerr = logger{}, nil, nil, nil, nil, nil
	cmd.giveUpAt, cmd.deadline, cmd.repeats = 0, 0, 0
	cmd.start, cmd.cost, cmd.seq, cmd.detail, cmd.method, cmd.in, cmd.inCodec, cmd.inSize = 0, 0, 0, "", "", nil, 0, 0
	cmd.reply, cmd.memory, cmd.mode, cmd.over, cmd.pooled, cmd.lost = nil, nil, 0, false, false, false
	e.commands.Put(cmd)
}

func (cmd *callCmd) push(serviceMethod string, arg any, setting []MessageSetting, wait PushPolicy) *Rerror {
	s := cmd.sess
	if r := cmd.prepare(kindPush, serviceMethod, arg, setting); r != nil {
		return r
	}
	m := &cmd.out
	cmd.number()
	if p := cmd.policy(wait); p != PushWait {
		return cmd.pushNow(p)
	}
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
