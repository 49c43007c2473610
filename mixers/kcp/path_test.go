package kcp

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	kcpgo "github.com/xtaci/kcp-go/v5"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// Halves of handshakes, strangers and garbage cost nobody a session.
func TestStrangers(t *testing.T) {
	tptest.LeakCheck(t)
	for _, o := range []Options{keyed, {}} {
		t.Run(fmt.Sprintf("key of %d bytes", len(o.Key)), func(t *testing.T) {
			srv, addr := newServer(t, o, tp.PeerConfig{HandshakeTimeout: 2 * time.Second})
			cli := newPeer(t, o, tp.PeerConfig{})
			sess := tptest.Dial(t, cli, addr)
			tptest.Echo(t, sess, "before")
			to, err := net.Dial("udp", addr)
			require.NoError(t, err)
			defer to.Close()
			for range 300 {
				b := make([]byte, 100)
				rand.Read(b)
				to.Write(b)
			}
			var half []*kcpgo.UDPSession
			for i := range 100 {
				c, err := kcpgo.DialWithOptions(addr, nil, 0, 0)
				require.NoError(t, err)
				defer c.Close()
				c.Write([]byte([]string{hello, "GET / HTTP/1.1", "t"}[i%3]))
				half = append(half, c)
			}
			tptest.Echo(t, sess, "meanwhile")
			tptest.Echo(t, tptest.Dial(t, cli, addr), "a new session")
			if o.Key == nil {
				half[0].SetReadDeadline(time.Now().Add(patience))
				_, err := io.ReadFull(half[0], make([]byte, challengeSize))
				require.NoError(t, err) // the listener has begun to answer
			}
			tptest.Echo(t, sess, "after")
			require.Equal(t, 2, srv.CountSession())
		})
	}
}

// What was recorded of a session cannot be played again: another session is not accepted
// by the bytes of the first one.
func TestReplay(t *testing.T) {
	lis := listen(t, keyed)
	var mu sync.Mutex
	var recorded [][]byte
	server, err := net.ResolveUDPAddr("udp", lis.Addr().String())
	require.NoError(t, err)
	recorder, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer recorder.Close()
	go func() { // between the client and the server
		var client *net.UDPAddr
		room := make([]byte, 2000)
		for {
			n, from, err := recorder.ReadFromUDP(room)
			switch {
			case err != nil:
				return
			case from.Port == server.Port:
				recorder.WriteToUDP(room[:n], client)
			default:
				client = from
				mu.Lock()
				recorded = append(recorded, bytes.Clone(room[:n]))
				mu.Unlock()
				recorder.WriteToUDP(room[:n], server)
			}
		}
	}()
	a := dial(t, keyed, recorder.LocalAddr().String())
	b, err := lis.Accept()
	require.NoError(t, err)
	_, err = a.Write([]byte("pay 100"))
	require.NoError(t, err)
	_, err = io.ReadFull(b, make([]byte, 7))
	require.NoError(t, err)

	again, err := net.DialUDP("udp", nil, server)
	require.NoError(t, err)
	defer again.Close()
	mu.Lock()
	for _, d := range recorded {
		again.Write(d)
	}
	mu.Unlock()
	again.SetReadDeadline(time.Now().Add(patience))
	room, opened := make([]byte, 2000), newSeal(key, true)
	for gone := false; !gone; { // until the listener has refused it
		n, err := again.Read(room)
		require.NoError(t, err)
		datagram, err := opened.open(nil, room[:n])
		require.NoError(t, err)
		_, gone = parseGone(datagram)
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := lis.Accept(); err == nil {
			accepted <- c
		}
		close(accepted)
	}()
	lis.Close()
	require.Nil(t, tptest.Receive(t, accepted, "the end of Accept"))
}

// A session that is not used looks rarely whether a packet is to be repeated, and often
// again once it is used.
func TestCalm(t *testing.T) {
	o := Options{Key: key, KeepAlive: 400 * time.Millisecond}
	lis := listen(t, o)
	a := dial(t, o, lis.Addr().String()).(*recordConn)
	c, err := lis.Accept()
	require.NoError(t, err)
	defer c.Close()
	b := c.(*recordConn)
	isCalm := func(c *recordConn) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.calm
	}
	// wasUsed reports whether c was used since then; if it is calm, that is long ago.
	wasUsed := func(c *recordConn, then time.Time) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return !c.busy.Before(then) && (!c.calm || time.Since(c.busy) > calmAfter)
	}
	for range 2 {
		require.Eventually(t, func() bool { return isCalm(a) && isCalm(b) }, patience, 10*time.Millisecond)
		then := time.Now()
		_, err = a.Write([]byte("hello"))
		require.NoError(t, err)
		_, err = io.ReadFull(b, make([]byte, 5))
		require.NoError(t, err)
		require.True(t, wasUsed(a, then) && wasUsed(b, then), "one is calm right after a message")
	}
}
