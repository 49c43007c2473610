package proxy_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/proxy"
)

// A call over three hops ends at the backend when its caller gives up, whichever way.
func TestCancelOverThreeHops(t *testing.T) {
	for _, test := range []struct {
		name   string
		limit  time.Duration // of the call
		giveUp func(c *chain, client tp.Session, cancel func())
		after  time.Duration // until the backend's context ends
		cause  error
	}{
		{"its context is cancelled", time.Hour, func(_ *chain, _ tp.Session, cancel func()) { cancel() }, 0, tp.ErrCallerGone},
		{"without a deadline", 0, func(_ *chain, _ tp.Session, cancel func()) { cancel() }, 0, tp.ErrCallerGone},
		{"its connection is cut", time.Hour, func(c *chain, client tp.Session, _ func()) {
			c.net.Find(client.LocalAddr().String()).Cut()
		}, 0, tp.ErrCallerGone},
		{"its session is closed", time.Hour, func(_ *chain, client tp.Session, _ func()) {
			over, cancel := context.WithCancel(context.Background())
			cancel()
			go client.Drain(over)
		}, 0, tp.ErrCallerGone},
		{"its deadline", 10 * time.Second, func(*chain, tp.Session, func()) {}, 10 * time.Second, context.DeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tptest.LeakCheck(t)
				c := newChain(t, config{})
				type seen struct {
					ctx  context.Context
					left time.Duration
				}
				begun := make(chan seen, 1)
				tp.HandleCall(c.backend, "/wait", func(ctx tp.CallCtx, _ *int) (int, error) {
					own := ctx.Context()
					at, _ := own.Deadline()
					begun <- seen{own, time.Until(at)}
					<-own.Done()
					return 0, nil
				})
				second := c.dial() // from the second proxy to the first
				outer := tptest.NewPeer(t, tp.PeerConfig{Network: c.network()}, proxy.NewPlugin(func(*proxy.Label) proxy.Forwarder { return second }))
				client := tptest.Dial(t, tptest.NewPeer(t, tp.PeerConfig{Network: c.network()}), tptest.Listen(t, outer))
				client.Call("/nowhere", 1, nil, tp.WithContext(t.Context())) // all of them have said hello
				ctx, cancel := context.WithCancel(t.Context())
				if test.limit > 0 {
					ctx, cancel = context.WithTimeout(t.Context(), test.limit)
				}
				defer cancel()
				cmd := client.AsyncCall("/wait", 1, nil, nil, tp.WithContext(ctx))
				got := <-begun
				if test.limit > 0 && (got.left > test.limit || got.left < test.limit-time.Second) {
					t.Errorf("the backend has %v; want a little less than %v", got.left, test.limit)
				}
				began := time.Now()
				test.giveUp(c, client, cancel)
				<-got.ctx.Done()
				if took := time.Since(began); took < test.after || took > test.after+time.Second {
					t.Errorf("the backend's context has ended after %v; want %v", took, test.after)
				}
				if cause := context.Cause(got.ctx); !errors.Is(cause, test.cause) && !(test.cause == context.DeadlineExceeded && errors.Is(cause, tp.ErrCallerGone)) {
					t.Errorf("the backend's context has ended with %v; want %v", cause, test.cause)
				}
				if r := cmd.Rerror(); r == nil {
					<-cmd.Done()
				}
			})
		})
	}
}
