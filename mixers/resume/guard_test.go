package resume

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/resume/resumetest"
)

// lines is a log.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fault panics or ends its goroutine, as often as left says, and counts that down.
type fault struct {
	exits bool
	left  atomic.Int64
}

func (f *fault) meet() {
	if f.left.Add(-1) < 0 {
		return
	}
	if f.exits {
		runtime.Goexit()
	}
	panic("boom")
}

// What a network, or a function of the TLS configuration, does wrong on a goroutine of this
// package fails that one connection.
func TestFaultsOfOthers(t *testing.T) {
	for _, where := range []string{"the client's TLS", "the client's network", "the server's TLS"} {
		for _, how := range []string{"panics", "ends its goroutine"} {
			t.Run(where+" "+how, func(t *testing.T) {
				tptest.LeakCheck(t)
				client, server, dials := &fault{exits: how != "panics"}, &fault{exits: how != "panics"}, &fault{exits: how != "panics"}
				log := new(lines)
				logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelError}))
				o := Options{Stats: new(Stats)}
				srv := newPeer(t, o, tp.PeerConfig{Logger: logger})
				srv.SetTLSConfig(&tls.Config{
					Certificates:       tp.GenerateTLSConfigForServer().Certificates,
					GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { server.meet(); return nil, nil },
				})
				tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
				tcp, err := tp.LookupNetwork("tcp")
				require.NoError(t, err)
				dial := tcp.Dial
				tcp.Dial = func(ctx context.Context, d tp.DialConfig) (net.Conn, error) { dials.meet(); return dial(ctx, d) }
				streams := new(watched)
				n := streams.dialled(Over(tcp, o))
				cli := tptest.NewPeer(t, tp.PeerConfig{Net: &n, Logger: logger})
				cli.SetTLSConfig(&tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { client.meet(); return nil }})
				cut := resumetest.NewCutter(t, tptest.Listen(t, srv), 0)
				sess := tptest.Dial(t, cli, cut.Addr())

				f := map[string]*fault{"the client's TLS": client, "the client's network": dials, "the server's TLS": server}[where]
				f.left.Store(3)
				cut.CutAll()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				got, err := tp.Invoke[string](ctx, sess, "/echo", "hello")
				require.NoError(t, err)
				require.Equal(t, "hello", got)
				require.Less(t, f.left.Load(), int64(0), "the fault was not met")
				require.Equal(t, int64(2), o.Stats.Streams.Load(), "of both sides")
				require.Eventually(t, func() bool { return f.exits || strings.Contains(log.String(), "panicked: boom") }, patience, time.Millisecond)

				f.left.Store(1) // now of a new stream
				_, rerr := cli.Dial(cut.Addr())
				require.NotNil(t, rerr)
				tptest.Dial(t, cli, cut.Addr())
				streams.closeWith(t, cli)
			})
		}
	}
}

// faulty is a listener whose Accept fails.
type faulty struct {
	net.Listener
	accept func() (net.Conn, error)
}

func (l *faulty) Accept() (net.Conn, error) { return l.accept() }

// What the inner listener does wrong is the error of Accept.
func TestFaultyInnerListener(t *testing.T) {
	for _, test := range []struct {
		name, err string
		accept    func() (net.Conn, error)
	}{
		{"panics", "Accept of the network tcp panicked: boom", func() (net.Conn, error) { panic("boom") }},
		{"ends its goroutine", "runtime.Goexit", func() (net.Conn, error) { runtime.Goexit(); return nil, nil }},
		{"returns nothing", errNoConn.Error(), func() (net.Conn, error) { return nil, nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			tptest.LeakCheck(t)
			tcp, err := tp.LookupNetwork("tcp")
			require.NoError(t, err)
			listen := tcp.Listen
			tcp.Listen = func(ctx context.Context, l tp.ListenConfig) (net.Listener, error) {
				lis, err := listen(ctx, l)
				return &faulty{lis, test.accept}, err
			}
			lis, err := Over(tcp, Options{}).Listen(t.Context(), tp.ListenConfig{LocalIP: "127.0.0.1"})
			require.NoError(t, err)
			_, err = lis.Accept()
			require.ErrorContains(t, err, test.err)
			require.NoError(t, lis.Close())
		})
	}
}
