// Package proxy is a plugin that forwards the calls, pushes and streams for which a
// peer has no route.
//
// The bytes of bodies pass as they are: nothing is decoded, so the proxy needs
// neither their types nor their codecs. Service method with its query, body
// codec, metadata and errors pass as well, in both directions. Pipes do not: each
// connection has its own. Four things are changed:
//
//   - X-Real-IP is the address of the sender, unless that is in
//     PeerConfig.TrustedProxies: then it is the X-Real-IP it has sent.
//   - X-Timeout is what is left of the caller's deadline when the call is
//     forwarded; a caller that gives up before ends the call at the backend, too. X-Reply-Error never passes as metadata.
//   - X-Hops is how many proxies have forwarded the message, this one included. One
//     that 16 have forwarded goes no further: its error is 508, Loop Detected.
//   - An error of the codes 100 to 199, which are about a connection that is not the
//     caller's, becomes 502 with the same reason.
//
// A stream is opened at the backend by a call like any other. Its messages pass in both
// directions as they are, and so do CloseSend, the end and the opener's giving up. The
// proxy takes a message from one connection when the other may send one: a side that does
// not receive holds up the sender, over any number of proxies, and a proxy has no more of
// a stream than its windows.
//
// The backend is chosen for each message, so a few backend sessions serve any number
// of clients; it is chosen for a stream when that is opened.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
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

// CallForwarder sends calls to a backend. A tp.Session is one, and opens streams as well;
// others may be a StreamForwarder.
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

// NewPlugin returns the plugin that forwards calls, pushes and streams, for a whole peer:
// it sets the peer's handlers of unknown messages. fn chooses the backend of each
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

// NewCallPlugin is NewPlugin for calls and streams alone.
func NewCallPlugin(fn func(*Label) CallForwarder) tp.Plugin { return &plugin{call: fn} }

// NewPushPlugin is NewPlugin for pushes alone.
func NewPushPlugin(fn func(*Label) PushForwarder) tp.Plugin { return &plugin{push: fn} }

// plugin does not change once it is made.
type plugin struct {
	call func(*Label) CallForwarder // nil: calls are not forwarded
	push func(*Label) PushForwarder
}

var (
	_ tp.PostNewPeerPlugin = (*plugin)(nil)
	_ tp.PostDialPlugin    = (*plugin)(nil)
)

// maxHops is how many proxies may forward a message.
const maxHops = 16

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
		tp.SetUnknownStream(peer, p.forwardStream)
	}
	if p.push != nil {
		peer.SetUnknownPush(p.forwardPush)
	}
	return nil
}

// PostDial refuses a connection of the peer to a listener of its own: what is
// forwarded there comes back.
func (*plugin) PostDial(sess tp.PreSession) *tp.Rerror {
	for _, own := range sess.Peer().Addrs() {
		if leadsTo(sess, own) {
			return loop(fmt.Sprintf("proxy: this peer listens on %s itself: what it forwards there comes back", own))
		}
	}
	return nil
}

// leadsTo reports whether the session has dialled the listener at that address of the
// same peer.
func leadsTo(sess tp.PreSession, own net.Addr) bool {
	remote := sess.RemoteAddr()
	if remote.Network() == own.Network() && remote.String() == own.String() {
		return true
	}
	to, ok1 := remote.(*net.TCPAddr)
	from, ok2 := sess.LocalAddr().(*net.TCPAddr)
	at, ok3 := own.(*net.TCPAddr)
	// A listener on all addresses is at this one, if that is the machine's own.
	return ok1 && ok2 && ok3 && to.Port == at.Port && at.IP.IsUnspecified() && to.IP.Equal(from.IP)
}

func (p *plugin) forwardCall(ctx tp.UnknownCallCtx) (any, *tp.Rerror) {
	label := labelOf(ctx)
	hops, r := nextHop(ctx)
	if r != nil {
		return nil, r
	}
	to := p.call(label)
	if to == nil {
		return nil, unserved(label)
	}
	var body []byte
	cmd := to.Call(ctx.ServiceMethod(), ctx.InputBodyBytes(), &body,
		tp.WithBodyCodec(ctx.GetBodyCodec()), withMeta(ctx, label.RealIP, hops), tp.WithContext(ctx.Context()))
	if cmd == nil {
		return nil, badGateway("proxy: the forwarder of " + label.ServiceMethod + " has returned no call")
	}
	_, r = cmd.Reply()
	passMeta(ctx, cmd.InputMeta())
	if r.HasError() {
		return nil, outward(r)
	}
	ctx.SetBodyCodec(cmd.InputBodyCodec())
	return body, nil
}

// passMeta gives the reply the metadata of the backend's.
func passMeta(ctx interface{ AddMeta(key, value string) }, meta *tp.Meta) {
	if meta == nil {
		return
	}
	for k, v := range meta.All() {
		if key := string(k); !hopKey(key) {
			ctx.AddMeta(key, string(v))
		}
	}
}

func (p *plugin) forwardPush(ctx tp.UnknownPushCtx) *tp.Rerror {
	label := labelOf(ctx)
	hops, r := nextHop(ctx)
	if r != nil {
		return r
	}
	to := p.push(label)
	if to == nil {
		return unserved(label)
	}
	lasting, cancel := outlive(ctx.Context())
	defer cancel()
	return outward(to.Push(ctx.ServiceMethod(), ctx.InputBodyBytes(),
		tp.WithBodyCodec(ctx.GetBodyCodec()), withMeta(ctx, label.RealIP, hops), tp.WithContext(lasting)))
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
func withMeta(ctx tp.InputCtx, realIP string, hops int) tp.MessageSetting {
	meta := new(tp.Meta)
	ctx.VisitMeta(func(k, v []byte) {
		if key := string(k); !hopKey(key) && !strings.EqualFold(key, tp.MetaRealIP) {
			meta.AddBytesKV(k, v)
		}
	})
	meta.Add(tp.MetaHops, strconv.Itoa(hops))
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
	return strings.EqualFold(key, tp.MetaTimeout) || strings.EqualFold(key, socket.MetaReplyError) || strings.EqualFold(key, tp.MetaHops) || strings.EqualFold(key, tp.MetaStream)
}

// nextHop returns how many proxies will have forwarded the message once this one has,
// or an error if they are too many. What is no number is not of a proxy, and is not
// counted; of several the largest counts.
func nextHop(ctx tp.InputCtx) (hops int, r *tp.Rerror) {
	ctx.VisitMeta(func(k, v []byte) {
		if !strings.EqualFold(string(k), tp.MetaHops) {
			return
		}
		n, err := strconv.ParseUint(string(v), 10, 31)
		if errors.Is(err, strconv.ErrRange) {
			n, err = maxHops, nil
		}
		if err == nil {
			hops = max(hops, int(n))
		}
	})
	if hops >= maxHops {
		return 0, loop(fmt.Sprintf("proxy: %.100q was forwarded by %d proxies already: they form a loop, or there are too many", ctx.Path(), hops))
	}
	return hops + 1, nil
}

func loop(reason string) *tp.Rerror {
	return tp.NewRerror(tp.CodeLoopDetected, tp.CodeText(tp.CodeLoopDetected), reason)
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
