package multiclient

import (
	"bytes"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// fetch fetches four bodies of 16 MiB by four callers, over at most quota sessions, and
// returns how long that takes, and how long a small call takes meanwhile.
func fetch(t *testing.T, quota int, opts ...tptest.NetworkOption) (took, small time.Duration) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, quota, tp.PeerConfig{MessageSizeLimit: 64 << 20}, opts...)
		body := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
		tp.HandleCall(r.srv, "/file", func(tp.CallCtx, *[]byte) ([]byte, error) { return body, nil })
		r.echo(t, "the first session")
		begun := time.Now()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				var got []byte
				if rerr := r.Call("/file", []byte(nil), &got).Rerror(); rerr != nil || len(got) != len(body) {
					t.Errorf("%d bytes, error %s", len(got), rerr)
				}
			})
		}
		time.Sleep(500 * time.Millisecond)
		at := time.Now()
		r.echo(t, "small")
		small = time.Since(at)
		wg.Wait()
		took = time.Since(begun)
		synctest.Wait()
	})
	return took, small
}

// On a path whose round trip time limits what one connection carries, four sessions carry
// at least twice as many bytes of large messages. The times are those of the bubble: they
// do not depend on the machine.
func TestLongPath(t *testing.T) {
	path := []tptest.NetworkOption{tptest.Latency(20 * time.Millisecond), tptest.Buffer(256 << 10)}
	one, smallOne := fetch(t, 1, path...)
	four, smallFour := fetch(t, 4, path...)
	five, smallFive := fetch(t, 5, path...)
	rate := func(d time.Duration) float64 { return 64 / d.Seconds() }
	t.Logf("one session: %.1f MiB/s, a small call meanwhile %v; four: %.1f MiB/s, %v; five: %.1f MiB/s, %v",
		rate(one), smallOne, rate(four), smallFour, rate(five), smallFive)
	require.Greater(t, one, 2*four)
	require.Less(t, smallFive, time.Second, "a session without a large message was free")
	require.Greater(t, smallOne, smallFive)
}
