package kcp

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	kcpgo "github.com/xtaci/kcp-go/v5"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

func TestNetwork(t *testing.T) {
	for _, test := range []struct {
		name string
		o    Options
		lack []tptest.Feature
	}{
		{"no key", Options{}, nil},
		{"key", keyed, nil},
		{"shards", Options{Key: key, DataShards: 10, ParityShards: 3}, nil},
		{"v7", V7(), []tptest.Feature{tptest.End, tptest.Silent}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := New(test.o)
			tptest.RunNetwork(t, func(ctx context.Context, addr string) (net.Conn, error) {
				return n.Dial(ctx, tp.DialConfig{Network: "kcp", Addr: addr})
			}, func() (net.Listener, error) {
				return n.Listen(t.Context(), tp.ListenConfig{Network: "kcp", LocalIP: "127.0.0.1"})
			}, tptest.Without(test.lack...))
		})
	}
}

// Without a key there is a warning, once for each network, unless TLS protects the session.
func TestNoKey(t *testing.T) {
	const warning = "kcp without a key: anybody can read, forge and end these sessions"
	for _, test := range []struct {
		name string
		o    Options
		tls  bool
		want int
	}{
		{"no key", Options{}, false, 1},
		{"v7", V7(), false, 1},
		{"key", keyed, false, 0},
		{"TLS", Options{}, true, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, lines := New(test.o), new(tptest.Lines)
			cfg := tp.PeerConfig{Net: &n, LocalIP: "127.0.0.1", Logger: lines.Logger()}
			srv, cli := tptest.NewPeer(t, cfg), tptest.NewPeer(t, cfg)
			tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
			if test.tls {
				require.NoError(t, srv.SetTLSConfig(tp.GenerateTLSConfigForServer()))
				require.NoError(t, cli.SetTLSConfig(tp.GenerateTLSConfigForClient()))
			}
			tptest.Echo(t, tptest.Dial(t, cli, tptest.Listen(t, srv)), "hello")
			require.Equal(t, test.want, strings.Count(strings.Join(lines.All(), "\n"), warning))
		})
	}
}

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		o    Options
		want string
	}{
		{Options{Key: []byte("short")}, "kcp: the key has 5 bytes; at least 16 are needed"},
		{Options{DataShards: 200, ParityShards: 100}, "kcp: 200 data and 100 parity shards; both must be at least 0, and together at most 256"},
		{Options{DataShards: -1}, "kcp: -1 data and 0 parity shards; both must be at least 0, and together at most 256"},
	} {
		n := New(test.o)
		_, err := n.Dial(t.Context(), tp.DialConfig{Addr: "127.0.0.1:1"})
		require.EqualError(t, err, test.want)
		_, err = n.Listen(t.Context(), tp.ListenConfig{})
		require.EqualError(t, err, "tp: listen "+test.want)
	}
}

func TestDialErrors(t *testing.T) {
	tptest.LeakCheck(t)
	lis := listen(t, keyed)
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := udp.LocalAddr().String()
	udp.Close()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	const timeout = "no KCP handshake within 300ms; does a listener with the same key and shards listen there, and does UDP pass?"
	for _, test := range []struct {
		name, addr string
		o          Options
		want       string
	}{
		{"closed port", closed, keyed, "no KCP listener there: connection refused"},
		{"nobody answers", silent.LocalAddr().String(), keyed, timeout},
		{"another key", lis.Addr().String(), Options{Key: []byte("another key of 24 bytes!")}, timeout},
		{"no key", lis.Addr().String(), Options{}, timeout},
		{"no port", "127.0.0.1", keyed, "missing port in address"},
		{"unknown host", "host.invalid:1", keyed, "host.invalid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			limit := patience
			if test.want == timeout {
				limit = 300 * time.Millisecond
			}
			_, err := New(test.o).Dial(t.Context(), tp.DialConfig{Addr: test.addr, HandshakeTimeout: limit})
			require.ErrorContains(t, err, test.want)
		})
	}
	t.Run("local address", func(t *testing.T) {
		_, err := New(keyed).Dial(t.Context(), tp.DialConfig{Addr: "127.0.0.1:1", LocalIP: "192.0.2.1"})
		require.ErrorContains(t, err, "cannot assign requested address")
	})
	t.Run("time-out", func(t *testing.T) {
		begun := time.Now()
		_, err := New(keyed).Dial(t.Context(), tp.DialConfig{Addr: silent.LocalAddr().String(), Timeout: 50 * time.Millisecond})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Less(t, time.Since(begun), 5*time.Second)
	})
	t.Run("listener closes", func(t *testing.T) {
		lis := listen(t, keyed)
		c := dial(t, keyed, lis.Addr().String()) // keeps the socket
		accepted, err := lis.Accept()
		require.NoError(t, err)
		defer accepted.Close()
		lis.Close()
		_, err = New(keyed).Dial(t.Context(), tp.DialConfig{Addr: lis.Addr().String()})
		require.ErrorIs(t, err, errRefused)
		c.Close()
	})
}

// A peer of v7 is kcp-go itself, with 10+3 shards.
func TestV7(t *testing.T) {
	t.Run("dials", func(t *testing.T) {
		_, addr := newServer(t, V7(), tp.PeerConfig{})
		cli := newPeer(t, V7(), tp.PeerConfig{})
		sess := tptest.Dial(t, cli, addr)
		for i := range 20 {
			tptest.Echo(t, sess, fmt.Sprint(i))
		}
	})
	t.Run("is dialled", func(t *testing.T) {
		lis, err := kcpgo.ListenWithOptions("127.0.0.1:0", nil, 10, 3)
		require.NoError(t, err)
		defer lis.Close()
		go func() {
			c, err := lis.Accept()
			if err == nil {
				io.Copy(c, c)
			}
		}()
		c := dial(t, V7(), lis.Addr().String())
		_, err = c.Write([]byte("hello"))
		require.NoError(t, err)
		room := make([]byte, 5)
		_, err = io.ReadFull(c, room)
		require.NoError(t, err)
		require.Equal(t, "hello", string(room))
	})
	t.Run("is accepted", func(t *testing.T) {
		lis := listen(t, V7())
		c, err := kcpgo.DialWithOptions(lis.Addr().String(), nil, 10, 3)
		require.NoError(t, err)
		defer c.Close()
		_, err = c.Write([]byte("hello"))
		require.NoError(t, err)
		s, err := lis.Accept()
		require.NoError(t, err)
		defer s.Close()
		room := make([]byte, 5)
		_, err = io.ReadFull(s, room)
		require.NoError(t, err)
		require.Equal(t, "hello", string(room))
		_, ok := s.(interface{ CloseWrite() error })
		require.False(t, ok, "nothing tells a peer of v7 that a direction has ended")
	})
}

// A listener on all addresses of both families takes IPv4.
func TestBothFamilies(t *testing.T) {
	lis, err := New(keyed).Listen(t.Context(), tp.ListenConfig{LocalIP: "::"})
	if err != nil {
		require.ErrorContains(t, err, "address family not supported")
		return
	}
	defer lis.Close()
	_, port, _ := net.SplitHostPort(lis.Addr().String())
	c := dial(t, keyed, "127.0.0.1:"+port)
	s, err := lis.Accept()
	require.NoError(t, err)
	defer s.Close()
	_, err = s.Write([]byte("hello"))
	require.NoError(t, err)
	_, err = io.ReadFull(c, make([]byte, 5))
	require.NoError(t, err)
}
