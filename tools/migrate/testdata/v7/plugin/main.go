package main

import (
	"net"

	"github.com/andeya/erpc/v7"
	"github.com/andeya/erpc/v7/plugin/overloader"
	"github.com/andeya/erpc/v7/plugin/proxy"
)

type watch struct{ tp int }

var _ erpc.PostDialPlugin = (*watch)(nil)

func (w *watch) Name() string { return "watch" }

func (w *watch) PreDial(localAddr net.Addr, remoteAddr string) *erpc.Status { return nil }

func (w *watch) PostDial(sess erpc.PreSession, isRedial bool) *erpc.Status {
	w.tp++
	var pong string
	return sess.PreCall("/ping", "me", &pong)
}

func (w *watch) PostReadReplyBody(ctx erpc.ReadCtx) *erpc.Status {
	if !ctx.StatusOK() {
		return ctx.Status()
	}
	return nil
}

func (w *watch) PostDisconnect(sess erpc.BaseSession) *erpc.Status { return nil }

func main() {
	peer := erpc.NewPeer(
		erpc.PeerConfig{ListenPort: 9090},
		&watch{},
		overloader.New(overloader.LimitConfig{MaxConn: 100}),
		proxy.NewPlugin(func(label *proxy.Label) proxy.Forwarder { return nil }),
	)
	peer.ListenAndServe()
}
