package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

func TestNetwork(t *testing.T) {
	n := New(Options{})
	tptest.RunNetwork(t, func(ctx context.Context, addr string) (net.Conn, error) {
		return n.Dial(ctx, tp.DialConfig{Network: "quic", Addr: addr, TLS: clientConf})
	}, func() (net.Listener, error) {
		return n.Listen(t.Context(), tp.ListenConfig{Network: "quic", LocalIP: "127.0.0.1", TLS: serverConf})
	})
}

// A burst of dials is accepted as a whole.
func TestBurst(t *testing.T) {
	cfg := tp.PeerConfig{HandshakeTimeout: 2 * time.Minute} // on a busy machine
	srv, addr := newServer(t, Options{}, cfg)
	cli := newPeer(t, Options{}, cfg)
	const many = 150
	var wg sync.WaitGroup
	for range many {
		wg.Go(func() {
			sess, rerr := cli.Dial(addr)
			if rerr != nil {
				t.Errorf("dial: %s", rerr)
				return
			}
			if got, err := tp.Invoke[string](t.Context(), sess, "/echo", "hello"); err != nil || got != "hello" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, many, srv.CountSession())
}

// A session of v7 is accepted with its first message, whenever that comes.
func TestV7(t *testing.T) {
	tptest.LeakCheck(t)
	o := Options{V7: true}
	srv, addr := newServer(t, o, tp.PeerConfig{HandshakeTimeout: 2 * time.Second})
	cli := newPeer(t, o, tp.PeerConfig{})
	sess := tptest.Dial(t, cli, addr)
	time.Sleep(3 * time.Second) // longer than the handshake timeout
	require.Zero(t, srv.CountSession())
	tptest.Echo(t, sess, "late")
	require.Equal(t, 1, srv.CountSession())
}

// Without a TLS configuration both sides say so.
func TestNoTLS(t *testing.T) {
	p := tptest.NewPeer(t, tp.PeerConfig{Network: "quic", LocalIP: "127.0.0.1", Logger: new(tptest.Lines).Logger()})
	err := p.Listen()
	require.ErrorContains(t, err, "tp: listen quic 127.0.0.1:0: the network quic needs a TLS configuration: call SetTLSConfig")
	_, r := p.Dial("127.0.0.1:1")
	require.Contains(t, r.String(), "dial 127.0.0.1:1: the network quic needs a TLS configuration: call SetTLSConfig")
}

func TestDialErrors(t *testing.T) {
	tptest.LeakCheck(t)
	lis := listen(t, Options{})
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	foreign, err := quicgo.ListenAddr("127.0.0.1:0", &tls.Config{Certificates: serverConf.Certificates, NextProtos: []string{"foreign"}}, nil)
	require.NoError(t, err)
	defer foreign.Close()
	strict := &tls.Config{RootCAs: nil}
	for _, test := range []struct {
		name, addr string
		tls        *tls.Config
		want       string
	}{
		{"nobody", udp.LocalAddr().String(), clientConf, "no QUIC handshake within 300ms; does a server listen there, and does UDP pass?"},
		{"unknown certificate", lis.Addr().String(), strict, "tls: failed to verify certificate: x509: "},
		{"another protocol", foreign.Addr().String(), clientConf, `the server speaks another protocol over QUIC than "teleport/1"`},
		{"no port", "127.0.0.1", clientConf, "missing port in address"},
		{"unknown host", "host.invalid:1", clientConf, "host.invalid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, limit := newNetwork(Options{}), patience
			if test.name == "nobody" {
				limit = 300 * time.Millisecond
			}
			_, err := n.dial(t.Context(), tp.DialConfig{Addr: test.addr, TLS: test.tls, HandshakeTimeout: limit})
			require.ErrorContains(t, err, test.want)
			require.Empty(t, n.pool.byKey, "the socket of a failed dial is still open")
		})
	}
	t.Run("local address", func(t *testing.T) {
		_, err := newNetwork(Options{}).dial(t.Context(), tp.DialConfig{Addr: "127.0.0.1:1", LocalIP: "192.0.2.1", TLS: clientConf})
		require.ErrorContains(t, err, "local address: ")
	})
	t.Run("time-out", func(t *testing.T) {
		begun := time.Now()
		_, err := New(Options{}).Dial(t.Context(), tp.DialConfig{Addr: udp.LocalAddr().String(), TLS: clientConf, Timeout: 50 * time.Millisecond})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Less(t, time.Since(begun), 5*time.Second)
	})
}

// The configuration that GetConfigForClient chooses need not know of QUIC.
func TestConfigForClient(t *testing.T) {
	conf := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if hello.ServerName == "refused" {
			return nil, errors.New("no such name")
		}
		return &tls.Config{Certificates: serverConf.Certificates}, nil
	}}
	lis, err := New(Options{}).Listen(t.Context(), tp.ListenConfig{LocalIP: "127.0.0.1", TLS: conf})
	require.NoError(t, err)
	defer lis.Close()
	dial(t, Options{}, lis.Addr().String())
	c := clientConf.Clone()
	c.ServerName = "refused"
	_, err = New(Options{}).Dial(t.Context(), tp.DialConfig{Addr: lis.Addr().String(), TLS: c})
	require.ErrorContains(t, err, "refused by the other side")
}

// All dials share a socket, which is closed with the last connection.
func TestOneSocket(t *testing.T) {
	tptest.LeakCheck(t)
	lis := listen(t, Options{})
	go func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	n := newNetwork(Options{})
	d := tp.DialConfig{Addr: lis.Addr().String(), TLS: clientConf}
	var conns []*Conn
	for range 3 {
		c, err := n.dial(t.Context(), d)
		require.NoError(t, err)
		conns = append(conns, c)
		require.Equal(t, conns[0].LocalAddr().String(), c.LocalAddr().String())
	}
	d.LocalIP = "127.0.0.1"
	other, err := n.dial(t.Context(), d)
	require.NoError(t, err)
	require.NotEqual(t, conns[0].LocalAddr().String(), other.LocalAddr().String())
	sockets := len(n.pool.byKey)
	require.Equal(t, 2, sockets)
	for _, c := range append(conns, other) {
		c.CloseWrite()
		require.NoError(t, c.Close())
	}
	require.Empty(t, n.pool.byKey)
}

func TestRace(t *testing.T) {
	addrs := []*net.UDPAddr{{Port: 1}, {Port: 2}, {Port: 3}}
	silent := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	t.Run("the second answers", func(t *testing.T) {
		won := new(quicgo.Conn)
		got, err := race(t.Context(), addrs, func(ctx context.Context, a *net.UDPAddr) (*quicgo.Conn, error) {
			if a.Port == 2 {
				return won, nil
			}
			return nil, silent(ctx)
		})
		require.NoError(t, err)
		require.Same(t, won, got)
	})
	t.Run("all fail", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			_, err := race(t.Context(), addrs, func(_ context.Context, a *net.UDPAddr) (*quicgo.Conn, error) {
				return nil, fmt.Errorf("port %d", a.Port)
			})
			require.EqualError(t, err, "port 1")
			require.Zero(t, time.Since(begun), "an address that fails at once does not delay the next")
		})
	})
	t.Run("the context ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { // else the second dial may begin before the first one runs
			ctx, cancel := context.WithCancel(t.Context())
			dials := 0
			_, err := race(ctx, addrs, func(ctx context.Context, _ *net.UDPAddr) (*quicgo.Conn, error) {
				dials++
				cancel()
				return nil, silent(ctx)
			})
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, 1, dials)
		})
	})
}

func TestResetKey(t *testing.T) {
	addr := func(s string) net.Addr { a, _ := net.ResolveUDPAddr("udp", s); return a }
	one := resetKey(serverConf, addr("127.0.0.1:1"))
	require.NotNil(t, one)
	require.Equal(t, one, resetKey(serverConf, addr("127.0.0.1:1")), "after a restart")
	require.NotEqual(t, one, resetKey(serverConf, addr("127.0.0.1:2")), "another address")
	require.Nil(t, resetKey(&tls.Config{}, addr("127.0.0.1:1")))
}

func TestHandshakes(t *testing.T) {
	h, proofs := new(handshakes), 0
	for range 3 * trustedHandshakes {
		if h.many(nil) {
			proofs++
		}
	}
	require.GreaterOrEqual(t, proofs, trustedHandshakes) // the second may change once
	require.False(t, new(handshakes).many(nil))
}
