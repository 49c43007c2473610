package resume

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

func TestNetwork(t *testing.T) {
	server, client := tp.GenerateTLSConfigForServer(), tp.GenerateTLSConfigForClient()
	t.Run("tcp", func(t *testing.T) {
		n := over(t, Options{})
		tptest.RunNetwork(t, func(ctx context.Context, addr string) (net.Conn, error) {
			return n.Dial(ctx, tp.DialConfig{Addr: addr})
		}, func() (net.Listener, error) {
			return n.Listen(t.Context(), tp.ListenConfig{LocalIP: "127.0.0.1"})
		})
	})
	t.Run("tls", func(t *testing.T) {
		n := over(t, Options{})
		tptest.RunNetwork(t, func(ctx context.Context, addr string) (net.Conn, error) {
			return n.Dial(ctx, tp.DialConfig{Addr: addr, TLS: client})
		}, func() (net.Listener, error) {
			return n.Listen(t.Context(), tp.ListenConfig{LocalIP: "127.0.0.1", TLS: server})
		})
	})
}

func TestRegistered(t *testing.T) {
	for _, name := range []string{"resume+tcp", "resume+unix"} {
		n, err := tp.LookupNetwork(name)
		require.NoError(t, err)
		require.Equal(t, name, n.Name)
		require.True(t, n.OwnTLS)
	}
}
