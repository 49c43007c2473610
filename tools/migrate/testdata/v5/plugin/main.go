package main

import (
	"errors"
	"net"
	"strings"

	tp "github.com/henrylee2cn/teleport"
	"github.com/henrylee2cn/teleport/plugin/heartbeat"
	"github.com/henrylee2cn/teleport/xfer"
)

type lower struct{}

var (
	_ tp.PostNewPeerPlugin        = lower{}
	_ tp.PostReadCallHeaderPlugin = lower{}
)

func (lower) Name() string { return "lower" }

func (lower) PostNewPeer(peer tp.EarlyPeer) error {
	if peer.CountSession() != 0 {
		return errors.New("too late")
	}
	serve(peer.Router())
	return nil
}

func (lower) PostListen(addr net.Addr) error { return nil }

func (lower) PostDial(sess tp.PreSession) *tp.Rerror {
	return sess.Send("/hello", "me", nil)
}

func (lower) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror {
	ctx.ResetServiceMethod(strings.ToLower(ctx.ServiceMethod()))
	return nil
}

func serve(r *tp.Router) {
	r.SetUnknownCall(func(ctx tp.UnknownCallCtx) (interface{}, *tp.Rerror) {
		return ctx.InputBodyBytes(), nil
	})
}

type rot struct{}

func (rot) ID() byte                          { return 'R' }
func (rot) Name() string                      { return "rot" }
func (rot) OnPack(b []byte) ([]byte, error)   { return b, nil }
func (rot) OnUnpack(b []byte) ([]byte, error) { return b, nil }

func main() {
	xfer.Reg(rot{})
	srv := tp.NewPeer(tp.PeerConfig{ListenPort: 9090}, lower{}, heartbeat.NewPong())
	srv.ListenAndServe()
}
