package metrics

import (
	"maps"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

var (
	_ tp.PostRegPlugin             = (*Metrics)(nil)
	_ tp.PostDialPlugin            = (*Metrics)(nil)
	_ tp.PostRedialPlugin          = (*Metrics)(nil)
	_ tp.PostAcceptPlugin          = (*Metrics)(nil)
	_ tp.HandOverPlugin            = (*Metrics)(nil)
	_ tp.PostDisconnectPlugin      = (*Metrics)(nil)
	_ tp.PreReadCallBodyPlugin     = (*Metrics)(nil)
	_ tp.PostWriteReplyPlugin      = (*Metrics)(nil)
	_ tp.PreWriteCallPlugin        = (*Metrics)(nil)
	_ tp.PostWriteCallPlugin       = (*Metrics)(nil)
	_ tp.PostReadReplyHeaderPlugin = (*Metrics)(nil)
	_ tp.PostExchangePlugin        = (*Metrics)(nil)
	_ tp.NonBlockingPlugin         = (*Metrics)(nil)
	_ tp.PostNewPeerPlugin         = (*Metrics)(nil)
	_ tp.PostClosePlugin           = (*Metrics)(nil)
)

// Name returns "metrics".
func (m *Metrics) Name() string { return "metrics" }

// NonBlocking promises that no hook blocks.
func (*Metrics) NonBlocking() {}

// PostNewPeer notes the peer, for what it has refused.
func (m *Metrics) PostNewPeer(p tp.EarlyPeer) error {
	if p, ok := p.(peerStats); ok {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.peers = append(m.peers, p)
	}
	return nil
}

// PostReg makes the name of a handler a label, and its counters begin with 0.
func (m *Metrics) PostReg(h *tp.Handler) error {
	if h.IsUnknown() {
		return nil
	}
	s := m.in.Add(h.Name())
	if h.IsPush() {
		s.counter(s.pushes, m.pushes, codeOK)
		return nil
	}
	s.begin()
	return nil
}

// PostDial counts a dialled session.
func (m *Metrics) PostDial(sess tp.PreSession) *tp.Rerror {
	m.open(sess, true)
	return nil
}

// PostRedial counts a redial; the session is the same.
func (m *Metrics) PostRedial(tp.PreSession) *tp.Rerror {
	m.redials.Inc()
	return nil
}

// PostAccept counts an accepted session.
func (m *Metrics) PostAccept(sess tp.PreSession) *tp.Rerror {
	m.open(sess, false)
	return nil
}

// Save saves nothing: each process counts what it does itself.
func (*Metrics) Save(tp.BaseSession) ([]byte, error) { return nil, nil }

// Restore counts a session that a Reboot has handed to this process as an accepted one.
func (m *Metrics) Restore(sess tp.PreSession, _ []byte) *tp.Rerror { return m.PostAccept(sess) }

func (m *Metrics) open(sess any, dialled bool) {
	m.opened.WithLabelValues(side(dialled)).Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live[sess] = dialled // PostDisconnect gets the same session as another interface
}

// PostDisconnect counts the end of a session that was counted.
func (m *Metrics) PostDisconnect(sess tp.BaseSession) *tp.Rerror {
	m.mu.Lock()
	dialled, ok := m.live[sess]
	delete(m.live, sess)
	m.mu.Unlock()
	if !ok {
		return nil
	}
	reason := tp.SideLocal
	if r := sess.CloseReason(); r != nil {
		reason = r.Side
	}
	m.closed.WithLabelValues(side(dialled), string(reason)).Inc()
	return nil
}

func side(dialled bool) string {
	if dialled {
		return sideDialled
	}
	return sideAccepted
}

func (m *Metrics) sessionsNow() map[any]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.live)
}

// PreReadCallBody begins a call that has a handler.
func (m *Metrics) PreReadCallBody(ctx tp.ReadCtx) *tp.Rerror {
	m.flights.put(address(ctx.Input()), flight{m.in.Get(ctx.Path()), m.now()})
	return nil
}

// PostWriteReply counts the bytes of a reply.
func (m *Metrics) PostWriteReply(ctx tp.WriteCtx) *tp.Rerror {
	if read, ok := ctx.(tp.ReadCtx); ok {
		m.in.Get(read.Path()).send(ctx.Output().Size())
	}
	return nil
}

// PreWriteCall begins a call that is about to be sent.
func (m *Metrics) PreWriteCall(ctx tp.WriteCtx) *tp.Rerror {
	out := ctx.Output()
	m.flights.put(address(out), flight{m.out.Meet(out.ServiceMethod()), m.now()})
	return nil
}

// PostWriteCall counts the bytes of a call; its reply may have come already.
func (m *Metrics) PostWriteCall(ctx tp.WriteCtx) *tp.Rerror {
	out := ctx.Output()
	m.out.Meet(out.ServiceMethod()).send(out.Size())
	return nil
}

// PostReadReplyHeader counts the bytes of the reply to a call.
func (m *Metrics) PostReadReplyHeader(ctx tp.ReadCtx) *tp.Rerror {
	in := ctx.Input() // its service method is the call's
	m.out.Meet(in.ServiceMethod()).receive(in.Size())
	return nil
}

// PostExchange counts a call or push, and its outcome.
func (m *Metrics) PostExchange(ctx tp.PreCtx, r *tp.Rerror) {
	code := m.codes.of(r)
	if served, ok := ctx.(tp.ReadCtx); ok {
		in := served.Input()
		s := m.in.Get(served.Path())
		s.receive(in.Size())
		m.end(in, s, code)
		return
	}
	out := ctx.(tp.WriteCtx).Output()
	s := m.out.Meet(out.ServiceMethod())
	if code == codeOK && out.Mtype() == tp.TypePush { // the bytes of a call were counted when it was accepted
		s.send(out.Size())
	}
	m.end(out, s, code)
}

// end counts a message; s is for one that has not begun.
func (m *Metrics) end(message tp.Message, s *series, code int) {
	if message.Mtype() == tp.TypePush {
		s.push(code)
		return
	}
	if f, ok := m.flights.take(address(message)); ok {
		s = f.series
		s.timer().Observe(time.Duration(m.now() - f.start).Seconds())
	}
	s.call(code)
}
