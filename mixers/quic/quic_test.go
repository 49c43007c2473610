package quic

import (
	"context"
	"crypto/tls"
	"net"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

var serverTLSConfig, clientTLSConfig = tp.GenerateTLSConfigForServer(), tp.GenerateTLSConfigForClient()

func TestNetwork(t *testing.T) {
	n := New(Options{})
	tptest.RunNetwork(t, func(ctx context.Context, addr string) (net.Conn, error) {
		return n.Dial(ctx, tp.DialConfig{Network: "quic", Addr: addr, TLS: clientTLSConfig})
	}, func() (net.Listener, error) {
		return n.Listen(context.Background(), tp.ListenConfig{Network: "quic", LocalIP: "127.0.0.1", TLS: serverTLSConfig})
	})
}

var _ = tls.Config{}
