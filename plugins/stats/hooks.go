package stats

import (
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/labels"
)

var (
	_ tp.PostNewPeerPlugin         = (*Stats)(nil)
	_ tp.PostRegPlugin             = (*Stats)(nil)
	_ tp.PostDialPlugin            = (*Stats)(nil)
	_ tp.PostRedialPlugin          = (*Stats)(nil)
	_ tp.PostAcceptPlugin          = (*Stats)(nil)
	_ tp.PostDisconnectPlugin      = (*Stats)(nil)
	_ tp.PreReadCallBodyPlugin     = (*Stats)(nil)
	_ tp.PostWriteReplyPlugin      = (*Stats)(nil)
	_ tp.PostReadPushHeaderPlugin  = (*Stats)(nil)
	_ tp.PreReadPushBodyPlugin     = (*Stats)(nil)
	_ tp.PreWriteCallPlugin        = (*Stats)(nil)
	_ tp.PostWriteCallPlugin       = (*Stats)(nil)
	_ tp.PostReadReplyHeaderPlugin = (*Stats)(nil)
	_ tp.PostWritePushPlugin       = (*Stats)(nil)
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

// PostNewPeer notes that a whole peer has the plugin.
func (s *Stats) PostNewPeer(tp.EarlyPeer) error {
	s.peers.Add(1)
	return nil
}

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
	return s.begin(sess, true)
}

// PostRedial counts a redial; the session is the same.
func (s *Stats) PostRedial(tp.PreSession) *tp.Rerror {
	s.redials.Add(1)
	return nil
}

// PostAccept counts an accepted session.
func (s *Stats) PostAccept(sess tp.PreSession) *tp.Rerror {
	s.accepted.Add(1)
	return s.begin(sess, false)
}

func (s *Stats) begin(sess any, dialled bool) *tp.Rerror {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[sess] = dialled
	return nil
}

// PostDisconnect forgets a session.
func (s *Stats) PostDisconnect(sess tp.BaseSession) *tp.Rerror {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sess)
	return nil
}

// PreReadCallBody counts a call that has a handler, and starts its time.
func (s *Stats) PreReadCallBody(ctx tp.ReadCtx) *tp.Rerror {
	c := s.in.Get(ctx.Path())
	m := ctx.Input()
	c.calls.Add(1)
	c.bytesIn.Add(uint64(m.Size()))
	s.mark(m, c)
	return nil
}

// PostWriteReply ends a call's time; it counts those that found no handler, or no
// way to it.
func (s *Stats) PostWriteReply(ctx tp.WriteCtx) *tp.Rerror {
	read, ok := ctx.(tp.ReadCtx)
	if !ok {
		return nil
	}
	var c *route
	in := read.Input()
	if k := s.marked(in); k != nil {
		c = k.route
		c.time.add(s.now() - k.start)
	} else {
		c = s.in.Get(read.Path())
		c.calls.Add(1)
		c.bytesIn.Add(uint64(in.Size()))
	}
	c.bytesOut.Add(uint64(ctx.Output().Size()))
	if r := ctx.Rerror(); r.HasError() {
		c.fail(r.Code)
	}
	return nil
}

// PostReadPushHeader counts a push that will find no handler, or an unknown one.
func (s *Stats) PostReadPushHeader(ctx tp.ReadCtx) *tp.Rerror {
	if s.peers.Load() == 0 {
		return nil // a group's: it is asked about what is not its own, too
	}
	if c := s.in.Get(ctx.Path()); c == s.in.Rest() {
		m := ctx.Input()
		c.pushes.Add(1)
		c.bytesIn.Add(uint64(m.Size()))
		s.mark(m, c)
	}
	return nil
}

// PreReadPushBody counts a push that has a handler.
func (s *Stats) PreReadPushBody(ctx tp.ReadCtx) *tp.Rerror {
	m := ctx.Input()
	if s.marked(m) != nil {
		return nil // counted already
	}
	c := s.in.Get(ctx.Path())
	c.pushes.Add(1)
	c.bytesIn.Add(uint64(m.Size()))
	return nil
}

// PreWriteCall counts a call that is about to be sent, and starts its time.
func (s *Stats) PreWriteCall(ctx tp.WriteCtx) *tp.Rerror {
	m := ctx.Output()
	c := s.out.Meet(m.ServiceMethod())
	c.calls.Add(1)
	s.mark(m, c)
	return nil
}

// PostWriteCall counts the bytes of a call.
func (s *Stats) PostWriteCall(ctx tp.WriteCtx) *tp.Rerror {
	m := ctx.Output()
	if k := s.marked(m); k != nil {
		k.route.bytesOut.Add(uint64(m.Size()))
	}
	return nil
}

// PostReadReplyHeader ends a call's time.
func (s *Stats) PostReadReplyHeader(ctx tp.ReadCtx) *tp.Rerror {
	call, ok := ctx.(tp.WriteCtx)
	if !ok {
		return nil
	}
	k := s.marked(call.Output())
	if k == nil {
		return nil // launched before there was the plugin
	}
	k.route.time.add(s.now() - k.start)
	k.route.bytesIn.Add(uint64(ctx.Input().Size()))
	if r := ctx.Rerror(); r.HasError() {
		k.route.fail(r.Code)
	}
	return nil
}

// PostWritePush counts a push that was sent.
func (s *Stats) PostWritePush(ctx tp.WriteCtx) *tp.Rerror {
	m := ctx.Output()
	c := s.out.Meet(m.ServiceMethod())
	c.pushes.Add(1)
	c.bytesOut.Add(uint64(m.Size()))
	return nil
}
