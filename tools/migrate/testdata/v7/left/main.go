package main

import (
	"example.com/elsewhere"
	"github.com/andeya/cfgo"
	"github.com/andeya/erpc/v7"
)

type plug struct{ redials int }

func (p *plug) Name() string { return "plug" }

func (p *plug) PostDial(sess erpc.PreSession, isRedial bool) *erpc.Status {
	if isRedial {
		p.redials++
	}
	return nil
}

func main() {
	var stat *erpc.Status
	defer erpc.CatchStatus(&stat)
	erpc.CheckStatus(elsewhere.Do(), 1001, "do")
	if !elsewhere.Ask().StatusOK() {
		erpc.Warnf("%s %v", stat.Msg(), stat.Cause())
	}
	erpc.SetGopool(10, 0)
	cfgo.MustReg("peer", &erpc.PeerConfig{})
	functions := &erpc.PluginImpl{PluginName: "functions"}
	functions.OnPostDial = func(_ erpc.PreSession, isRedial bool) *erpc.Status { return nil }
	peer := erpc.NewPeer(erpc.PeerConfig{Network: "kcp"}, &plug{}, functions)
	_ = peer
}
