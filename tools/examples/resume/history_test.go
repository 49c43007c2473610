package main

import (
	"context"
	"crypto/tls"
	"flag"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/resume"
	"github.com/teleport-go/teleport/mixers/resume/resumetest"
	"github.com/teleport-go/teleport/mixers/websocket"
)

// The long round: go test -run TestHistory -timeout 0 ./tools/examples/resume -args -cuts 10000
var cuts = flag.Int64("cuts", 200, "how often TestHistory cuts the connection")

// Calls and pushes in both directions run once, in order, wherever a WebSocket is cut.
func TestHistory(t *testing.T) {
	for _, test := range []struct {
		name           string
		protocol       string
		server, client *tls.Config
	}{
		{"ws", "raw", nil, nil},
		{"ws, text", "json", nil, nil},
		{"wss", "raw", tp.GenerateTLSConfigForServer(), tp.GenerateTLSConfigForClient()},
	} {
		t.Run(test.name, func(t *testing.T) {
			tptest.LeakCheck(t)
			stats := new(resume.Stats)
			const buffer = 128 << 10
			streams := &watched{Streams: resume.NewStreams(resume.Options{Buffer: buffer, Stats: stats})}
			peer := func(c *tls.Config) tp.Peer {
				n := websocket.Network(websocket.Options{Path: "/ws", Resume: streams})
				p := tptest.NewPeer(t, tp.PeerConfig{Net: n, Protocols: []string{test.protocol}, LocalIP: "127.0.0.1"})
				if c != nil {
					require.NoError(t, p.SetTLSConfig(c))
				}
				return p
			}
			resumetest.Run(t, peer(test.server), peer(test.client), *cuts, func() { streams.check(t, buffer) })
			t.Logf("resumed %d times on both sides", stats.Resumed.Load())
			require.EqualValues(t, 2, stats.Streams.Load(), "streams, of both sides")
			require.Zero(t, stats.Expired.Load())
			require.Zero(t, stats.Refused.Load())
		})
	}
}

// watched are streams whose memory is looked at.
type watched struct {
	*resume.Streams
	mu   sync.Mutex
	list []net.Conn
}

func (w *watched) add(c net.Conn, err error) (net.Conn, error) {
	if c != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.list = append(w.list, c)
	}
	return c, err
}

func (w *watched) Dial(ctx context.Context, d tp.DialConfig, connect func(context.Context, tp.DialConfig) (net.Conn, error)) (net.Conn, error) {
	return w.add(w.Streams.Dial(ctx, d, connect))
}

func (w *watched) Accept(ctx context.Context, conn net.Conn, facts tp.ConnFacts) (net.Conn, error) {
	return w.add(w.Streams.Accept(ctx, conn, facts))
}

// check checks that the memory of all streams is within the bounds.
func (w *watched) check(t *testing.T, buffer int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	require.NotEmpty(t, w.list)
	for _, c := range w.list {
		sent, arrived := c.(interface{ Held() (sent, arrived int) }).Held()
		require.LessOrEqual(t, sent, buffer+4<<10)
		require.LessOrEqual(t, arrived, buffer+4<<10)
	}
}
