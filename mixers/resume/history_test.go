package resume

import (
	"context"
	"flag"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/resume/resumetest"
)

// The long round: go test -run TestHistory -timeout 0 . -args -cuts 10000
var cuts = flag.Int64("cuts", 200, "how often TestHistory cuts the connection")

// Calls and pushes in both directions run once, in order, wherever the connection is cut.
func TestHistory(t *testing.T) {
	tptest.LeakCheck(t)
	stats := new(Stats)
	o := Options{Buffer: leastBuffer, Stats: stats}
	conns := new(watched)
	cli := newWatched(t, o, tp.PeerConfig{}, conns)
	resumetest.Run(t, newWatched(t, o, tp.PeerConfig{}, conns), cli, *cuts, func() { conns.check(t) })
	conns.closeWith(t, cli)
	t.Logf("resumed %d times on both sides", stats.Resumed.Load())
	require.EqualValues(t, 2, stats.Streams.Load(), "streams, of both sides")
	require.Zero(t, stats.Expired.Load())
}

// watched are streams whose memory is looked at.
type watched struct {
	mu   sync.Mutex
	list []*Conn
}

func (w *watched) add(c net.Conn) net.Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s, ok := c.(*secureConn); ok {
		w.list = append(w.list, s.Conn)
	} else {
		w.list = append(w.list, c.(*Conn))
	}
	return c
}

// check checks that the memory of all is within the bounds.
func (w *watched) check(t *testing.T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.list {
		c.mu.Lock()
		require.LessOrEqual(t, len(c.sent.ring), c.o.Buffer+slack)
		c.mu.Unlock()
		c.rmu.Lock()
		require.LessOrEqual(t, len(c.inbound)-c.off, c.o.Buffer+4<<10)
		c.rmu.Unlock()
	}
}

// closeWith closes the peer that has dialled, while nothing cuts connections, and waits until its
// streams have ended.
func (w *watched) closeWith(t *testing.T, cli tp.Peer) {
	t.Helper()
	require.NoError(t, cli.Close())
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.list {
		awaitEnd(t, c)
	}
}

// dialled returns the network, whose dialled streams are added to w.
func (w *watched) dialled(n tp.Network) tp.Network {
	dial := n.Dial
	n.Dial = func(ctx context.Context, d tp.DialConfig) (net.Conn, error) {
		c, err := dial(ctx, d)
		if err == nil {
			w.add(c)
		}
		return c, err
	}
	return n
}

// newWatched makes a peer whose streams are added to w.
func newWatched(t *testing.T, o Options, cfg tp.PeerConfig, w *watched) tp.Peer {
	n := w.dialled(over(t, o))
	listen := n.Listen
	n.Listen = func(ctx context.Context, l tp.ListenConfig) (net.Listener, error) {
		lis, err := listen(ctx, l)
		if err == nil {
			lis = &watchedListener{lis.(*Listener), w}
		}
		return lis, err
	}
	cfg.Net, cfg.LocalIP = &n, "127.0.0.1"
	return tptest.NewPeer(t, cfg)
}

type watchedListener struct {
	*Listener
	w *watched
}

func (l *watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.w.add(c)
	}
	return c, err
}
