package tp

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// The longest time there is, as a setting or as a deadline, is no limit: nothing ends at
// once because a sum has overflowed.
func TestLongestTimesAreNoLimit(t *testing.T) {
	const longest = time.Duration(math.MaxInt64)
	all := func(cfg *PeerConfig) {
		cfg.DefaultCallTimeout, cfg.DefaultContextAge, cfg.DefaultSessionAge = longest, longest, longest
		cfg.RedialWait, cfg.CloseTimeout, cfg.HandshakeTimeout, cfg.WriteTimeout = longest, longest, longest, longest
		cfg.DefaultDialTimeout, cfg.RedialInterval, cfg.BusyPoll = longest, longest, longest
	}
	for _, test := range []struct {
		name   string
		change func(*PeerConfig)
		ctx    func(context.Context) (context.Context, context.CancelFunc)
	}{
		{"DefaultCallTimeout", func(cfg *PeerConfig) { cfg.DefaultCallTimeout = longest }, nil},
		{"DefaultContextAge", func(cfg *PeerConfig) { cfg.DefaultContextAge = longest }, nil},
		{"DefaultSessionAge", func(cfg *PeerConfig) { cfg.DefaultSessionAge = longest }, nil},
		{"CloseTimeout", func(cfg *PeerConfig) { cfg.CloseTimeout = longest }, nil},
		{"all", all, nil},
		{"a context", nil, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, longest)
		}},
		{"the year 9999", nil, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithDeadline(ctx, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
		}},
		{"all, and the year 9999", all, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithDeadline(ctx, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, test.change, func(t *testing.T, w *world) {
				c, s := w.pair()
				ctx := t.Context()
				if test.ctx != nil {
					var cancel context.CancelFunc
					ctx, cancel = test.ctx(ctx)
					defer cancel()
				}
				ch := call(c, "/block", "x", WithContext(ctx))
				pass(time.Hour)
				wantWaiting(t, ch)
				w.log.want(t, "block x")
				closing := begin(w.client.Close) // waits for the call
				pass(time.Second)
				wantWaiting(t, closing)
				w.release()
				wantReply(t, ended(t, ch).v, "x")
				pass(2 * lingerTime)
				if o := ended(t, closing); o.v != nil {
					t.Errorf("Close = %v; want nil", o.v)
				}
				wantState(t, s, closed)
			})
		})
	}
}

// A call waits for a redial within the longest RedialWait.
func TestLongestRedialWait(t *testing.T) {
	inWorld(t, func(cfg *PeerConfig) { cfg.RedialTimes, cfg.RedialWait = -1, math.MaxInt64 }, func(t *testing.T, w *world) {
		c, _ := w.pair()
		w.net.Refuse(w.addr, 5)
		mem(c).Cut()
		synctest.Wait()
		ch := call(c, "/echo", "x")
		wantWaiting(t, ch)
		pass(time.Minute)
		wantReply(t, ended(t, ch).v, "x")
	})
}

func TestLongestBackoff(t *testing.T) {
	for n := range int32(100) {
		if d := backoff(math.MaxInt64, n); d < math.MaxInt64/8 {
			t.Fatalf("pause %d is %v; want years", n, d)
		}
	}
}
