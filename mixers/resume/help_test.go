package resume

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

const patience = 30 * time.Second

// over makes a network over TCP.
func over(t testing.TB, o Options) tp.Network {
	t.Helper()
	tcp, err := tp.LookupNetwork("tcp")
	require.NoError(t, err)
	return Over(tcp, o)
}

// newPeer makes a peer of the network that is closed at the end of the test.
func newPeer(t testing.TB, o Options, cfg tp.PeerConfig, plugin ...tp.Plugin) tp.Peer {
	t.Helper()
	n := over(t, o)
	cfg.Net, cfg.LocalIP = &n, "127.0.0.1"
	return tptest.NewPeer(t, cfg, plugin...)
}

// pair makes a stream: the side that has dialled, and the other.
func pair(t testing.TB, n tp.Network, addr func(string) string) (dialled, accepted net.Conn) {
	t.Helper()
	lis, err := n.Listen(t.Context(), tp.ListenConfig{LocalIP: "127.0.0.1"})
	require.NoError(t, err)
	t.Cleanup(func() { lis.Close() })
	to := lis.Addr().String()
	if addr != nil {
		to = addr(to)
	}
	dialled, err = n.Dial(t.Context(), tp.DialConfig{Addr: to})
	require.NoError(t, err)
	t.Cleanup(func() { dialled.Close() })
	accepted, err = lis.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { accepted.Close() })
	return dialled, accepted
}

// sessionOf returns the session of a server that has one.
func sessionOf(t testing.TB, srv tp.Peer) (sess tp.Session) {
	t.Helper()
	require.Eventually(t, func() bool {
		srv.RangeSession(func(s tp.Session) bool { sess = s; return false })
		return sess != nil
	}, patience, time.Millisecond)
	return sess
}

// awaitLost reads until the stream has lost its connection, and its side knows: cur is nil
// a moment before that.
func awaitLost(t testing.TB, c *Conn) {
	t.Helper()
	require.Eventually(t, func() bool {
		c.TryRead(make([]byte, 1))
		c.mu.Lock()
		defer c.mu.Unlock()
		return !c.lostAt.IsZero()
	}, patience, time.Millisecond)
}

// closeBoth closes both ends of a stream, and waits until it has ended on both sides: what a
// Close has left to say needs the listener, and a cutter that does not cut, for a moment more.
func closeBoth(t testing.TB, a, b net.Conn) {
	t.Helper()
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	awaitEnd(t, a)
	awaitEnd(t, b)
}

// awaitEnd waits until a stream has ended on its side.
func awaitEnd(t testing.TB, conn net.Conn) {
	t.Helper()
	if s, ok := conn.(*secureConn); ok {
		conn = s.Conn
	}
	tptest.Receive(t, conn.(*Conn).over, "the end of a stream that was closed")
}
