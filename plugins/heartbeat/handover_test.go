package heartbeat_test

import (
	"errors"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/heartbeat"
)

// A session that moves to the new process is watched there, at the rate of its peer, without
// another beat; and no longer in the old one.
func TestSessionMoves(t *testing.T) {
	for _, side := range []string{"server pings", "client pings"} {
		t.Run(side, func(t *testing.T) {
			pings, pongs := heartbeat.NewPing, heartbeat.NewPong
			server := func(cfg tp.PeerConfig) (tp.Peer, error) { return tp.Open(cfg, pings(1, true)) }
			client := func(cfg tp.PeerConfig) (tp.Peer, error) { return tp.Open(cfg, pongs()) }
			if side == "client pings" {
				server, client = func(cfg tp.PeerConfig) (tp.Peer, error) { return tp.Open(cfg, pongs()) },
					func(cfg tp.PeerConfig) (tp.Peer, error) { return tp.Open(cfg, pings(1, true)) }
			}
			r := tptest.NewRebooted(t, tp.PeerConfig{}, server, client)
			r.Reboot()
			first := r.Accepted
			time.Sleep(1500 * time.Millisecond) // of the rate of one second, which is the least
			if !r.Session.Health() || !first.Health() {
				t.Fatalf("the session has ended: %v, %v", r.Session.CloseReason(), first.CloseReason())
			}
			r.Reboot()
			if !errors.Is(first.CloseReason(), tp.ErrHandedOver) {
				t.Errorf("the session of the old process has ended because of %v; want %v", first.CloseReason(), tp.ErrHandedOver)
			}
		})
	}
}
