package tp

import (
	"errors"
	"net"
)

// PluginImpl is a plugin made of functions; those that are nil do nothing. Its fields
// must not change once a peer has the plugin.
type PluginImpl struct {
	PluginName            string
	OnPreNewPeer          func(*PeerConfig, *PluginContainer) error
	OnPostNewPeer         func(EarlyPeer) error
	OnPostReg             func(*Handler) error
	OnPostListen          func(net.Addr) error
	OnPreDial             func(localAddr net.Addr, remoteAddr string) *Rerror
	OnPostDial            func(PreSession) *Rerror
	OnPostAccept          func(PreSession) *Rerror
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
	OnPostDisconnect      func(BaseSession) *Rerror
}

var (
	_ PreNewPeerPlugin          = (*PluginImpl)(nil)
	_ PostNewPeerPlugin         = (*PluginImpl)(nil)
	_ PostRegPlugin             = (*PluginImpl)(nil)
	_ PostListenPlugin          = (*PluginImpl)(nil)
	_ PreDialPlugin             = (*PluginImpl)(nil)
	_ PostDialPlugin            = (*PluginImpl)(nil)
	_ PostAcceptPlugin          = (*PluginImpl)(nil)
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
	_ PostDisconnectPlugin      = (*PluginImpl)(nil)
)

var errNamelessPlugin = errors.New("tp: PluginImpl without PluginName")

// Name returns PluginName. It panics if that is empty.
func (p *PluginImpl) Name() string {
	if p.PluginName == "" {
		panic(errNamelessPlugin)
	}
	return p.PluginName
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

// PostDisconnect calls OnPostDisconnect.
func (p *PluginImpl) PostDisconnect(s BaseSession) *Rerror {
	if p.OnPostDisconnect == nil {
		return nil
	}
	return p.OnPostDisconnect(s)
}
