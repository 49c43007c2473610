package tp

import (
	"context"
	"errors"
	"net"
)

// PluginImpl is a plugin made of functions. It uses the hooks whose function is not nil,
// and costs nothing at the others. Its fields must not change once a peer has the plugin.
// A type that embeds it uses all hooks.
type PluginImpl struct {
	PluginName string
	// NonBlocking says that no function ever blocks: see NonBlockingPlugin.
	NonBlocking bool

	OnPreNewPeer          func(*PeerConfig, *PluginContainer) error
	OnPostNewPeer         func(EarlyPeer) error
	OnPostReg             func(*Handler) error
	OnPostListen          func(net.Addr) error
	OnPreDial             func(localAddr net.Addr, remoteAddr string) *Rerror
	OnPostDial            func(PreSession) *Rerror
	OnPostRedial          func(PreSession) *Rerror // nil: OnPostDial
	OnPostAccept          func(PreSession) *Rerror
	OnAuthCall            func(AuthCallCtx) (any, *Rerror)
	OnPostReady           func(Session)
	OnPostRename          func(s Session, oldID string)
	OnPreWriteCall        func(WriteCtx) *Rerror
	OnPostWriteCall       func(WriteCtx) *Rerror
	OnPreWriteReply       func(WriteCtx) *Rerror
	OnPostWriteReply      func(WriteCtx) *Rerror
	OnPreWritePush        func(WriteCtx) *Rerror
	OnPostWritePush       func(WriteCtx) *Rerror
	OnPreReadHeader       func(PreCtx) error
	OnPostReadCallHeader  func(ReadCtx) *Rerror
	OnPreReadCallBody     func(ReadCtx) *Rerror
	OnPostReadCallBody    func(ReadCtx) *Rerror
	OnPostReadPushHeader  func(ReadCtx) *Rerror
	OnPreReadPushBody     func(ReadCtx) *Rerror
	OnPostReadPushBody    func(ReadCtx) *Rerror
	OnPostReadReplyHeader func(ReadCtx) *Rerror
	OnPreReadReplyBody    func(ReadCtx) *Rerror
	OnPostReadReplyBody   func(ReadCtx) *Rerror
	OnPreWriteData        func(WriteCtx) *Rerror
	OnPostReadData        func(ReadCtx) *Rerror
	OnPreWriteEnd         func(WriteCtx) *Rerror
	OnPostReadEnd         func(ReadCtx) *Rerror
	OnPostExchange        func(PreCtx, *Rerror)
	OnPostDisconnect      func(BaseSession) *Rerror
	OnPreClose            func(context.Context, Peer) error
	OnPostClose           func(context.Context, Peer) error
}

var (
	_ PreNewPeerPlugin          = (*PluginImpl)(nil)
	_ PostNewPeerPlugin         = (*PluginImpl)(nil)
	_ PostRegPlugin             = (*PluginImpl)(nil)
	_ PostListenPlugin          = (*PluginImpl)(nil)
	_ PreDialPlugin             = (*PluginImpl)(nil)
	_ PostDialPlugin            = (*PluginImpl)(nil)
	_ PostAcceptPlugin          = (*PluginImpl)(nil)
	_ PostReadyPlugin           = (*PluginImpl)(nil)
	_ PostRenamePlugin          = (*PluginImpl)(nil)
	_ PreWriteCallPlugin        = (*PluginImpl)(nil)
	_ PostWriteCallPlugin       = (*PluginImpl)(nil)
	_ PreWriteReplyPlugin       = (*PluginImpl)(nil)
	_ PostWriteReplyPlugin      = (*PluginImpl)(nil)
	_ PreWritePushPlugin        = (*PluginImpl)(nil)
	_ PostWritePushPlugin       = (*PluginImpl)(nil)
	_ PreReadHeaderPlugin       = (*PluginImpl)(nil)
	_ PostReadCallHeaderPlugin  = (*PluginImpl)(nil)
	_ PreReadCallBodyPlugin     = (*PluginImpl)(nil)
	_ PostReadCallBodyPlugin    = (*PluginImpl)(nil)
	_ PostReadPushHeaderPlugin  = (*PluginImpl)(nil)
	_ PreReadPushBodyPlugin     = (*PluginImpl)(nil)
	_ PostReadPushBodyPlugin    = (*PluginImpl)(nil)
	_ PostReadReplyHeaderPlugin = (*PluginImpl)(nil)
	_ PreReadReplyBodyPlugin    = (*PluginImpl)(nil)
	_ PostReadReplyBodyPlugin   = (*PluginImpl)(nil)
	_ PreWriteDataPlugin        = (*PluginImpl)(nil)
	_ PostReadDataPlugin        = (*PluginImpl)(nil)
	_ PreWriteEndPlugin         = (*PluginImpl)(nil)
	_ PostReadEndPlugin         = (*PluginImpl)(nil)
	_ PostExchangePlugin        = (*PluginImpl)(nil)
	_ PostDisconnectPlugin      = (*PluginImpl)(nil)
	_ PreClosePlugin            = (*PluginImpl)(nil)
	_ PostClosePlugin           = (*PluginImpl)(nil)
)

var errNamelessPlugin = errors.New("tp: PluginImpl without PluginName")

// Name returns PluginName. It panics if that is empty.
func (p *PluginImpl) Name() string {
	if p.PluginName == "" {
		panic(errNamelessPlugin)
	}
	return p.PluginName
}

var _ selective = (*PluginImpl)(nil)

// skips returns true for a hook without a function. A type that embeds p skips no hook,
// since it may have methods of its own.
func (p *PluginImpl) skips(self Plugin, hook any) bool { return self == Plugin(p) && !p.has(hook) }

func (p *PluginImpl) neverBlocks() bool { return p.NonBlocking }

// PluginImpl has no method PostRedial: a type that embeds it and has a PostDial of its own
// would have both, and a redial would call the wrong one. Nor has it AuthCall, by which a
// type that embeds it would accept all credentials.
func (p *PluginImpl) postRedial() func(PreSession) *Rerror       { return p.OnPostRedial }
func (p *PluginImpl) authCall() func(AuthCallCtx) (any, *Rerror) { return p.OnAuthCall }

// has reports whether there is a function for a hook; hook is a nil pointer to the
// type of its interface.
func (p *PluginImpl) has(hook any) bool {
	switch hook.(type) {
	case *PreNewPeerPlugin:
		return p.OnPreNewPeer != nil
	case *PostNewPeerPlugin:
		return p.OnPostNewPeer != nil
	case *PostRegPlugin:
		return p.OnPostReg != nil
	case *PostListenPlugin:
		return p.OnPostListen != nil
	case *PreDialPlugin:
		return p.OnPreDial != nil
	case *PostDialPlugin:
		return p.OnPostDial != nil
	case *PostAcceptPlugin:
		return p.OnPostAccept != nil
	case *PostReadyPlugin:
		return p.OnPostReady != nil
	case *PostRenamePlugin:
		return p.OnPostRename != nil
	case *PreWriteCallPlugin:
		return p.OnPreWriteCall != nil
	case *PostWriteCallPlugin:
		return p.OnPostWriteCall != nil
	case *PreWriteReplyPlugin:
		return p.OnPreWriteReply != nil
	case *PostWriteReplyPlugin:
		return p.OnPostWriteReply != nil
	case *PreWritePushPlugin:
		return p.OnPreWritePush != nil
	case *PostWritePushPlugin:
		return p.OnPostWritePush != nil
	case *PreReadHeaderPlugin:
		return p.OnPreReadHeader != nil
	case *PostReadCallHeaderPlugin:
		return p.OnPostReadCallHeader != nil
	case *PreReadCallBodyPlugin:
		return p.OnPreReadCallBody != nil
	case *PostReadCallBodyPlugin:
		return p.OnPostReadCallBody != nil
	case *PostReadPushHeaderPlugin:
		return p.OnPostReadPushHeader != nil
	case *PreReadPushBodyPlugin:
		return p.OnPreReadPushBody != nil
	case *PostReadPushBodyPlugin:
		return p.OnPostReadPushBody != nil
	case *PostReadReplyHeaderPlugin:
		return p.OnPostReadReplyHeader != nil
	case *PreReadReplyBodyPlugin:
		return p.OnPreReadReplyBody != nil
	case *PostReadReplyBodyPlugin:
		return p.OnPostReadReplyBody != nil
	case *PreWriteDataPlugin:
		return p.OnPreWriteData != nil
	case *PostReadDataPlugin:
		return p.OnPostReadData != nil
	case *PreWriteEndPlugin:
		return p.OnPreWriteEnd != nil
	case *PostReadEndPlugin:
		return p.OnPostReadEnd != nil
	case *PostExchangePlugin:
		return p.OnPostExchange != nil
	case *PostDisconnectPlugin:
		return p.OnPostDisconnect != nil
	case *PreClosePlugin:
		return p.OnPreClose != nil
	case *PostClosePlugin:
		return p.OnPostClose != nil
	}
	return true
}

// PreNewPeer calls OnPreNewPeer.
func (p *PluginImpl) PreNewPeer(cfg *PeerConfig, c *PluginContainer) error {
	if p.OnPreNewPeer == nil {
		return nil
	}
	return p.OnPreNewPeer(cfg, c)
}

// PostNewPeer calls OnPostNewPeer.
func (p *PluginImpl) PostNewPeer(peer EarlyPeer) error {
	if p.OnPostNewPeer == nil {
		return nil
	}
	return p.OnPostNewPeer(peer)
}

// PostReg calls OnPostReg.
func (p *PluginImpl) PostReg(h *Handler) error {
	if p.OnPostReg == nil {
		return nil
	}
	return p.OnPostReg(h)
}

// PostListen calls OnPostListen.
func (p *PluginImpl) PostListen(addr net.Addr) error {
	if p.OnPostListen == nil {
		return nil
	}
	return p.OnPostListen(addr)
}

// PreDial calls OnPreDial.
func (p *PluginImpl) PreDial(localAddr net.Addr, remoteAddr string) *Rerror {
	if p.OnPreDial == nil {
		return nil
	}
	return p.OnPreDial(localAddr, remoteAddr)
}

// PostDial calls OnPostDial.
func (p *PluginImpl) PostDial(s PreSession) *Rerror {
	if p.OnPostDial == nil {
		return nil
	}
	return p.OnPostDial(s)
}

// PostAccept calls OnPostAccept.
func (p *PluginImpl) PostAccept(s PreSession) *Rerror {
	if p.OnPostAccept == nil {
		return nil
	}
	return p.OnPostAccept(s)
}

// PostReady calls OnPostReady.
func (p *PluginImpl) PostReady(s Session) {
	if p.OnPostReady != nil {
		p.OnPostReady(s)
	}
}

// PostRename calls OnPostRename.
func (p *PluginImpl) PostRename(s Session, oldID string) {
	if p.OnPostRename != nil {
		p.OnPostRename(s, oldID)
	}
}

// PreWriteCall calls OnPreWriteCall.
func (p *PluginImpl) PreWriteCall(ctx WriteCtx) *Rerror {
	if p.OnPreWriteCall == nil {
		return nil
	}
	return p.OnPreWriteCall(ctx)
}

// PostWriteCall calls OnPostWriteCall.
func (p *PluginImpl) PostWriteCall(ctx WriteCtx) *Rerror {
	if p.OnPostWriteCall == nil {
		return nil
	}
	return p.OnPostWriteCall(ctx)
}

// PreWriteReply calls OnPreWriteReply.
func (p *PluginImpl) PreWriteReply(ctx WriteCtx) *Rerror {
	if p.OnPreWriteReply == nil {
		return nil
	}
	return p.OnPreWriteReply(ctx)
}

// PostWriteReply calls OnPostWriteReply.
func (p *PluginImpl) PostWriteReply(ctx WriteCtx) *Rerror {
	if p.OnPostWriteReply == nil {
		return nil
	}
	return p.OnPostWriteReply(ctx)
}

// PreWritePush calls OnPreWritePush.
func (p *PluginImpl) PreWritePush(ctx WriteCtx) *Rerror {
	if p.OnPreWritePush == nil {
		return nil
	}
	return p.OnPreWritePush(ctx)
}

// PostWritePush calls OnPostWritePush.
func (p *PluginImpl) PostWritePush(ctx WriteCtx) *Rerror {
	if p.OnPostWritePush == nil {
		return nil
	}
	return p.OnPostWritePush(ctx)
}

// PreReadHeader calls OnPreReadHeader.
func (p *PluginImpl) PreReadHeader(ctx PreCtx) error {
	if p.OnPreReadHeader == nil {
		return nil
	}
	return p.OnPreReadHeader(ctx)
}

// PostReadCallHeader calls OnPostReadCallHeader.
func (p *PluginImpl) PostReadCallHeader(ctx ReadCtx) *Rerror {
	if p.OnPostReadCallHeader == nil {
		return nil
	}
	return p.OnPostReadCallHeader(ctx)
}

// PreReadCallBody calls OnPreReadCallBody.
func (p *PluginImpl) PreReadCallBody(ctx ReadCtx) *Rerror {
	if p.OnPreReadCallBody == nil {
		return nil
	}
	return p.OnPreReadCallBody(ctx)
}

// PostReadCallBody calls OnPostReadCallBody.
func (p *PluginImpl) PostReadCallBody(ctx ReadCtx) *Rerror {
	if p.OnPostReadCallBody == nil {
		return nil
	}
	return p.OnPostReadCallBody(ctx)
}

// PostReadPushHeader calls OnPostReadPushHeader.
func (p *PluginImpl) PostReadPushHeader(ctx ReadCtx) *Rerror {
	if p.OnPostReadPushHeader == nil {
		return nil
	}
	return p.OnPostReadPushHeader(ctx)
}

// PreReadPushBody calls OnPreReadPushBody.
func (p *PluginImpl) PreReadPushBody(ctx ReadCtx) *Rerror {
	if p.OnPreReadPushBody == nil {
		return nil
	}
	return p.OnPreReadPushBody(ctx)
}

// PostReadPushBody calls OnPostReadPushBody.
func (p *PluginImpl) PostReadPushBody(ctx ReadCtx) *Rerror {
	if p.OnPostReadPushBody == nil {
		return nil
	}
	return p.OnPostReadPushBody(ctx)
}

// PostReadReplyHeader calls OnPostReadReplyHeader.
func (p *PluginImpl) PostReadReplyHeader(ctx ReadCtx) *Rerror {
	if p.OnPostReadReplyHeader == nil {
		return nil
	}
	return p.OnPostReadReplyHeader(ctx)
}

// PreReadReplyBody calls OnPreReadReplyBody.
func (p *PluginImpl) PreReadReplyBody(ctx ReadCtx) *Rerror {
	if p.OnPreReadReplyBody == nil {
		return nil
	}
	return p.OnPreReadReplyBody(ctx)
}

// PostReadReplyBody calls OnPostReadReplyBody.
func (p *PluginImpl) PostReadReplyBody(ctx ReadCtx) *Rerror {
	if p.OnPostReadReplyBody == nil {
		return nil
	}
	return p.OnPostReadReplyBody(ctx)
}

// PreWriteData calls OnPreWriteData.
func (p *PluginImpl) PreWriteData(ctx WriteCtx) *Rerror {
	if p.OnPreWriteData == nil {
		return nil
	}
	return p.OnPreWriteData(ctx)
}

// PostReadData calls OnPostReadData.
func (p *PluginImpl) PostReadData(ctx ReadCtx) *Rerror {
	if p.OnPostReadData == nil {
		return nil
	}
	return p.OnPostReadData(ctx)
}

// PreWriteEnd calls OnPreWriteEnd.
func (p *PluginImpl) PreWriteEnd(ctx WriteCtx) *Rerror {
	if p.OnPreWriteEnd == nil {
		return nil
	}
	return p.OnPreWriteEnd(ctx)
}

// PostReadEnd calls OnPostReadEnd.
func (p *PluginImpl) PostReadEnd(ctx ReadCtx) *Rerror {
	if p.OnPostReadEnd == nil {
		return nil
	}
	return p.OnPostReadEnd(ctx)
}

// PostExchange calls OnPostExchange.
func (p *PluginImpl) PostExchange(ctx PreCtx, r *Rerror) {
	if p.OnPostExchange != nil {
		p.OnPostExchange(ctx, r)
	}
}

// PostDisconnect calls OnPostDisconnect.
func (p *PluginImpl) PostDisconnect(s BaseSession) *Rerror {
	if p.OnPostDisconnect == nil {
		return nil
	}
	return p.OnPostDisconnect(s)
}

// PreClose calls OnPreClose.
func (p *PluginImpl) PreClose(ctx context.Context, peer Peer) error {
	if p.OnPreClose == nil {
		return nil
	}
	return p.OnPreClose(ctx, peer)
}

// PostClose calls OnPostClose.
func (p *PluginImpl) PostClose(ctx context.Context, peer Peer) error {
	if p.OnPostClose == nil {
		return nil
	}
	return p.OnPostClose(ctx, peer)
}
