package evio_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/evio"
	"github.com/teleport-go/teleport/protos/rawproto"
)

func TestNetwork(t *testing.T) {
	tcp, err := tp.LookupNetwork("tcp")
	require.NoError(t, err)
	tptest.RunNetwork(t,
		func(ctx context.Context, addr string) (net.Conn, error) {
			return tcp.Dial(ctx, tp.DialConfig{Network: "tcp", Addr: addr})
		},
		func() (net.Listener, error) {
			return tcp.Listen(t.Context(), tp.ListenConfig{Network: "tcp", LocalIP: "127.0.0.1", ReusePort: true})
		},
		tptest.Config(tp.PeerConfig{Loops: 2}))
}

func TestProtocol(t *testing.T) {
	tptest.RunProto(t, rawproto.NewRawProtoFunc(), tptest.Config(tp.PeerConfig{Loops: 2}))
}

func TestNetworks(t *testing.T) {
	for _, name := range []string{"", "tcp", "tcp4", "tcp6", "unix"} {
		srv, err := evio.Open(1, tp.PeerConfig{Network: name, Logger: tptest.Logger(t)})
		require.NoError(t, err, name)
		srv.Close()
	}
	udp := &tp.Network{Name: "udp"}
	for _, cfg := range []tp.PeerConfig{{Network: "unixpacket"}, {Network: "quic"}, {Net: udp}} {
		_, err := evio.Open(1, cfg)
		require.ErrorIs(t, err, evio.ErrNetwork)
		require.ErrorContains(t, err, "Unsupport evio network, refer to the following: tcp, tcp4, tcp6, unix")
		require.PanicsWithError(t, err.Error(), func() { evio.NewServer(1, cfg) })
	}
	_, err := evio.Open(1<<20, tp.PeerConfig{})
	require.ErrorContains(t, err, "loops: 1048576, at most 1024")
}

// server returns a server with loops, with TLS if secure is true, and a client.
func server(t *testing.T, loops int, cfg tp.PeerConfig, secure bool) (srv *evio.Server, cli tp.Peer, addr string) {
	t.Helper()
	cfg.Protocol, cfg.DefaultBodyCodec, cfg.Logger = rawproto.NewRawProtoFunc(), "testtext", tptest.Logger(t)
	client := cfg
	if cfg.Network == "unix" {
		cfg.LocalIP = filepath.Join(t.TempDir(), "s")
	} else {
		cfg.LocalIP = "127.0.0.1"
	}
	tptest.NewPeer(t, tp.PeerConfig{}) // registers the codec
	srv = evio.NewServer(loops, cfg)
	cli = evio.NewClient(client)
	t.Cleanup(func() { cli.Close(); srv.Close() })
	if secure {
		require.NoError(t, srv.SetTLSConfig(tp.GenerateTLSConfigForServer()))
		require.NoError(t, cli.SetTLSConfig(tp.GenerateTLSConfigForClient()))
	}
	tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, arg *string) (string, error) { return *arg, nil })
	return srv, cli, tptest.Listen(t, srv)
}

// Many sessions call at once, then have no goroutine each.
func TestSessions(t *testing.T) {
	for _, test := range []struct {
		network string
		secure  bool
	}{{"tcp", false}, {"unix", false}, {"tcp", true}} {
		t.Run(fmt.Sprintf("%s/TLS %v", test.network, test.secure), func(t *testing.T) {
			tptest.LeakCheck(t)
			const sessions = 60
			srv, cli, addr := server(t, 2, tp.PeerConfig{Network: test.network}, test.secure)
			var wg sync.WaitGroup
			for i := range sessions {
				s := tptest.Dial(t, cli, addr)
				wg.Go(func() {
					for j := range 50 {
						want := fmt.Sprint(i, j)
						got, err := tp.Invoke[string](t.Context(), s, "/echo", want)
						if err != nil || got != want {
							t.Errorf("call %d of session %d = %q, %v", j, i, got, err)
							return
						}
					}
				})
			}
			wg.Wait()
			require.Equal(t, sessions, srv.CountSession())
			if runtime.GOOS == "linux" {
				require.Eventually(t, func() bool { return runtime.NumGoroutine() < sessions }, 20*time.Second, 10*time.Millisecond, "sessions keep their goroutines")
			}
		})
	}
}

// What the mixers of v5 and v7 ignored works: the protocol of ListenAndServe, ages, pushes of
// the server.
func TestLikeAPeer(t *testing.T) {
	srv, cli, addr := server(t, 1, tp.PeerConfig{DefaultContextAge: 20 * time.Millisecond}, false)
	note := make(chan string, 1)
	tp.HandlePush(cli, "/note", func(_ tp.PushCtx, arg *string) error { note <- *arg; return nil })
	tp.HandleCall(srv, "/slow", func(c tp.CallCtx, arg *string) (string, error) {
		if r := c.Session().Push("/note", *arg); r != nil {
			return "", r.Err()
		}
		<-c.Context().Done()
		return "", context.Cause(c.Context())
	})
	s := tptest.Dial(t, cli, addr)
	_, err := tp.Invoke[string](t.Context(), s, "/slow", "hello")
	require.Equal(t, tp.CodeHandleTimeout, tp.Code(err), "%v", err)
	require.Equal(t, "hello", <-note)
	_, cli, addr = server(t, 1, tp.PeerConfig{DefaultSessionAge: 300 * time.Millisecond}, false)
	<-tptest.Dial(t, cli, addr).CloseNotify()

	done := make(chan error, 1)
	other, _, _ := server(t, 1, tp.PeerConfig{}, false)
	go func() { done <- other.ListenAndServe(rawproto.NewRawProtoFunc()) }()
	require.Eventually(t, func() bool { return len(other.Addrs()) == 2 }, 20*time.Second, time.Millisecond)
	require.NoError(t, other.Close())
	if err := <-done; !errors.Is(err, tp.ErrListenClosed) {
		t.Errorf("ListenAndServe = %v; want %v", err, tp.ErrListenClosed)
	}
}
