package overloader_test

import (
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/overloader"
)

// A session keeps its place in the new process, over the limit too, and gives it back in the
// old one.
func TestSessionMoves(t *testing.T) {
	var all []*overloader.Overloader
	server := func(cfg tp.PeerConfig) (tp.Peer, error) {
		o := overloader.New(overloader.LimitConfig{MaxConn: 1})
		all = append(all, o)
		return tp.Open(cfg, o)
	}
	r := tptest.NewRebooted(t, tp.PeerConfig{}, server, func(cfg tp.PeerConfig) (tp.Peer, error) { return tp.Open(cfg) })
	r.Reboot()
	if old, now := all[0].Counts().Conns, all[1].Counts().Conns; old != 0 || now != 1 {
		t.Errorf("%d places are taken in the old process, %d in the new one; want 0 and 1", old, now)
	}
	second, rerr := r.Client.Dial(r.Server.Addrs()[0].String())
	if rerr == nil {
		<-second.CloseNotify()
	}
	if n := all[1].Counts().ConnsRefused; n != 1 {
		t.Errorf("%d connections were refused; want another one, since the session has the only place", n)
	}
}
