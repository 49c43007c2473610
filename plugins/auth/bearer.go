package auth

import (
	"context"
	"slices"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// Bearer sends this side's credentials: it calls fn, once. If it does not, nothing
// is sent, for servers that do not check. Dial returns its error, or that of fn even
// if the Bearer does not return it.
//
// If the other side has granted them for a time, or Renew is called, the Bearer is called
// again while the session lives; see Renewing. What it then returns is the error of Renew.
type Bearer func(sess Session, fn SendOnce) *tp.Rerror

// SendOnce sends info, and waits for the answer, which it decodes into retRecv, a
// pointer or nil. Its error is the peer's refusal (the codes 401, 403 and 409 end
// redialling), 401 if the answer is no AUTH_REPLY, 408 when the time is over, or one
// of the connection.
type SendOnce func(info, retRecv any) *tp.Rerror

// MultiSendErr is the error of all calls of SendOnce but the first, which get a copy.
var MultiSendErr = tp.NewRerror(tp.CodeWriteFailed, "auth-bearer plugin usage is incorrect", "multiple call SendOnce function")

// BearerPlugin is the plugin of the dialling side.
type BearerPlugin struct {
	handshake
	fn      Bearer
	setting []tp.MessageSetting
	tasks   tasks // renewals
}

var (
	_ tp.PreNewPeerPlugin = (*BearerPlugin)(nil)
	_ tp.PostDialPlugin   = (*BearerPlugin)(nil)

	_ tp.PostDisconnectPlugin = (*BearerPlugin)(nil)
	_ tp.PostClosePlugin      = (*BearerPlugin)(nil)
)

// NewBearerPlugin returns the plugin, which may be given to any number of peers.
// The settings are those of the AUTH_CALL: without one for the codec the info is
// in the peer's default codec.
func NewBearerPlugin(fn Bearer, infoSetting ...tp.MessageSetting) *BearerPlugin {
	p := &BearerPlugin{fn: fn, setting: slices.Clip(infoSetting)}
	p.within(DefaultTimeout)
	return p
}

// Within sets how long the handshake may take, and returns the plugin; not above
// 0 is DefaultTimeout. It must be called before a peer gets the plugin. A
// HandshakeTimeout in the peer's configuration ends all hooks of the connection.
func (p *BearerPlugin) Within(d time.Duration) *BearerPlugin {
	p.within(d)
	return p
}

// Name returns "auth-bearer".
func (p *BearerPlugin) Name() string { return "auth-bearer" }

// PostDial sends the credentials, on a redialled connection as well.
func (p *BearerPlugin) PostDial(sess tp.PreSession) *tp.Rerror {
	ctx, cancel := p.context()
	defer cancel()
	called := false
	var reply tp.Message // nil: nothing was sent
	var refused *tp.Rerror
	r := p.fn(sess, func(info, retRecv any) *tp.Rerror {
		if called {
			return MultiSendErr.Copy()
		}
		called = true
		setting := append(p.setting, tp.WithContext(ctx))
		if refused = sess.PreSend(tp.TypeAuthCall, "", info, nil, setting...); refused != nil {
			return refused
		}
		if reply, refused = receive(ctx, sess, tp.TypeAuthReply, retRecv); refused == nil && reply.Rerror().HasError() {
			refused = reply.Rerror()
		}
		return refused
	})
	if r.HasError() {
		return r
	}
	said := new(tp.Meta)
	if reply != nil {
		said = reply.Meta()
	}
	if !refused.HasError() {
		p.granted(sess, said)
	}
	return refused
}

// PostDisconnect ends the renewals of the session.
func (p *BearerPlugin) PostDisconnect(sess tp.BaseSession) *tp.Rerror {
	if r := renewalOf(sess.Swap()); r != nil {
		r.end()
	}
	return nil
}

// PostClose waits for the Bearer, if it renews the credentials of a session of the peer.
func (p *BearerPlugin) PostClose(ctx context.Context, peer tp.Peer) error {
	return p.tasks.wait(ctx, peer, "a Bearer")
}
