package metrics_test

import (
	"context"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/metrics"
)

// countedPeer is a peer that has refused 1 of the first thing, 2 of the second and so on.
type countedPeer struct {
	tp.Peer
	asked int
}

func (p *countedPeer) Stats() (s tp.PeerStats) {
	p.asked++
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.CanUint() {
			f.SetUint(uint64(i + 1))
		} else {
			f.SetInt(int64(i + 1))
		}
	}
	return s
}

// Each counter of PeerStats is exported, also when its peer is closed, which is then
// forgotten.
func TestPeerStats(t *testing.T) {
	m := newMetrics(t, metrics.Config{})
	a, b := new(countedPeer), new(countedPeer)
	require.NoError(t, m.PostNewPeer(a))
	require.NoError(t, m.PostNewPeer(b))
	total := func() (sum, memory float64) {
		for name, n := range read(t, m) {
			switch {
			case name == "teleport_message_bytes{}":
				memory = n
			case name == "teleport_pauses_total{}", len(name) > 22 && name[:22] == "teleport_refused_total":
				sum += n
			}
		}
		return sum, memory
	}
	want, memory := 0.0, 0.0
	fields := reflect.TypeFor[tp.PeerStats]()
	for i := range fields.NumField() {
		if fields.Field(i).Name == "Memory" {
			memory = float64(i + 1)
		} else {
			want += float64(i + 1)
		}
	}
	got, bytes := total()
	require.Equal(t, []float64{2 * want, 2 * memory}, []float64{got, bytes}, "of two peers")
	require.NoError(t, m.PostClose(t.Context(), a))
	asked := a.asked
	got, bytes = total()
	require.Equal(t, []float64{2 * want, memory}, []float64{got, bytes}, "when one is closed")
	require.Equal(t, asked, a.asked, "the closed peer is still asked")
}

// Close is what ends it, and a call that was given up is counted.
func TestCanceledAndClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		give, stop := context.WithCancel(ctx)
		cmd := w.sess.AsyncCall("/slow", 1, new(int), nil, tp.WithContext(give))
		time.Sleep(10 * time.Millisecond)
		stop()
		cmd.Reply()
		time.Sleep(2 * time.Second)
		check(t, "given up", read(t, w.srv), map[string]float64{"refused_total{canceled call}": 1})
		require.NoError(t, w.peer.Close())
		check(t, "closed", read(t, w.srv), map[string]float64{"refused_total{canceled call}": 1, "sessions{accepted}": 0, "message_bytes{}": 0})
	})
}
