package heartbeat_test

import (
	"io"
	"net"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/heartbeat"
)

// On a connection of the system's, too, waiting for a dead peer ends, although its
// system still acknowledges what it gets.
func TestTCP(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := lis.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		io.Copy(io.Discard, conn) // reads, and never writes
	}()
	cli := tptest.NewPeer(t, tp.PeerConfig{}, heartbeat.NewPingEvery(50*time.Millisecond, true))
	begin := time.Now()
	sess := tptest.Dial(t, cli, lis.Addr().String())
	select {
	case <-sess.CloseNotify():
	case <-time.After(10 * time.Second):
		t.Fatal("not noticed")
	}
	if d := time.Since(begin); d < 90*time.Millisecond {
		t.Errorf("given up after %v; want two rates of 50ms", d)
	}
	wantSilent(t, "client", sess)
	<-done
}
