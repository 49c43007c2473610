package auth

import (
	"context"
	"slices"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// Checker decides about a peer: it calls fn, once, checks the info, and returns the
// answer for the peer's Bearer, or an error: the peer gets its code, message and
// reason, and the connection is closed. An error of fn refuses the peer even if the
// Checker does not return it. If fn is not called the info is not decoded.
type Checker func(sess Session, fn RecvOnce) (ret any, rerr *tp.Rerror)

// RecvOnce waits for the peer's info, and decodes it into infoRecv, a pointer or
// nil. Its error is 401 if the peer's first message is no AUTH_CALL, 400 if the info
// cannot be decoded, 408 when the time is over, or one of the connection.
type RecvOnce func(infoRecv any) *tp.Rerror

// MultiRecvErr is the error of all calls of RecvOnce but the first, which get a copy.
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

// PostAccept accepts the peer, or refuses it.
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
		// Left unread, the AUTH_CALL would be the reader's first message, or closing
		// would reset the connection before the refusal is read.
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
		if r.Code == tp.CodeWriteFailed { // ret cannot be encoded: not the peer's fault
			said = tp.NewRerror(tp.CodeInternalServerError, tp.CodeText(tp.CodeInternalServerError), r.Reason)
		}
		refuse(sess, req, said)
	}
	return r
}

// refuse sends the error: as the reply if the peer has sent a CALL instead.
func refuse(sess tp.PreSession, req tp.Message, r *tp.Rerror) {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	if req != nil && (req.Mtype() == tp.TypeAuthCall || req.Mtype() == tp.TypeCall) {
		sess.PreReply(req, nil, r, tp.WithContext(ctx))
		return
	}
	sess.PreSend(tp.TypeAuthReply, "", nil, r, tp.WithContext(ctx))
}
