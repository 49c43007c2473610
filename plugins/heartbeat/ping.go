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
	// UseCall makes beats CALLs: the answer shows that the peer lives.
	UseCall()
	// UsePush makes beats PUSHes: the peer knows that this side lives; this side
	// leaves it to the system to find out about the peer.
	UsePush()
}

// NewPing returns a Ping with a rate in seconds, at least 1. The plugin may be
// given to any number of peers.
func NewPing(rateSecond int, useCall bool) Ping {
	return NewPingEvery(seconds(rateSecond), useCall)
}

// NewPingEvery is NewPing for any rate from 1 ms, for tests. Beats tell the rate
// in whole seconds, rounded up, so the other side is not as quick.
func NewPingEvery(rate time.Duration, useCall bool) Ping {
	p := &ping{}
	p.agenda = agenda{begin: time.Now(), visit: p.visit, grain: p.grain}
	p.rate.Store(int64(min(max(rate, time.Millisecond), maxRate)))
	p.call.Store(useCall)
	return p
}

func seconds(n int) time.Duration {
	return time.Duration(min(max(n, 1), int(maxRate/time.Second))) * time.Second
}

type ping struct {
	agenda
	rate atomic.Int64
	call atomic.Bool
}

var (
	_ tp.PostDialPlugin            = (*ping)(nil)
	_ tp.PostAcceptPlugin          = (*ping)(nil)
	_ tp.PostDisconnectPlugin      = (*ping)(nil)
	_ tp.PostWriteCallPlugin       = (*ping)(nil)
	_ tp.PostWritePushPlugin       = (*ping)(nil)
	_ tp.PostReadCallHeaderPlugin  = (*ping)(nil)
	_ tp.PostReadPushHeaderPlugin  = (*ping)(nil)
	_ tp.PostReadReplyHeaderPlugin = (*ping)(nil)
	_ tp.PromptPlugin              = (*ping)(nil)
)

// Name returns "heart-ping".
func (p *ping) Name() string { return "heart-ping" }

// Prompt promises that no hook waits.
func (*ping) Prompt() {}

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
		r.asked.Store(now)
	}
	return nil
}

func (p *ping) PostWritePush(ctx tp.WriteCtx) *tp.Rerror {
	if w := p.of(ctx.Session().Swap()); w != nil {
		w.sent.Store(p.now())
	}
	return nil
}

func (p *ping) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror  { return p.heardFrom(ctx.Session()) }
func (p *ping) PostReadPushHeader(ctx tp.ReadCtx) *tp.Rerror  { return p.heardFrom(ctx.Session()) }
func (p *ping) PostReadReplyHeader(ctx tp.ReadCtx) *tp.Rerror { return p.heardFrom(ctx.Session()) }

// round is one beat and its answer.
type round struct {
	began int64
	asked atomic.Int64 // when the session has accepted the beat; 0: not yet
	over  atomic.Bool  // nobody waits for the answer any more, and it has not come
}

// unsent is how much longer than a rate a beat may wait to be sent: while the
// session redials, and behind much that the peer does not read. Both have bounds
// of their own.
const unsent = 30 * time.Second

// grain: beats may come a little early.
func (p *ping) grain() int64 { return p.rate.Load() / 64 }

func (p *ping) visit(w *watched, now int64) (next int64) {
	rate, call := p.rate.Load(), p.call.Load()
	sess, ok := w.session()
	if !ok {
		return now + rate // not ready yet, or about to be removed
	}
	heard, sent := w.heard.Load(), w.sent.Load()
	if r := w.round.Load(); r != nil {
		asked, limit := r.asked.Load(), rate
		if asked == 0 {
			asked, limit = r.began, rate+int64(unsent)
		}
		if !call || !r.over.Load() || heard < asked {
			if end := max(asked, heard) + limit; now < end {
				return min(end, now+rate) // the answer may have come by then
			}
			if call {
				w.giveUp(sess, time.Duration(now-heard), time.Duration(rate))
			}
			return now + rate
		}
		w.round.Store(nil) // the answer was late, but something has come
	}
	due := sent + rate
	if call {
		due = min(heard, sent) + rate
	}
	if due > now+p.grain() {
		return due
	}
	r := &round{began: now}
	w.round.Store(r)
	go p.beat(w, r, sess, call, rateText(time.Duration(rate)))
	return now + rate
}

// beat sends one and waits for its end, which is that of the session at the latest.
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
