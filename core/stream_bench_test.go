package tp

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/teleport-go/teleport/core/internal/testwire"
)

// Messages of 581 bytes go one way over streams of one session, over TCP: both ends are in
// this process.
func BenchmarkStream(b *testing.B) {
	testwire.Register()
	cfg := PeerConfig{LocalIP: "127.0.0.1", DefaultBodyCodec: "testtext", Protocol: testwire.New, Logger: slog.New(slog.DiscardHandler)}
	srv, cli := NewPeer(cfg), NewPeer(cfg)
	defer srv.Close()
	defer cli.Close()
	HandleStream(srv, "/sink", func(_ StreamCtx, s *Stream[[]byte, []byte]) error {
		var buf []byte
		for s.RecvInto(&buf) == nil {
		}
		return nil
	})
	if err := srv.Listen(); err != nil {
		b.Fatal(err)
	}
	sess, r := cli.Dial(srv.Addrs()[0].String())
	if r != nil {
		b.Fatal(r)
	}
	body := make([]byte, 581)
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					s, err := OpenStream[[]byte, []byte](context.Background(), sess, "/sink")
					if err != nil {
						b.Error(err)
						return
					}
					for range b.N/n + min(1, max(0, b.N%n-i)) {
						if err := s.Send(body); err != nil {
							b.Error(err)
							return
						}
					}
					s.CloseSend()
					if err := s.Wait(); err != nil {
						b.Error(err)
					}
				})
			}
			wg.Wait()
		})
	}
}
