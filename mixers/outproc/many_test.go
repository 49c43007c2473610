package outproc

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// Many sessions of a peer, which one poll loop reads, wait for a guest and do not keep its
// lane from being read.
func TestManySessions(t *testing.T) {
	tptest.LeakCheck(t)
	h := loadRole(t, "parts")
	srv := tptest.NewPeer(t, tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: rawproto.NewRawProtoFunc()})
	tp.HandleCall(srv, "/count", func(_ tp.CallCtx, n *note) (note, error) { return note{n.Text, n.Count + 1}, nil })
	cli := tptest.NewPeer(t, tp.PeerConfig{Protocol: rawproto.NewRawProtoFunc()})
	addr := tptest.Listen(t, srv)
	var wg sync.WaitGroup
	for i := range 40 {
		sess := tptest.Dial(t, cli, addr)
		wg.Go(func() {
			for n := range 50 {
				want := note{fmt.Sprint(i, " ", n), n + 1}
				got, err := tp.Invoke[note](t.Context(), sess, "/count", note{want.Text, n}, tp.WithBodyCodec(200), tp.WithXferPipe(200))
				if err != nil || got != want {
					t.Errorf("session %d, call %d: %v, %v", i, n, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, h.Restarts())
}
