package quic

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// The client moves to another local address by itself.
func TestMigrate(t *testing.T) {
	tptest.LeakCheck(t)
	lis := listen(t, Options{})
	a := dial(t, Options{}, lis.Addr().String()).(*Conn)
	c, err := lis.Accept()
	require.NoError(t, err)
	b := c.(*Conn)
	defer b.Close()
	pass := func(from, to net.Conn) {
		t.Helper()
		_, err := from.Write([]byte("hello"))
		require.NoError(t, err)
		room := make([]byte, 5)
		_, err = io.ReadFull(to, room)
		require.NoError(t, err)
		require.Equal(t, "hello", string(room))
	}
	pass(a, b)
	before := b.RemoteAddr().String()
	for range 2 {
		require.NoError(t, a.Migrate(t.Context(), "127.0.0.1"))
		pass(a, b)
		pass(b, a)
		require.Eventually(t, func() bool { pass(a, b); return b.RemoteAddr().String() != before }, patience, time.Millisecond)
		before = b.RemoteAddr().String()
	}
	require.ErrorContains(t, b.Migrate(t.Context(), ""), "only the dialling side")
	require.ErrorContains(t, a.Migrate(t.Context(), "192.0.2.1"), `quic: migrate to "192.0.2.1": listen udp`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, a.Migrate(ctx, "127.0.0.1"), context.Canceled)
	pass(a, b)
	go a.Close()
	b.Close()
	tptest.Receive(t, a.ended, "the end")
	require.Error(t, a.Migrate(t.Context(), "127.0.0.1"))
}

// A plugin reaches the connection, to migrate it.
func TestOf(t *testing.T) {
	srv, addr := newServer(t, Options{}, tp.PeerConfig{})
	p := new(mover)
	cli := newPeer(t, Options{}, tp.PeerConfig{}, p)
	sess := tptest.Dial(t, cli, addr)
	tptest.Echo(t, sess, "before")
	require.NoError(t, p.conn.Migrate(t.Context(), "127.0.0.1"))
	tptest.Echo(t, sess, "after")
	require.Equal(t, 1, srv.CountSession())
	require.Equal(t, uint16(0x0304), sess.ConnectionState().Version) // TLS 1.3
}

type mover struct{ conn *Conn }

func (*mover) Name() string { return "mover" }

func (m *mover) PostDial(s tp.PreSession) *tp.Rerror { m.conn = Of(s); return nil }

// Half of a handshake, connections without a stream and garbage cost nobody a session.
func TestStrangers(t *testing.T) {
	tptest.LeakCheck(t)
	o := Options{}
	srv, addr := newServer(t, o, tp.PeerConfig{HandshakeTimeout: 2 * time.Second})
	cli := newPeer(t, o, tp.PeerConfig{})
	sess := tptest.Dial(t, cli, addr)
	tptest.Echo(t, sess, "before")

	to, err := net.Dial("udp", addr)
	require.NoError(t, err)
	defer to.Close()
	for range 300 { // garbage, also such that looks like the head of a packet
		b := make([]byte, 1200)
		rand.Read(b)
		if b[10]&1 == 0 {
			b[0] |= 0xc0
			copy(b[1:], []byte{0, 0, 0, 1})
		}
		to.Write(b)
	}

	sink, err := net.ListenPacket("udp", "127.0.0.1:0") // forwards what clients send, and no answers
	require.NoError(t, err)
	forwarded := make(chan struct{})
	go func() {
		defer close(forwarded)
		b := make([]byte, 2000)
		for {
			n, _, err := sink.ReadFrom(b)
			if err != nil {
				return
			}
			to.Write(b[:n])
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			New(Options{}).Dial(ctx, tp.DialConfig{Addr: sink.LocalAddr().String(), TLS: clientConf})
		})
	}
	var silent []*Conn
	for range 100 {
		c := streamless(t, addr)
		silent = append(silent, c)
	}
	tptest.Echo(t, sess, "meanwhile")
	tptest.Echo(t, tptest.Dial(t, cli, addr), "a new session")
	wg.Wait()
	sink.Close()
	<-forwarded
	refused := 0
	for _, c := range silent {
		tptest.Receive(t, c.conn.Context().Done(), "the end of a connection without a stream")
		if err := context.Cause(c.conn.Context()); strings.Contains(err.Error(), "no stream came within the handshake timeout") {
			refused++
		} // else a busy server has given up before its side of the handshake was complete, and QUIC does not say so
		c.Close()
		tptest.Receive(t, c.ended, "the release of its socket")
	}
	require.NotZero(t, refused, "connections that the server has ended with a reason")
	tptest.Echo(t, sess, "after")
	require.Equal(t, 2, srv.CountSession())
}

// streamless makes a connection that has no stream for the server. It notices in less than
// patience that the server does not know it.
func streamless(t *testing.T, addr string) *Conn {
	n := newNetwork(Options{V7: true, IdleTimeout: patience / 3})
	s, err := n.pool.get(nil)
	require.NoError(t, err)
	host, addrs, err := resolve(t.Context(), addr)
	require.NoError(t, err)
	cfg := n.clientTLS(clientConf, host)
	cfg.NextProtos = []string{protocol}
	conn, err := s.transport.Dial(t.Context(), addrs[0], cfg, n.config(true, patience))
	require.NoError(t, err)
	stream, err := conn.OpenStream()
	require.NoError(t, err)
	return newConn(conn, stream, s, nil)
}

// A stream that begins with another byte is refused, with a text.
func TestFirstByte(t *testing.T) {
	lis := listen(t, Options{})
	c := streamless(t, lis.Addr().String())
	_, err := c.Write([]byte("GET"))
	require.NoError(t, err)
	_, err = c.Read(make([]byte, 1))
	require.ErrorContains(t, err, "the first byte of the stream is 71, not 0")
	c.Close()
	tptest.Receive(t, c.ended, "the end")
}
