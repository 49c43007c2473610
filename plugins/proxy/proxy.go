// Package proxy is a plugin that forwards the calls and pushes for which a peer
// has no route.
//
// The bytes of bodies pass as they are: nothing is decoded, so the proxy needs
// neither their types nor their codecs. Service method with its query, body
// codec, metadata and errors pass as well, in both directions. Pipes do not: each
// connection has its own. Three things are changed:
//
//   - X-Real-IP is the address of the sender, unless that is in
//     PeerConfig.TrustedProxies: then it is the X-Real-IP it has sent.
//   - X-Timeout is what is left of the caller's deadline when the call is
//     forwarded. X-Reply-Error never passes as metadata.
//   - An error of the codes 100 to 199, which are about a connection that is not the
//     caller's, becomes 502 with the same reason.
//
// The backend is chosen for each message, so a few backend sessions serve any number
// of clients.
package proxy

import (
	"context"
	"errors"
	"strings"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
)

// Label describes a message whose forwarder is to be chosen.
type Label struct {
	SessionID     string // of the session that has received it
	RealIP        string // of the sender; see tp.PreCtx
	ServiceMethod string // without its query, as routes are looked up
}

// CallForwarder sends calls to a backend. A tp.Session is one.
type CallForwarder interface {
	// Call sends a CALL and waits for its end. It must apply the settings, in
	// which is the context that ends the wait.
	Call(serviceMethod string, arg, result any, setting ...tp.MessageSetting) tp.CallCmd
}

// PushForwarder sends pushes to a backend. A tp.Session is one.
type PushForwarder interface {
	// Push sends a PUSH. It must apply the settings.
	Push(serviceMethod string, arg any, setting ...tp.MessageSetting) *tp.Rerror
}

// Forwarder sends both.
type Forwarder interface {
	CallForwarder
	PushForwarder
}

// NewPlugin returns the plugin that forwards calls and pushes, for a whole peer: it
// sets the peer's handlers of unknown messages. fn chooses the backend of each
// message; it is called concurrently, on the handlers' goroutines, and may keep
// the Label. Nil means that there is no backend for this method: the caller gets a
// 404.
func NewPlugin(fn func(*Label) Forwarder) tp.Plugin {
	if fn == nil {
		return &plugin{}
	}
	return &plugin{
		call: func(l *Label) CallForwarder {
			if f := fn(l); f != nil {
				return f
			}
			return nil // and not an interface that holds nil
		},
		push: func(l *Label) PushForwarder {
			if f := fn(l); f != nil {
				return f
			}
			return nil
		},
	}
}

// NewCallPlugin is NewPlugin for calls alone.
func NewCallPlugin(fn func(*Label) CallForwarder) tp.Plugin { return &plugin{call: fn} }

// NewPushPlugin is NewPlugin for pushes alone.
func NewPushPlugin(fn func(*Label) PushForwarder) tp.Plugin { return &plugin{push: fn} }

// plugin does not change once it is made.
type plugin struct {
	call func(*Label) CallForwarder // nil: calls are not forwarded
	push func(*Label) PushForwarder
}

var _ tp.PostNewPeerPlugin = (*plugin)(nil)

// Name returns "proxy".
func (*plugin) Name() string { return "proxy" }

// PostNewPeer makes the plugin the peer's handler of unknown messages. It fails if
// the function is nil.
func (p *plugin) PostNewPeer(peer tp.EarlyPeer) error {
	if p.call == nil && p.push == nil {
		return errors.New("proxy: the function that chooses the forwarder is nil")
	}
	if p.call != nil {
		peer.SetUnknownCall(p.forwardCall)
	}
	if p.push != nil {
		peer.SetUnknownPush(p.forwardPush)
	}
	return nil
}

func (p *plugin) forwardCall(ctx tp.UnknownCallCtx) (any, *tp.Rerror) {
	label := labelOf(ctx)
	to := p.call(label)
	if to == nil {
		return nil, unserved(label)
	}
	var body []byte
	cmd := to.Call(ctx.ServiceMethod(), ctx.InputBodyBytes(), &body,
		tp.WithBodyCodec(ctx.GetBodyCodec()), withMeta(ctx, label.RealIP), tp.WithContext(ctx.Context()))
	if cmd == nil {
		return nil, badGateway("proxy: the forwarder of " + label.ServiceMethod + " has returned no call")
	}
	_, r := cmd.Reply()
	if meta := cmd.InputMeta(); meta != nil {
		for k, v := range meta.All() {
			if key := string(k); !hopKey(key) {
				ctx.AddMeta(key, string(v))
			}
		}
	}
	if r.HasError() {
		return nil, outward(r)
	}
	ctx.SetBodyCodec(cmd.InputBodyCodec())
	return body, nil
}

func (p *plugin) forwardPush(ctx tp.UnknownPushCtx) *tp.Rerror {
	label := labelOf(ctx)
	to := p.push(label)
	if to == nil {
		return unserved(label)
	}
	lasting, cancel := outlive(ctx.Context())
	defer cancel()
	return outward(to.Push(ctx.ServiceMethod(), ctx.InputBodyBytes(),
		tp.WithBodyCodec(ctx.GetBodyCodec()), withMeta(ctx, label.RealIP), tp.WithContext(lasting)))
}

// outlive returns a context that has the deadline of ctx alone: a PUSH that has
// arrived is forwarded also when its sender has disconnected.
func outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	lasting := context.WithoutCancel(ctx)
	if at, ok := ctx.Deadline(); ok {
		return context.WithDeadline(lasting, at)
	}
	return lasting, func() {}
}

func labelOf(ctx tp.InputCtx) *Label {
	return &Label{SessionID: ctx.Session().ID(), RealIP: ctx.RealIP(), ServiceMethod: ctx.Path()}
}

// withMeta adds the metadata of ctx. It keeps a copy, since a forwarder may apply
// the setting later, or twice.
func withMeta(ctx tp.InputCtx, realIP string) tp.MessageSetting {
	meta := new(tp.Meta)
	ctx.VisitMeta(func(k, v []byte) {
		if key := string(k); !hopKey(key) && !strings.EqualFold(key, tp.MetaRealIP) {
			meta.AddBytesKV(k, v)
		}
	})
	if realIP != "" {
		meta.Add(tp.MetaRealIP, realIP)
	}
	return func(m tp.Message) {
		for k, v := range meta.All() {
			m.Meta().AddBytesKV(k, v)
		}
	}
}

// hopKey reports whether the key belongs to one connection, and never passes. The
// keys of HTTP are case-insensitive, so these are too.
func hopKey(key string) bool {
	return strings.EqualFold(key, tp.MetaTimeout) || strings.EqualFold(key, socket.MetaReplyError)
}

// outward is the error as the client sees it. It never changes r, which may be
// shared with the backend session and all its calls.
func outward(r *tp.Rerror) *tp.Rerror {
	if !r.HasError() || r.Code < 100 || r.Code > 199 {
		return r
	}
	reason := r.Reason
	if reason == "" {
		reason = r.Message
	}
	return badGateway(reason).WithCause(r.Err())
}

func badGateway(reason string) *tp.Rerror {
	return tp.NewRerror(tp.CodeBadGateway, tp.CodeText(tp.CodeBadGateway), reason)
}

func unserved(l *Label) *tp.Rerror {
	return tp.NewRerror(tp.CodeNotFound, tp.CodeText(tp.CodeNotFound), "proxy: no backend serves "+l.ServiceMethod)
}
