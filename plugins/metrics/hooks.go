package metrics

import (
	"context"
	"maps"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

var (
	_ tp.PostNewPeerPlugin         = (*Metrics)(nil)
	_ tp.PostRegPlugin             = (*Metrics)(nil)
	_ tp.PostDialPlugin            = (*Metrics)(nil)
	_ tp.PostRedialPlugin          = (*Metrics)(nil)
	_ tp.PostAcceptPlugin          = (*Metrics)(nil)
	_ tp.PostDisconnectPlugin      = (*Metrics)(nil)
	_ tp.PreReadCallBodyPlugin     = (*Metrics)(nil)
	_ tp.PostWriteReplyPlugin      = (*Metrics)(nil)
	_ tp.PostReadPushHeaderPlugin  = (*Metrics)(nil)
	_ tp.PreReadPushBodyPlugin     = (*Metrics)(nil)
	_ tp.PreWriteCallPlugin        = (*Metrics)(nil)
	_ tp.PostWriteCallPlugin       = (*Metrics)(nil)
	_ tp.PostReadReplyHeaderPlugin = (*Metrics)(nil)
	_ tp.PostWritePushPlugin       = (*Metrics)(nil)
)

// Name returns "metrics".
func (m *Metrics) Name() string { return "metrics" }

// PostNewPeer notes that a whole peer has the plugin.
func (m *Metrics) PostNewPeer(tp.EarlyPeer) error {
	m.peers.Add(1)
	return nil
}

// PostReg makes the name of a handler a label, and its counters begin with 0.
func (m *Metrics) PostReg(h *tp.Handler) error {
	if h.IsUnknown() {
		return nil
	}
	s := m.in.Add(h.Name())
	if h.IsPush() {
		s.push(0)
		return nil
	}
	s.begin()
	return nil
}

// PostDial counts a dialled session.
func (m *Metrics) PostDial(sess tp.PreSession) *tp.Rerror {
	m.begin(sess, true)
	return nil
}

// PostRedial counts a redial; the session is the same.
func (m *Metrics) PostRedial(sess tp.PreSession) *tp.Rerror {
	m.redials.Inc()
	m.end(sess, true)
	return nil
}

// PostAccept counts an accepted session.
func (m *Metrics) PostAccept(sess tp.PreSession) *tp.Rerror {
	m.begin(sess, false)
	return nil
}

func (m *Metrics) begin(sess any, dialled bool) {
	m.opened.WithLabelValues(side(dialled)).Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live[sess] = dialled // the session that ends is the same one behind another interface
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
	m.end(sess, false)
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
	s := m.in.Get(ctx.Path())
	in, sess := ctx.Input(), ctx.Session()
	s.receive(in.Size())
	f := flight{series: s, start: m.now(), sess: address(sess), seq: in.Seq()}
	if age := sess.ContextAge(); age > 0 {
		f.until = f.start + int64(age)
	}
	m.flights.put(address(in), f)
	return nil
}

// PostWriteReply ends a call; it counts those that found no handler, or no way to
// it.
func (m *Metrics) PostWriteReply(ctx tp.WriteCtx) *tp.Rerror {
	read, ok := ctx.(tp.ReadCtx)
	if !ok {
		return nil
	}
	in, out := read.Input(), ctx.Output()
	f, ok := m.flights.take(address(in), address(ctx.Session()), in.Seq())
	if ok {
		f.observe(m.now())
	} else {
		f.series = m.in.Get(read.Path())
		f.series.receive(in.Size())
	}
	f.series.send(out.Size())
	if !f.lost {
		f.series.call(m.codes.of(out.Rerror()))
	}
	return nil
}

func (f *flight) observe(now int64) {
	f.series.timer().Observe(time.Duration(now - f.start).Seconds())
}

// counted marks a push that was counted before its handler was known.
type counted struct {
	context.Context
	by *Metrics
}

// Value finds the mark through contexts that others have put around it.
func (c *counted) Value(key any) any {
	if key == any(c.by) {
		return true
	}
	return c.Context.Value(key)
}

// PostReadPushHeader counts a push that will find no handler, or an unknown one.
func (m *Metrics) PostReadPushHeader(ctx tp.ReadCtx) *tp.Rerror {
	if m.peers.Load() == 0 {
		return nil // a group's: it is asked about what is not its own, too
	}
	if s := m.in.Get(ctx.Path()); s == m.in.Rest() {
		in := ctx.Input()
		s.push(1)
		s.receive(in.Size())
		tp.WithContext(&counted{in.Context(), m})(in)
	}
	return nil
}

// PreReadPushBody counts a push that has a handler.
func (m *Metrics) PreReadPushBody(ctx tp.ReadCtx) *tp.Rerror {
	in := ctx.Input()
	if in.Context().Value(m) != nil {
		return nil // counted already
	}
	s := m.in.Get(ctx.Path())
	s.push(1)
	s.receive(in.Size())
	return nil
}

// PreWriteCall begins a call that is about to be sent.
func (m *Metrics) PreWriteCall(ctx tp.WriteCtx) *tp.Rerror {
	out := ctx.Output()
	f := flight{series: m.out.Meet(out.ServiceMethod()), start: m.now(), sess: address(ctx.Session())}
	if at, ok := out.Context().Deadline(); ok {
		f.until = int64(at.Sub(m.base))
	}
	m.flights.put(address(out), f)
	return nil
}

// PostWriteCall counts the bytes of a call; its reply may have come already.
func (m *Metrics) PostWriteCall(ctx tp.WriteCtx) *tp.Rerror {
	out := ctx.Output()
	m.out.Meet(out.ServiceMethod()).send(out.Size())
	return nil
}

// PostReadReplyHeader ends a call.
func (m *Metrics) PostReadReplyHeader(ctx tp.ReadCtx) *tp.Rerror {
	call, ok := ctx.(tp.WriteCtx)
	if !ok {
		return nil
	}
	f, ok := m.flights.take(address(call.Output()), address(ctx.Session()), 0)
	if !ok {
		return nil // launched before there was the plugin
	}
	f.observe(m.now())
	f.series.receive(ctx.Input().Size())
	if !f.lost {
		f.series.call(m.codes.of(ctx.Rerror()))
	}
	return nil
}

// PostWritePush counts a push that was sent.
func (m *Metrics) PostWritePush(ctx tp.WriteCtx) *tp.Rerror {
	out := ctx.Output()
	s := m.out.Meet(out.ServiceMethod())
	s.push(1)
	s.send(out.Size())
	return nil
}
