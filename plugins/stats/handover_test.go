package stats_test

import (
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/stats"
)

// A session that moves lives in the counts of the new process, and of that alone.
func TestSessionMoves(t *testing.T) {
	var all []*stats.Stats
	server := func(cfg tp.PeerConfig) (tp.Peer, error) {
		s := stats.New()
		all = append(all, s)
		return tp.Open(cfg, s)
	}
	r := tptest.NewRebooted(t, tp.PeerConfig{}, server, func(cfg tp.PeerConfig) (tp.Peer, error) { return tp.Open(cfg) })
	r.Reboot()
	if old, now := all[0].Snapshot(), all[1].Snapshot(); old.Accepted != 0 || now.Accepted != 1 || now.AcceptedTotal != 1 {
		t.Errorf("the old process counts %+v, the new one %+v; want the session in the new one alone", old, now)
	}
}
