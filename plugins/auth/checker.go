package auth

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// Checker decides about a peer: it calls fn, once, checks the info, and returns the
// answer for the peer's Bearer, or an error: the peer gets its code, message and
// reason, and the connection is closed. An error of fn refuses the peer even if the
// Checker does not return it. If fn is not called the info is not decoded.
//
// ret may be a Grant, which says for how long and for what. Then the Checker is called
// again when the peer renews its credentials, on a session that is ready and stays as it
// was if it returns an error: see Renewing and Revoke. An id that it sets must then be the
// one it has set at first, else the renewal is refused with 403; the Swap is the session's.
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
	expired *tp.Rerror
	bounded atomic.Bool // not every session may do all, for ever
	tasks   tasks       // sessions that are closed since their credentials have ended
}

var (
	_ tp.PreNewPeerPlugin = (*CheckerPlugin)(nil)
	_ tp.PostAcceptPlugin = (*CheckerPlugin)(nil)
	_ tp.AuthCallPlugin   = (*CheckerPlugin)(nil)

	_ tp.PreReadCallBodyPlugin  = (*CheckerPlugin)(nil)
	_ tp.PreReadPushBodyPlugin  = (*CheckerPlugin)(nil)
	_ tp.PostReadCallBodyPlugin = (*CheckerPlugin)(nil)
	_ tp.PostReadPushBodyPlugin = (*CheckerPlugin)(nil)
	_ tp.PostDisconnectPlugin   = (*CheckerPlugin)(nil)
	_ tp.PostClosePlugin        = (*CheckerPlugin)(nil)
	_ tp.NonBlockingPlugin      = (*CheckerPlugin)(nil)
)

const checkerName = "auth-checker"

// CodeExpired is the code with which sessions are closed whose credentials have ended. A
// client that redials comes back with new ones.
const CodeExpired int32 = 440

// NewCheckerPlugin returns the plugin, which may be given to any number of peers;
// fn is called concurrently. The settings are those of the AUTH_REPLY: without one
// for the codec ret is in the peer's default codec.
func NewCheckerPlugin(fn Checker, retSetting ...tp.MessageSetting) *CheckerPlugin {
	p := &CheckerPlugin{fn: fn, setting: slices.Clip(retSetting)}
	p.ExpireWith(tp.NewRerror(CodeExpired, "Credentials Expired", "the credentials of the session have ended"))
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

// ExpireWith sets the error with which sessions are closed whose credentials have ended,
// and returns the plugin; without it, that has CodeExpired. With 401 the client does not
// redial. Calls that run have CloseTimeout to be answered; new ones are refused, and a
// client that redials makes them again. It must be called before a peer gets the plugin.
func (p *CheckerPlugin) ExpireWith(rerr *tp.Rerror) *CheckerPlugin {
	p.expired = rerr
	return p
}

// Name returns "auth-checker".
func (p *CheckerPlugin) Name() string { return checkerName }

// NonBlocking says that the hooks that run in the reader never block; PostAccept does.
func (p *CheckerPlugin) NonBlocking() {}

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
	was := sess.ID()
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
	grant, isGrant := asGrant(ret)
	if !r.HasError() {
		r = grant.valid()
	}
	if r.HasError() {
		refuse(sess, req, r)
		return r
	}
	setting := append([]tp.MessageSetting{tp.WithBodyCodec(0)}, p.setting...)
	if isGrant {
		s := sess.(tp.Session) // the engine's sessions are both
		t := terms{Grant: grant, Renewable: true}
		if id := sess.ID(); id != was {
			t.ID = id
		}
		p.granted(s).begin(t)
		setting = append(setting, tp.WithAddMeta(metaExpires, expiresText(grant.Until)))
	}
	if r = sess.PreReply(req, grant.Ret, nil, append(setting, tp.WithContext(ctx))...); r.HasError() {
		said := r
		if r.Code == tp.CodeWriteFailed { // ret cannot be encoded: not the peer's fault
			said = tp.NewRerror(tp.CodeInternalServerError, tp.CodeText(tp.CodeInternalServerError), r.Reason)
		}
		refuse(sess, req, said)
		if g := grantedOf(sess.Swap()); g != nil {
			g.end()
		}
	}
	return r
}

// asGrant returns what the Checker grants, and whether it has returned a Grant.
func asGrant(ret any) (g Grant, ok bool) {
	switch ret := ret.(type) {
	case Grant:
		return ret, true
	case *Grant:
		if ret != nil {
			return *ret, true
		}
	}
	return Grant{Ret: ret}, false
}

// valid returns an error if the Grant has ended.
func (g Grant) valid() *tp.Rerror {
	if g.Until.IsZero() || time.Until(g.Until) > 0 {
		return nil
	}
	return tp.NewRerror(tp.CodeUnauthorized, tp.CodeText(tp.CodeUnauthorized), "the credentials have ended already")
}

// AuthCall lets the Checker decide about credentials that the peer renews.
func (p *CheckerPlugin) AuthCall(ctx tp.AuthCallCtx) (any, *tp.Rerror) {
	sess, ok := ctx.Session().(tp.Session)
	g := grantedOf(ctx.Session().Swap())
	if !ok || g == nil {
		return nil, notRenewable()
	}
	version, r := g.beginRenewal()
	if r.HasError() {
		return nil, r
	}
	defer g.checked() // also if the Checker panics
	grant, id, r := p.check(ctx, sess)
	if !r.HasError() {
		r = g.renew(version, grant, id)
	}
	if r.HasError() {
		return nil, r
	}
	for _, set := range p.setting {
		if set != nil {
			set(ctx.Output())
		}
	}
	ctx.SetMeta(metaExpires, expiresText(grant.Until))
	return grant.Ret, nil
}

// check calls the Checker on a session that is ready. id is what it has set.
func (p *CheckerPlugin) check(ctx tp.AuthCallCtx, sess tp.Session) (grant Grant, id string, r *tp.Rerror) {
	c, cancel := context.WithTimeoutCause(context.WithValue(ctx.Context(), renewingKey{}, true), p.timeout,
		fmt.Errorf("%w: %v", ErrTimeout, p.timeout))
	defer cancel()
	called := false
	var failed *tp.Rerror
	ret, r := p.fn(live{sess, c, func(s string) { id = s }}, func(infoRecv any) *tp.Rerror {
		if called {
			return MultiRecvErr.Copy()
		}
		called = true
		if infoRecv != nil {
			if _, err := ctx.Bind(infoRecv); err != nil {
				failed = tp.NewRerror(tp.CodeBadMessage, tp.CodeText(tp.CodeBadMessage), err.Error())
			}
		}
		return failed
	})
	grant, _ = asGrant(ret)
	switch {
	case r.HasError():
	case failed.HasError():
		r = failed
	case c.Err() != nil:
		r = tooLate(c)
	default:
		r = grant.valid()
	}
	return grant, id, r
}

// PreReadCallBody refuses a CALL that the session's Grant does not allow.
func (p *CheckerPlugin) PreReadCallBody(ctx tp.ReadCtx) *tp.Rerror { return p.allows(ctx) }

// PreReadPushBody refuses a PUSH that the session's Grant does not allow.
func (p *CheckerPlugin) PreReadPushBody(ctx tp.ReadCtx) *tp.Rerror { return p.allows(ctx) }

// PostReadCallBody checks again: the message may have waited for long.
func (p *CheckerPlugin) PostReadCallBody(ctx tp.ReadCtx) *tp.Rerror { return p.allows(ctx) }

// PostReadPushBody checks again: the message may have waited for long.
func (p *CheckerPlugin) PostReadPushBody(ctx tp.ReadCtx) *tp.Rerror { return p.allows(ctx) }

func (p *CheckerPlugin) allows(ctx tp.ReadCtx) *tp.Rerror {
	if !p.bounded.Load() {
		return nil
	}
	g := grantedOf(ctx.Session().Swap())
	if g == nil {
		return nil
	}
	switch gone := g.gone.Load(); {
	case gone != nil:
		return gone.Copy()
	case g.now.Load().Grant.Allows(ctx.Path()):
		return nil
	}
	return tp.NewRerror(tp.CodeForbidden, tp.CodeText(tp.CodeForbidden), "the credentials of the session do not allow "+ctx.Path())
}

// PostDisconnect ends the Grant of the session.
func (p *CheckerPlugin) PostDisconnect(sess tp.BaseSession) *tp.Rerror {
	if g := grantedOf(sess.Swap()); g != nil {
		g.end()
	}
	return nil
}

// PostClose waits for the sessions of the peer that are being closed since their
// credentials have ended.
func (p *CheckerPlugin) PostClose(ctx context.Context, peer tp.Peer) error {
	return p.tasks.wait(ctx, peer, "a session whose credentials have ended")
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
