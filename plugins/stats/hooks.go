package stats

import (
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/labels"
)

var (
	_ tp.PostRegPlugin             = (*Stats)(nil)
	_ tp.PostDialPlugin            = (*Stats)(nil)
	_ tp.PostRedialPlugin          = (*Stats)(nil)
	_ tp.PostAcceptPlugin          = (*Stats)(nil)
	_ tp.HandOverPlugin            = (*Stats)(nil)
	_ tp.PostDisconnectPlugin      = (*Stats)(nil)
	_ tp.PreReadCallBodyPlugin     = (*Stats)(nil)
	_ tp.PostWriteReplyPlugin      = (*Stats)(nil)
	_ tp.PreWriteCallPlugin        = (*Stats)(nil)
	_ tp.PostWriteCallPlugin       = (*Stats)(nil)
	_ tp.PostReadReplyHeaderPlugin = (*Stats)(nil)
	_ tp.PostExchangePlugin        = (*Stats)(nil)
	_ tp.NonBlockingPlugin         = (*Stats)(nil)
)

// New returns a plugin that has counted nothing.
func New() *Stats {
	return &Stats{
		base:     time.Now(),
		in:       labels.New(Unknown, 0, newRoute),
		out:      labels.New(Other, labels.MaxPaths, newRoute),
		sessions: make(map[any]bool),
	}
}

// Name returns "stats".
func (s *Stats) Name() string { return "stats" }

// NonBlocking promises that no hook blocks.
func (*Stats) NonBlocking() {}

// PostReg makes the name of a handler a label.
func (s *Stats) PostReg(h *tp.Handler) error {
	if !h.IsUnknown() {
		s.in.Add(h.Name())
	}
	return nil
}

// PostDial counts a dialled session.
func (s *Stats) PostDial(sess tp.PreSession) *tp.Rerror {
	s.dialled.Add(1)
	s.open(sess, true)
	return nil
}

// PostRedial counts a redial; the session is the same.
func (s *Stats) PostRedial(tp.PreSession) *tp.Rerror {
	s.redials.Add(1)
	return nil
}

// PostAccept counts an accepted session.
func (s *Stats) PostAccept(sess tp.PreSession) *tp.Rerror {
	s.accepted.Add(1)
	s.open(sess, false)
	return nil
}

// Save saves nothing: each process counts what it does itself.
func (*Stats) Save(tp.BaseSession) ([]byte, error) { return nil, nil }

// Restore counts a session that a Reboot has handed to this process as an accepted one.
func (s *Stats) Restore(sess tp.PreSession, _ []byte) *tp.Rerror { return s.PostAccept(sess) }

func (s *Stats) open(sess any, dialled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[sess] = dialled
}

// PostDisconnect removes a session.
func (s *Stats) PostDisconnect(sess tp.BaseSession) *tp.Rerror {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sess)
	return nil
}

// PreReadCallBody begins a call that has a handler.
func (s *Stats) PreReadCallBody(ctx tp.ReadCtx) *tp.Rerror {
	s.begin(ctx.Input(), s.in.Get(ctx.Path()))
	return nil
}

// PostWriteReply counts the bytes of a reply.
func (s *Stats) PostWriteReply(ctx tp.WriteCtx) *tp.Rerror {
	read, ok := ctx.(tp.ReadCtx)
	if !ok {
		return nil
	}
	var c *route
	if k := s.begun(read.Input()); k != nil {
		c = k.route
	} else {
		c = s.in.Get(read.Path())
	}
	c.bytesOut.Add(uint64(ctx.Output().Size()))
	return nil
}

// PreWriteCall begins a call that is about to be sent.
func (s *Stats) PreWriteCall(ctx tp.WriteCtx) *tp.Rerror {
	m := ctx.Output()
	s.begin(m, s.out.Meet(m.ServiceMethod()))
	return nil
}

// PostWriteCall counts the bytes of a call.
func (s *Stats) PostWriteCall(ctx tp.WriteCtx) *tp.Rerror {
	m := ctx.Output()
	s.sent(m).bytesOut.Add(uint64(m.Size()))
	return nil
}

// PostReadReplyHeader counts the bytes of the reply to a call.
func (s *Stats) PostReadReplyHeader(ctx tp.ReadCtx) *tp.Rerror {
	if call, ok := ctx.(tp.WriteCtx); ok {
		s.sent(call.Output()).bytesIn.Add(uint64(ctx.Input().Size()))
	}
	return nil
}

// sent returns the counters of a call that was sent.
func (s *Stats) sent(m tp.Message) *route {
	if k := s.begun(m); k != nil {
		return k.route
	}
	return s.out.Meet(m.ServiceMethod()) // sent before the plugin was added
}

// PostExchange counts a call or push, and its outcome.
func (s *Stats) PostExchange(ctx tp.PreCtx, r *tp.Rerror) {
	served, incoming := ctx.(tp.ReadCtx)
	var m tp.Message
	var c *route
	if incoming {
		m = served.Input()
	} else {
		m = ctx.(tp.WriteCtx).Output()
	}
	k := s.begun(m)
	switch {
	case k != nil:
		c = k.route
	case incoming:
		c = s.in.Get(served.Path())
	default:
		c = s.out.Meet(m.ServiceMethod())
	}
	push := m.Mtype() == tp.TypePush
	switch {
	case push:
		c.pushes.Add(1)
	case k == nil:
		c.refused.Add(1)
	default:
		c.time.add(s.now() - k.start)
	}
	failed := r.HasError()
	switch {
	case incoming:
		c.bytesIn.Add(uint64(m.Size()))
	case push && !failed: // that of a call is counted when it was accepted
		c.bytesOut.Add(uint64(m.Size()))
	}
	if failed {
		c.fail(r.Code)
	}
}
