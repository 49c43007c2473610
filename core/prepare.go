package tp

import (
	"fmt"
	"time"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
)

// This file makes a call or a PUSH of what the user gives: its message, with its hooks.

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
