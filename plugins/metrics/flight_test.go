package metrics

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// When all has ended no call is remembered, whatever has ended it, and none is
// counted twice.
func TestNothingStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := New(Config{})
		require.NoError(t, err)
		net, block := tptest.NewNetwork(), make(chan struct{})
		p := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t), DefaultContextAge: time.Second}, m)
		tp.HandleCall(p, "/ok", func(tp.CallCtx, *int) (int, error) { return 0, nil })
		tp.HandleCall(p, "/panic", func(tp.CallCtx, *int) (int, error) { panic("ouch") })
		tp.HandleCall(p, "/block", func(tp.CallCtx, *int) (int, error) { <-block; return 0, nil })
		c := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t), RedialTimes: 5}, m)
		sess := tptest.Dial(t, c, tptest.Listen(t, p))
		for i := range 50 {
			ctx, stop := context.WithTimeout(t.Context(), time.Duration(i)*50*time.Millisecond)
			defer stop()
			for _, method := range []string{"/ok", "/block", "/panic", "/no"} {
				sess.AsyncCall(method, i, nil, nil, tp.WithContext(ctx))
			}
			sess.Call("/ok", func() {}, nil)
			if i%10 == 0 {
				synctest.Wait()
				net.Find(sess.LocalAddr().String()).Cut()
				synctest.Wait()
				sess.Call("/ok", i, nil) // waits for the redial
			}
		}
		time.Sleep(10 * time.Second)
		if running := m.flights.running()[m.in.Get("/block")]; running == 0 {
			t.Error("handlers wait, and none is counted as running")
		}
		close(block)
		synctest.Wait()
		for i := range m.flights.shards {
			for _, f := range m.flights.shards[i].m {
				t.Errorf("a call is remembered: %s %s", f.series.direction, f.series.route)
			}
		}
		calls := 0.0
		for _, method := range []string{"/ok", "/block", "/panic", "/no"} {
			calls += m.out.Get(method).total()
		}
		if calls != 50*5+5 {
			t.Errorf("%v calls have ended; want %d", calls, 50*5+5)
		}
	})
}

// total is how many calls have ended, by all codes.
func (s *series) total() (n float64) {
	for i := range s.calls {
		n += testutil.ToFloat64(s.counter(s.calls, s.m.calls, i))
	}
	return n
}
