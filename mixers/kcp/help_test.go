package kcp

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

var key = []byte("a key of 24 secret bytes")

var keyed = Options{Key: key}

const patience = 30 * time.Second

// newPeer makes a peer of the network that is closed at the end of the test.
func newPeer(t *testing.T, o Options, cfg tp.PeerConfig, plugin ...tp.Plugin) tp.Peer {
	t.Helper()
	n := New(o)
	cfg.Net, cfg.LocalIP = &n, "127.0.0.1"
	return tptest.NewPeer(t, cfg, plugin...)
}

// newServer makes a listening peer that replies to /echo with its argument.
func newServer(t *testing.T, o Options, cfg tp.PeerConfig, plugin ...tp.Plugin) (srv tp.Peer, addr string) {
	t.Helper()
	n := New(o)
	cfg.Net, cfg.LocalIP = &n, "127.0.0.1"
	srv = tptest.NewPeer(t, cfg, plugin...)
	tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
	return srv, tptest.Listen(t, srv)
}

// echo makes a call that must succeed.
func echo(t *testing.T, sess tp.Session, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := tp.Invoke[string](ctx, sess, "/echo", text)
	require.NoError(t, err)
	require.Equal(t, text, got)
}

// within waits for a value.
func within[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
	}
	require.FailNow(t, what+" has not come")
	panic("unreachable")
}

// listen makes a listener of a network with these options.
func listen(t *testing.T, o Options) net.Listener {
	t.Helper()
	lis, err := New(o).Listen(t.Context(), tp.ListenConfig{Network: "kcp", LocalIP: "127.0.0.1"})
	require.NoError(t, err)
	t.Cleanup(func() { lis.Close() })
	return lis
}

func dial(t *testing.T, o Options, addr string) net.Conn {
	t.Helper()
	c, err := New(o).Dial(t.Context(), tp.DialConfig{Network: "kcp", Addr: addr})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}
