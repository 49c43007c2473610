package kcp

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// pair returns the two ends of a connection through a relay.
func pair(t *testing.T) (dialled, accepted *recordConn, relay *tptest.Relay) {
	lis := listen(t, keyed)
	relay = tptest.NewRelay(t, lis.Addr().String())
	a := dial(t, keyed, relay.Addr())
	b, err := lis.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return a.(*recordConn), b.(*recordConn), relay
}

// lossy is a bad path.
var lossy = tptest.Faults{Loss: 0.05, Duplicate: 0.05, Reorder: 0.1, Delay: 5 * time.Millisecond}

// Nothing that was written before Close is lost, whichever side closes first, and if both
// do at once.
func TestCloseLosesNothing(t *testing.T) {
	tptest.LeakCheck(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	write := func(c *recordConn) {
		_, err := c.Write(data)
		require.NoError(t, err)
	}
	read := func(c *recordConn) {
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got), "%d of %d bytes have come", len(got), len(data))
	}
	for _, test := range []struct {
		name string
		run  func(a, b *recordConn)
	}{
		{"one writes and closes", func(a, b *recordConn) {
			write(a)
			a.Close()
			read(b)
			b.Close()
		}},
		{"the other answers and closes", func(a, b *recordConn) {
			a.CloseWrite()
			n, err := io.Copy(io.Discard, b)
			require.NoError(t, err)
			require.Zero(t, n)
			write(b)
			b.Close()
			read(a)
			a.Close()
		}},
		{"both at once", func(a, b *recordConn) {
			var wg sync.WaitGroup
			for _, c := range []*recordConn{a, b} {
				wg.Go(func() { write(c); c.CloseWrite(); read(c); c.Close() })
			}
			wg.Wait()
		}},
	} {
		for _, faults := range []tptest.Faults{{}, lossy} {
			t.Run(fmt.Sprintf("%s/loss %v", test.name, faults.Loss), func(t *testing.T) {
				a, b, relay := pair(t)
				relay.Set(faults)
				test.run(a, b)
				c, d, relay := pair(t)
				relay.Set(faults)
				test.run(d, c)
				for _, x := range []*recordConn{a, b, c, d} {
					within(t, x.ended, "the end of a connection")
				}
			})
		}
	}
}

// Close after CloseWrite returns once both sides have read everything, long before the
// grace is over.
func TestCloseIsQuick(t *testing.T) {
	a, b, _ := pair(t)
	go func() { io.Copy(io.Discard, b); b.Close() }()
	a.CloseWrite()
	begun := time.Now()
	require.NoError(t, a.Close())
	require.Less(t, time.Since(begun), grace)
	require.ErrorIs(t, a.Close(), net.ErrClosed)
	within(t, b.ended, "the end of the accepted connection")
}

// A connection whose other side is gone ends when the grace is over.
func TestCloseAlone(t *testing.T) {
	tptest.LeakCheck(t)
	a, b, relay := pair(t)
	relay.Set(tptest.Faults{Loss: 1})
	for _, c := range []*recordConn{a, b} {
		go func() { c.CloseWrite(); c.Close() }()
	}
	within(t, a.ended, "the end of the dialled connection")
	within(t, b.ended, "the end of the accepted connection")
}

// A side that reads everything before it closes learns that the other one has not.
func TestGone(t *testing.T) {
	a, b, _ := pair(t)
	b.wire.tellGone(b.sess.GetConv(), b.addr)
	_, err := a.Read(make([]byte, 1))
	require.EqualError(t, err, "the other side does not have this session any more")
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = a.Write([]byte("x"))
	require.Error(t, err)
}

// The port is free when Peer.Close returns, also with sessions that were open.
func TestPortIsFree(t *testing.T) {
	tptest.LeakCheck(t)
	cli := newPeer(t, keyed, tp.PeerConfig{RedialTimes: -1, RedialInterval: time.Millisecond})
	srv, addr := newServer(t, keyed, tp.PeerConfig{})
	udp, err := net.ResolveUDPAddr("udp", addr)
	require.NoError(t, err)
	var sessions []tp.Session
	for range 20 {
		sessions = append(sessions, tptest.Dial(t, cli, addr))
	}
	for range 3 {
		for _, s := range sessions {
			echo(t, s, "hello")
		}
		require.NoError(t, srv.Close())
		srv, _ = newServer(t, keyed, tp.PeerConfig{ListenPort: uint16(udp.Port)}) // fails if the port is taken
	}
	for _, s := range sessions {
		echo(t, s, "redialled")
	}
	require.NoError(t, cli.Close())
	require.NoError(t, srv.Close())
}
