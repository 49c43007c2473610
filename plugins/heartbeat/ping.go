package heartbeat

import (
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// Ping is the plugin of the side that sends beats, on sessions it has dialled and
// on those it has accepted. Its methods may be called at any time, concurrently.
type Ping interface {
	tp.Plugin
	// SetRate changes the rate, in seconds, at least 1.
	SetRate(rateSecond int)
	// UseCall makes beats CALLs: the answer shows that the peer is alive.
	UseCall()
	// UsePush makes beats PUSHes: the peer learns that this side is alive; this side
	// relies on the network for errors of the peer.
	UsePush()
}

// NewPing returns a Ping with a rate in seconds, at least 1. The plugin may be
// given to any number of peers.
func NewPing(rateSecond int, useCall bool) Ping {
	return NewPingEvery(seconds(rateSecond), useCall)
}

// NewPingEvery is NewPing for any rate from 1 ms, for tests. Beats carry the rate
// in whole seconds, rounded up, so the other side is not as quick.
func NewPingEvery(rate time.Duration, useCall bool) Ping {
	p := &ping{}
	p.schedule = schedule{begin: time.Now(), check: p.check, grain: p.grain}
	p.rate.Store(int64(min(max(rate, time.Millisecond), maxRate)))
	p.call.Store(useCall)
	return p
}

func seconds(n int) time.Duration {
	return time.Duration(min(max(n, 1), int(maxRate/time.Second))) * time.Second
}

type ping struct {
	schedule
	rate atomic.Int64
	call atomic.Bool
}

var (
	_ tp.PostDialPlugin            = (*ping)(nil)
	_ tp.PostAcceptPlugin          = (*ping)(nil)
	_ tp.SwapOwner                 = (*ping)(nil)
	_ tp.PostDisconnectPlugin      = (*ping)(nil)
	_ tp.PostWriteCallPlugin       = (*ping)(nil)
	_ tp.PostWritePushPlugin       = (*ping)(nil)
	_ tp.PostReadCallHeaderPlugin  = (*ping)(nil)
	_ tp.PostReadPushHeaderPlugin  = (*ping)(nil)
	_ tp.PostReadReplyHeaderPlugin = (*ping)(nil)
	_ tp.NonBlockingPlugin         = (*ping)(nil)
)

// Name returns "heart-ping".
func (p *ping) Name() string { return "heart-ping" }

// NonBlocking promises that no hook blocks.
func (*ping) NonBlocking() {}

func (p *ping) SetRate(rateSecond int) {
	p.rate.Store(int64(seconds(rateSecond)))
	p.hurry()
}

func (p *ping) UseCall() { p.call.Store(true); p.hurry() }
func (p *ping) UsePush() { p.call.Store(false); p.hurry() }

func (p *ping) PostDial(sess tp.PreSession) *tp.Rerror {
	p.put(p.watch(sess), p.now()+p.rate.Load())
	return nil
}

func (p *ping) PostAccept(sess tp.PreSession) *tp.Rerror { return p.PostDial(sess) }

// Save saves nothing: the new process begins with a rate of its own.
func (p *ping) Save(tp.BaseSession) ([]byte, error) { return nil, nil }

// Restore begins to watch the session in the new process.
func (p *ping) Restore(sess tp.PreSession, _ []byte) *tp.Rerror { return p.PostDial(sess) }

func (p *ping) PostDisconnect(sess tp.BaseSession) *tp.Rerror {
	if w := p.of(sess.Swap()); w != nil {
		p.remove(w)
	}
	return nil
}

func (p *ping) PostWriteCall(ctx tp.WriteCtx) *tp.Rerror {
	w := p.of(ctx.Session().Swap())
	if w == nil {
		return nil
	}
	now := p.now()
	w.sent.Store(now)
	if r := w.round.Load(); r != nil && ctx.Output().ServiceMethod() == HeartbeatServiceMethod {
		r.accepted.Store(now)
	}
	return nil
}

func (p *ping) PostWritePush(ctx tp.WriteCtx) *tp.Rerror {
	if w := p.of(ctx.Session().Swap()); w != nil {
		w.sent.Store(p.now())
	}
	return nil
}

func (p *ping) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror  { return p.noteReceived(ctx.Session()) }
func (p *ping) PostReadPushHeader(ctx tp.ReadCtx) *tp.Rerror  { return p.noteReceived(ctx.Session()) }
func (p *ping) PostReadReplyHeader(ctx tp.ReadCtx) *tp.Rerror { return p.noteReceived(ctx.Session()) }

// round is one beat and its answer.
type round struct {
	began    int64
	accepted atomic.Int64 // when the session accepted the beat; 0: not yet
	over     atomic.Bool  // the call has ended without an answer
}

// unsent is how much longer than a rate a beat may wait to be sent: while the
// session redials, or behind messages that the peer does not read. Both have bounds
// of their own.
const unsent = 30 * time.Second

// grain: beats may come a little early.
func (p *ping) grain() int64 { return p.rate.Load() / 64 }

func (p *ping) check(w *watched, now int64) (next int64) {
	rate, call := p.rate.Load(), p.call.Load()
	sess, ok := w.session()
	if !ok {
		return now + rate // not ready yet, or about to be removed
	}
	received, sent := w.received.Load(), w.sent.Load()
	if r := w.round.Load(); r != nil {
		accepted, limit := r.accepted.Load(), rate
		if accepted == 0 {
			accepted, limit = r.began, rate+int64(unsent)
		}
		if !call || !r.over.Load() || received < accepted {
			if end := max(accepted, received) + limit; now < end {
				return min(end, now+rate) // the answer may be there by then
			}
			if call {
				w.giveUp(sess, time.Duration(now-received), time.Duration(rate))
			}
			return now + rate
		}
		w.round.Store(nil) // the answer was late, but something was received
	}
	due := sent + rate
	if call {
		due = min(received, sent) + rate
	}
	if due > now+p.grain() {
		return due
	}
	r := &round{began: now}
	w.round.Store(r)
	go p.beat(w, r, sess, call, rateText(time.Duration(rate)))
	return now + rate
}

// beat sends one and waits for its end, at the latest that of the session.
func (p *ping) beat(w *watched, r *round, sess tp.Session, call bool, rate string) {
	var rerr *tp.Rerror
	if call {
		rerr = sess.Call(HeartbeatServiceMethod, nil, nil, tp.WithSetMeta(MetaRate, rate)).Rerror()
	} else {
		rerr = sess.Push(HeartbeatServiceMethod, nil, tp.WithSetMeta(MetaRate, rate))
	}
	if rerr != nil && rerr.Code == tp.CodeHandleTimeout {
		r.over.Store(true) // of a DefaultCallTimeout below the rate: no answer
		return
	}
	// Any other error is an answer, or the end of the connection.
	w.round.CompareAndSwap(r, nil)
}
