package tp

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Connecting has a bound, whatever the network does.
func TestDialTimeout(t *testing.T) {
	for _, test := range []struct {
		name string
		set  time.Duration
		want time.Duration // 0: none
	}{
		{"by default", 0, 10 * time.Second},
		{"set", 3 * time.Second, 3 * time.Second},
		{"none", -1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				name := w.name + "-slow"
				RegisterNetwork(Network{Name: name, Dial: func(ctx context.Context, d DialConfig) (net.Conn, error) {
					<-ctx.Done() // as a full backlog; d.Timeout is not looked at
					return nil, ctx.Err()
				}})
				p := w.peer(func(cfg *PeerConfig) { cfg.Network, cfg.DefaultDialTimeout = name, test.set })
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				begun := time.Now()
				_, r := p.DialContext(ctx, "there")
				want, words := test.want, []string{"there", "default_dial_timeout", test.want.String()}
				if want == 0 {
					want, words = time.Hour, []string{context.DeadlineExceeded.Error()}
				}
				wantRerror(t, r, CodeDialFailed, words...)
				if took := time.Since(begun); took != want {
					t.Errorf("it took %v; want %v", took, want)
				}
				if test.want == 0 && strings.Contains(r.String(), "default_dial_timeout") {
					t.Errorf("error is %v; want it not to name a bound that there is not", r)
				}
			})
		})
	}
}
