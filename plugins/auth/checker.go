package auth

import (
	"context"
	"slices"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// Checker decides about a peer: it calls fn, once, looks at what that brings, and
// returns what the peer's Bearer gets, or why it is refused: the peer gets code,
// message and reason, and the connection is closed. An error of fn refuses the
// peer even if it is not returned. Without a call of fn the info is not looked at.
type Checker func(sess Session, fn RecvOnce) (ret any, rerr *tp.Rerror)

// RecvOnce waits for what the peer has to show, and decodes it into infoRecv, a
// pointer or nil. Its error is 401 when the peer's first message is another, 400
// when the info cannot be decoded, 408 when the time is over, or one of the
// connection.
type RecvOnce func(infoRecv any) *tp.Rerror

// MultiRecvErr is what all calls of RecvOnce but the first get, in a copy.
var MultiRecvErr = tp.NewRerror(tp.CodeInternalServerError, "auth-checker plugin usage is incorrect", "multiple call RecvOnce function")

// CheckerPlugin is the plugin of the accepting side.
type CheckerPlugin struct {
	handshake
	fn      Checker
	setting []tp.MessageSetting
}

var (
	_ tp.PreNewPeerPlugin = (*CheckerPlugin)(nil)
	_ tp.PostAcceptPlugin = (*CheckerPlugin)(nil)
)

// NewCheckerPlugin returns the plugin, which may be given to any number of peers;
// fn is called concurrently. The settings are those of the AUTH_REPLY: without one
// for the codec ret is in the peer's default codec.
func NewCheckerPlugin(fn Checker, retSetting ...tp.MessageSetting) *CheckerPlugin {
	p := &CheckerPlugin{fn: fn, setting: slices.Clip(retSetting)}
	p.within(DefaultTimeout)
	return p
}

// Within sets how long the handshake may take, and returns the plugin; not above
// 0 is DefaultTimeout. It must be called before a peer gets the plugin. A
// HandshakeTimeout in the peer's configuration ends all hooks of the connection.
// The Checker itself is not interrupted; if it takes longer the peer is refused.
func (p *CheckerPlugin) Within(d time.Duration) *CheckerPlugin {
	p.within(d)
	return p
}

// Name returns "auth-checker".
func (p *CheckerPlugin) Name() string { return "auth-checker" }

// PostAccept lets the peer in, or says why not.
func (p *CheckerPlugin) PostAccept(sess tp.PreSession) *tp.Rerror {
	ctx, cancel := p.context()
	defer cancel()
	var req tp.Message // nil: none was received
	var failed *tp.Rerror
	receiveOnce := func(infoRecv any) *tp.Rerror {
		if req != nil {
			return MultiRecvErr.Copy()
		}
		req, failed = receive(ctx, sess, tp.TypeAuthCall, infoRecv)
		return failed
	}
	ret, r := p.fn(sess, receiveOnce)
	if req == nil {
		// Unread it would be the reader's first message, or, when the connection is
		// closed, reset it under the refusal.
		if r.HasError() {
			ctx, cancel = context.WithTimeout(ctx, goodbye)
			defer cancel()
		}
		receiveOnce(nil)
	}
	if !r.HasError() {
		if r = failed; !r.HasError() && ctx.Err() != nil {
			r = tooLate(ctx)
		}
	}
	if r.HasError() {
		refuse(sess, req, r)
		return r
	}
	setting := append([]tp.MessageSetting{tp.WithBodyCodec(0)}, p.setting...)
	if r = sess.PreReply(req, ret, nil, append(setting, tp.WithContext(ctx))...); r.HasError() {
		said := r
		if r.Code == tp.CodeWriteFailed { // ret cannot be sent; that is no fault of the peer
			said = tp.NewRerror(tp.CodeInternalServerError, tp.CodeText(tp.CodeInternalServerError), r.Reason)
		}
		refuse(sess, req, said)
	}
	return r
}

// refuse says why. Who has sent a CALL instead learns it as the call's error.
func refuse(sess tp.PreSession, req tp.Message, r *tp.Rerror) {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	if req != nil && (req.Mtype() == tp.TypeAuthCall || req.Mtype() == tp.TypeCall) {
		sess.PreReply(req, nil, r, tp.WithContext(ctx))
		return
	}
	sess.PreSend(tp.TypeAuthReply, "", nil, r, tp.WithContext(ctx))
}
