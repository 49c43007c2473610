package heartbeat_test

import (
	"errors"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/heartbeat"
)

// A session that moves to the new process is watched there, and beats go on; it is watched no
// longer in the old one.
func TestSessionMoves(t *testing.T) {
	for _, serverPings := range []bool{true, false} {
		name := "client pings"
		if serverPings {
			name = "server pings"
		}
		t.Run(name, func(t *testing.T) {
			beats := make(chan string, 100)
			open := func(cfg tp.PeerConfig, pings bool) (tp.Peer, error) {
				if pings {
					return tp.Open(cfg, heartbeat.NewPing(1, true))
				}
				return tp.Open(cfg, heartbeat.NewPong(), &tp.PluginImpl{PluginName: "beats", OnPostReadCallHeader: func(ctx tp.ReadCtx) *tp.Rerror {
					beats <- ctx.ServiceMethod()
					return nil
				}})
			}
			r := tptest.NewRebooted(t, tp.PeerConfig{},
				func(cfg tp.PeerConfig) (tp.Peer, error) { return open(cfg, serverPings) },
				func(cfg tp.PeerConfig) (tp.Peer, error) { return open(cfg, !serverPings) })
			for range 2 {
				first := r.Accepted
				r.Reboot()
				if !errors.Is(first.CloseReason(), tp.ErrHandedOver) {
					t.Fatalf("the session of the old process has ended because of %v; want %v", first.CloseReason(), tp.ErrHandedOver)
				}
				select {
				case got := <-beats:
					if got != heartbeat.HeartbeatServiceMethod {
						t.Errorf("a call of %s; want a beat", got)
					}
				case <-time.After(20 * time.Second):
					t.Fatal("no beat after the move")
				}
			}
		})
	}
}
