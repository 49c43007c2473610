package harnesstest

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// The proxy counts every connection.
func TestProxyCounts(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer server.Close()
	p, err := startProxy(t.Context(), server.Addr().String())
	require.NoError(t, err)
	for range 3 {
		client, err := net.Dial("tcp", p.addr)
		require.NoError(t, err)
		defer client.Close()
		conn, err := server.Accept() // so that it has passed the proxy
		require.NoError(t, err)
		conn.Close()
	}
	if n := p.accepted.Load(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}
