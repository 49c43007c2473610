package kcp

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	kcpgo "github.com/xtaci/kcp-go/v5"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// through makes a client of the server at addr, behind a relay. It does not redial, so
// that a session which is lost stays lost.
func through(t *testing.T, o Options, addr string) (cli tp.Peer, sess tp.Session, relay *tptest.Relay) {
	t.Helper()
	relay = tptest.NewRelay(t, addr)
	cli = newPeer(t, o, tp.PeerConfig{})
	return cli, tptest.Dial(t, cli, relay.Addr()), relay
}

// A client whose address changes is told at once that its session is gone, and redials.
func TestAddressChange(t *testing.T) {
	_, addr := newServer(t, keyed, tp.PeerConfig{})
	relay := tptest.NewRelay(t, addr)
	cli := newPeer(t, keyed, tp.PeerConfig{RedialTimes: -1, RedialInterval: time.Millisecond})
	sess := tptest.Dial(t, cli, relay.Addr())
	echo(t, sess, "before")
	for range 3 {
		relay.Rebind()
		begun := time.Now()
		require.Eventually(t, func() bool {
			_, err := tp.Invoke[string](t.Context(), sess, "/echo", "after")
			return err == nil
		}, patience, time.Millisecond)
		require.Less(t, time.Since(begun), defaultIdleTimeout/2)
	}
}

// Calls and pushes succeed over a path that loses, repeats and reorders packets.
func TestBadPath(t *testing.T) {
	tptest.LeakCheck(t)
	_, addr := newServer(t, keyed, tp.PeerConfig{})
	relay := tptest.NewRelay(t, addr)
	relay.Set(tptest.Faults{Loss: 0.05, Duplicate: 0.05, Reorder: 0.2, Delay: 100 * time.Millisecond})
	cli := newPeer(t, keyed, tp.PeerConfig{})
	sess := tptest.Dial(t, cli, relay.Addr())
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 5 {
				echo(t, sess, strings.Repeat("hello", 500))
			}
		})
	}
	wg.Wait()
	require.NoError(t, cli.Close())
}

// A session ends on both sides when the other one has vanished, and says why.
func TestVanished(t *testing.T) {
	tptest.LeakCheck(t)
	o := Options{Key: key, IdleTimeout: 2 * time.Second, KeepAlive: 200 * time.Millisecond}
	srv, addr := newServer(t, o, tp.PeerConfig{})
	_, sess, relay := through(t, o, addr)
	echo(t, sess, "before")
	var other tp.Session
	srv.RangeSession(func(s tp.Session) bool { other = s; return true })
	relay.Set(tptest.Faults{Loss: 1})
	for _, s := range []tp.Session{sess, other} {
		within(t, s.CloseNotify(), "the end of a session whose other side has vanished")
		require.Equal(t, tp.SideNetwork, s.CloseReason().Side)
		require.ErrorContains(t, s.CloseReason(), "nothing has come from the other side for the idle timeout")
	}
}

// A session without messages lives on, by the records of KeepAlive.
func TestKeepAlive(t *testing.T) {
	o := Options{Key: key, IdleTimeout: 4 * time.Second, KeepAlive: 300 * time.Millisecond}
	_, addr := newServer(t, o, tp.PeerConfig{})
	cli := newPeer(t, o, tp.PeerConfig{})
	sess := tptest.Dial(t, cli, addr)
	select {
	case <-sess.CloseNotify():
		t.Fatalf("the session has ended: %v", sess.CloseReason())
	case <-time.After(5 * time.Second):
	}
	echo(t, sess, "still there")
}

// Halves of handshakes, strangers and garbage cost nobody a session.
func TestStrangers(t *testing.T) {
	tptest.LeakCheck(t)
	for _, o := range []Options{keyed, {}} {
		t.Run(fmt.Sprintf("key of %d bytes", len(o.Key)), func(t *testing.T) {
			srv, addr := newServer(t, o, tp.PeerConfig{HandshakeTimeout: 2 * time.Second})
			cli := newPeer(t, o, tp.PeerConfig{})
			sess := tptest.Dial(t, cli, addr)
			echo(t, sess, "before")
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
			echo(t, sess, "meanwhile")
			echo(t, tptest.Dial(t, cli, addr), "a new session")
			if o.Key == nil {
				half[0].SetReadDeadline(time.Now().Add(patience))
				_, err := io.ReadFull(half[0], make([]byte, challengeSize))
				require.NoError(t, err) // the listener has begun to answer
			}
			echo(t, sess, "after")
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
	require.Nil(t, within(t, accepted, "the end of Accept"))
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
	for range 2 {
		require.Eventually(t, func() bool { return isCalm(a) && isCalm(b) }, patience, 10*time.Millisecond)
		_, err = a.Write([]byte("hello"))
		require.NoError(t, err)
		_, err = io.ReadFull(b, make([]byte, 5))
		require.NoError(t, err)
		require.False(t, isCalm(a) && isCalm(b), "both are calm right after a message")
	}
}
