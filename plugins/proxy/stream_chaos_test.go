package proxy_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// Whatever ends streams and connections at any moment, what comes through three proxies is a
// beginning of what was sent, and all of it if the stream says so. Then nothing is left.
func TestStreamAnyMoment(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tptest.LeakCheck(t)
				rng := rand.New(rand.NewPCG(seed, 1))
				r := newRow(t, 3, tp.PeerConfig{StreamWindow: 5000, RedialTimes: -1, RedialInterval: 10 * time.Millisecond})
				tp.HandleCall(r.backend, "/ping", func(tp.CallCtx, *string) (string, error) { return "", nil })
				tp.HandleStream(r.backend, "/mirror", func(ctx tp.StreamCtx, s *tp.Stream[string, string]) error {
					fail, _ := strconv.Atoi(ctx.Query().Get("fail"))
					for i := 0; ; i++ {
						v, err := s.Recv()
						switch {
						case err == io.EOF && fail%2 == 0:
							return s.CloseSend()
						case err == io.EOF:
							return nil
						case err != nil:
							return err
						case i == fail:
							return tp.NewRerror(4001, "enough", "").Err()
						}
						if err := s.Send(*v); err != nil {
							return err
						}
					}
				})
				var all sync.WaitGroup
				var whole atomic.Int32
				for range 15 {
					walk := rand.New(rand.NewPCG(rng.Uint64(), 2))
					all.Go(func() {
						if walkStream(t, r, walk) {
							whole.Add(1)
						}
					})
				}
				for range 5 {
					time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
					s := append(r.sessions, r.client)[rng.IntN(4)]
					if conn := r.net.Find(s.LocalAddr().String()); conn != nil {
						conn.Cut()
					}
				}
				all.Wait()
				if n := whole.Load(); n == 0 || n == 15 {
					t.Errorf("%d streams of 15 came to their end; want some", n)
				}
				time.Sleep(time.Minute) // all sessions have redialled
				r.idle(t)
			})
		})
	}
}

// walkStream sends numbers into /mirror, and receives them. It reports whether the stream has
// ended as it should.
func walkStream(t *testing.T, r *row, rng *rand.Rand) bool {
	time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+rng.IntN(3000))*time.Millisecond)
	defer cancel()
	st, err := tp.OpenStream[string, string](ctx, r.client, fmt.Sprint("/mirror?fail=", rng.IntN(250)))
	if err != nil {
		return false
	}
	n, slow, closes := rng.IntN(150), rng.IntN(3) == 0, rng.IntN(1000)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range n {
			if st.Send(fmt.Sprint(i, strings.Repeat(" ", i*7%3000))) != nil {
				return
			}
		}
		st.CloseSend()
	}()
	defer func() { <-sent }()
	for i := 0; ; i++ {
		v, err := st.Recv()
		if err == io.EOF {
			if i != n {
				t.Errorf("a stream of %d messages ended after %d", n, i)
			}
			return true
		}
		if err != nil {
			return false
		}
		if text, _, _ := strings.Cut(*v, " "); text != strconv.Itoa(i) {
			t.Errorf("message %d is %q", i, text)
		}
		if slow {
			time.Sleep(time.Duration(i%20) * time.Millisecond)
		}
		if i == closes {
			st.Close()
		}
	}
}
