package heartbeat

import (
	"fmt"
	"strings"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
)

// Pong is the plugin of the side that answers beats.
type Pong interface {
	tp.Plugin
	pong()
}

// NewPong returns a Pong, which may be given to any number of peers. Sessions
// whose peer has sent no rate are left alone.
func NewPong() Pong {
	p := &pong{}
	p.schedule = schedule{begin: time.Now(), check: p.check, grain: func() int64 { return 0 }}
	return p
}

type pong struct{ schedule }

var (
	_ tp.PostNewPeerPlugin         = (*pong)(nil)
	_ tp.PostDialPlugin            = (*pong)(nil)
	_ tp.PostAcceptPlugin          = (*pong)(nil)
	_ tp.SwapOwner                 = (*pong)(nil)
	_ tp.PostDisconnectPlugin      = (*pong)(nil)
	_ tp.PostWritePushPlugin       = (*pong)(nil)
	_ tp.PostReadCallHeaderPlugin  = (*pong)(nil)
	_ tp.PostReadPushHeaderPlugin  = (*pong)(nil)
	_ tp.PostReadReplyHeaderPlugin = (*pong)(nil)
	_ tp.NonBlockingPlugin         = (*pong)(nil)
)

func (p *pong) pong() {}

// Name returns "heart-pong".
func (p *pong) Name() string { return "heart-pong" }

// NonBlocking promises that no hook blocks.
func (*pong) NonBlocking() {}

// PostNewPeer registers the routes of beats: HeartbeatServiceMethod, and what the
// peer's mapper makes of "heartbeat", which v5 and v7 call with that mapper.
func (p *pong) PostNewPeer(peer tp.EarlyPeer) error {
	const word = "heartbeat"
	if tp.HandleCall(peer, word, p.call) != HeartbeatServiceMethod {
		tp.HandleCall(peer, HeartbeatServiceMethod, p.call)
	}
	if tp.HandlePush(peer, word, p.push) != HeartbeatServiceMethod {
		tp.HandlePush(peer, HeartbeatServiceMethod, p.push)
	}
	return nil
}

func (p *pong) PostDial(sess tp.PreSession) *tp.Rerror {
	p.watch(sess)
	return nil
}

func (p *pong) PostAccept(sess tp.PreSession) *tp.Rerror { return p.PostDial(sess) }

// Save saves the rate of the peer's beats, as they carry it; nothing if it is not known.
func (p *pong) Save(sess tp.BaseSession) ([]byte, error) {
	if w := p.of(sess.Swap()); w != nil && w.rate.Load() > 0 {
		return []byte(rateText(time.Duration(w.rate.Load()))), nil
	}
	return nil, nil
}

// Restore goes on watching the session in the new process.
func (p *pong) Restore(sess tp.PreSession, saved []byte) *tp.Rerror {
	w := p.watch(sess)
	if len(saved) == 0 {
		return nil
	}
	rate, ok := parseRate(saved)
	if !ok {
		return tp.NewRerror(tp.CodeBadMessage, tp.CodeText(tp.CodeBadMessage), fmt.Sprintf("heartbeat: the rate %.32q is none", saved))
	}
	w.rate.Store(int64(rate))
	p.put(w, w.received.Load()+2*int64(rate))
	return nil
}

func (p *pong) PostDisconnect(sess tp.BaseSession) *tp.Rerror {
	if w := p.of(sess.Swap()); w != nil {
		p.remove(w)
	}
	return nil
}

// PostWritePush counts a push that was sent as a sign of life, unless it is a beat
// of the same peer's Ping: v5 and v7 do not beat while they receive pushes, and have
// nothing to answer.
func (p *pong) PostWritePush(ctx tp.WriteCtx) *tp.Rerror {
	if ctx.Output().ServiceMethod() == HeartbeatServiceMethod {
		return nil
	}
	return p.noteReceived(ctx.Session())
}

func (p *pong) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror  { return p.noteReceived(ctx.Session()) }
func (p *pong) PostReadPushHeader(ctx tp.ReadCtx) *tp.Rerror  { return p.noteReceived(ctx.Session()) }
func (p *pong) PostReadReplyHeader(ctx tp.ReadCtx) *tp.Rerror { return p.noteReceived(ctx.Session()) }

// call answers a beat. v5 and v7 expect the JSON of nil.
func (p *pong) call(ctx tp.CallCtx, _ *[]byte) ([]byte, error) {
	if r := p.beat(ctx); r != nil {
		return nil, r.Err()
	}
	if ctx.ReplyBodyCodec() == codec.JSON {
		return []byte("null"), nil
	}
	return nil, nil
}

func (p *pong) push(ctx tp.PushCtx, _ *[]byte) error {
	if r := p.beat(ctx); r != nil {
		return r.Err()
	}
	return nil
}

// beat records the rate; that the peer is alive is recorded already. Without a rate
// it stays as it was.
func (p *pong) beat(ctx tp.InputCtx) *tp.Rerror {
	text := ctx.PeekMeta(MetaRate)
	if text == nil {
		text = ctx.PeekMeta("Hb_") // the canonical form of HTTP
	}
	if len(text) == 0 {
		return nil
	}
	rate, ok := parseRate(text)
	if !ok {
		return tp.NewRerror(tp.CodeBadMessage, "invalid heartbeat rate", brief(text))
	}
	w := p.of(ctx.Session().Swap())
	if w != nil && w.rate.Swap(int64(rate)) != int64(rate) {
		p.put(w, w.received.Load()+2*int64(rate))
	}
	return nil
}

// brief is the text, cut to what an error may quote.
func brief(text []byte) string {
	if len(text) > 32 {
		return strings.ToValidUTF8(string(text[:32]), "\uFFFD") + "…"
	}
	return strings.ToValidUTF8(string(text), "\uFFFD")
}

func (p *pong) check(w *watched, now int64) (next int64) {
	rate := w.rate.Load()
	if rate == 0 {
		return 0
	}
	received := w.received.Load()
	if end := received + 2*rate; now < end {
		return end
	}
	if sess, ok := w.session(); ok {
		w.giveUp(sess, time.Duration(now-received), time.Duration(rate))
	}
	return now + rate
}
