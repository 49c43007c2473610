//go:build unix

package resume

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
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

// rebooted is a server over resume that is replaced by others, and a client.
type rebooted struct {
	*tptest.Rebooted
	server, client *Stats
}

func newRebooted(t *testing.T, cfg tp.PeerConfig) *rebooted {
	r := &rebooted{server: new(Stats), client: new(Stats)}
	open := func(stats *Stats) func(cfg tp.PeerConfig) (tp.Peer, error) {
		n := over(t, Options{Stats: stats})
		return func(cfg tp.PeerConfig) (tp.Peer, error) {
			cfg.Net = &n
			p, err := tp.Open(cfg)
			if err == nil {
				tp.HandleCall(p, "/echo", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
			}
			return p, err
		}
	}
	r.Rebooted = tptest.NewRebooted(t, cfg, open(r.server), open(r.client))
	return r
}

func (r *rebooted) echo(t *testing.T, s tp.Session, text string) {
	t.Helper()
	got, err := tp.Invoke[string](t.Context(), s, "/echo", text)
	require.NoError(t, err)
	require.Equal(t, text, got)
}

// A stream crosses with its connection, there and back under load: no call fails, none is
// answered twice, and the client does not connect again.
func TestMove(t *testing.T) {
	tptest.LeakCheck(t)
	r := newRebooted(t, tp.PeerConfig{})
	var stop atomic.Bool
	var load sync.WaitGroup
	defer load.Wait()
	defer stop.Store(true)
	for _, text := range []string{"a", strings.Repeat("b", 300_000)} {
		load.Go(func() {
			for !stop.Load() {
				got, err := tp.Invoke[string](t.Context(), r.Session, "/echo", text)
				if err != nil || got != text {
					t.Errorf("echo of %d bytes = %d bytes, %v", len(text), len(got), err)
					return
				}
			}
		})
	}
	for range 10 {
		r.Reboot()
		r.echo(t, r.Session, "there")
		r.echo(t, r.Accepted, "back")
	}
	require.Zero(t, r.client.Resumed.Load(), "connections that the client has made again")
	require.Zero(t, r.server.Lost.Load())
	require.Nil(t, r.Session.CloseReason())
}

// Streams cross while their connections are cut at random bytes, and without a connection;
// over TLS all do, and the client connects again.
func TestMoveWhileCut(t *testing.T) {
	for _, test := range []struct {
		name           string
		server, client *tls.Config
	}{
		{"tcp", nil, nil},
		{"tls", tp.GenerateTLSConfigForServer(), tp.GenerateTLSConfigForClient()},
	} {
		t.Run(test.name, func(t *testing.T) {
			stats := new(Stats)
			open := func(stats *Stats, cfg *tls.Config) tp.Peer {
				p := newPeer(t, Options{Stats: stats}, tp.PeerConfig{CloseTimeout: patience})
				p.SetTLSConfig(cfg)
				tp.HandleCall(p, "/echo", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
				return p
			}
			srv := open(new(Stats), test.server)
			cut := resumetest.NewCutter(t, tptest.Listen(t, srv), 0)
			cli := open(stats, test.client)
			sess := tptest.Dial(t, cli, cut.Addr())
			cut.Most.Store(100_000)
			cut.CutAll()

			var stop atomic.Bool
			var load sync.WaitGroup
			defer load.Wait()
			defer stop.Store(true)
			var calls atomic.Int64
			for i := range 8 {
				load.Go(func() {
					text := strings.Repeat(fmt.Sprint(i), 1<<(2*i))
					for !stop.Load() {
						got, err := tp.Invoke[string](t.Context(), sess, "/echo", text)
						if err != nil || got != text {
							t.Errorf("echo of %d bytes = %d bytes, %v", len(text), len(got), err)
							return
						}
						calls.Add(1)
					}
				})
			}
			for i := range 20 {
				require.Eventually(t, func() bool { return calls.Swap(0) > 0 || t.Failed() }, patience, time.Millisecond)
				next := open(new(Stats), test.server)
				addr := tptest.Listen(t, next)
				cut.Refuse.Store(true) // the old process does not accept any more, and the new one has no stream yet
				if i%2 == 0 {
					cut.CutAll()
				}
				moved, stayed := tptest.Move(t, srv, next)
				require.Equal(t, 1, moved, "%v", stayed)
				cut.Server.Store(&addr)
				cut.Refuse.Store(false)
				require.NoError(t, srv.Close())
				srv = next
				back, err := tp.Invoke[string](t.Context(), sessionOf(t, srv), "/echo", "back")
				require.NoError(t, err)
				require.Equal(t, "back", back)
			}
			require.Nil(t, sess.CloseReason())
			require.Equal(t, test.server != nil, sessionOf(t, srv).ConnectionState() != nil)
			t.Logf("%d cuts, resumed %d times", cut.Cuts.Load(), stats.Resumed.Load())
		})
	}
}

// A stream over a unix socket crosses with it, there and back.
func TestMoveUnix(t *testing.T) {
	tptest.LeakCheck(t)
	open := func(name string) tp.Peer {
		p := tptest.NewPeer(t, tp.PeerConfig{Network: "resume+unix", LocalIP: filepath.Join(t.TempDir(), name)})
		tp.HandleCall(p, "/echo", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
		require.NoError(t, p.Listen())
		return p
	}
	from, to, cli := open("a"), open("b"), tptest.NewPeer(t, tp.PeerConfig{Network: "resume+unix"})
	sess := tptest.Dial(t, cli, from.Addrs()[0].String())
	for range 4 {
		got, err := tp.Invoke[string](t.Context(), sess, "/echo", "x")
		require.NoError(t, err)
		require.Equal(t, "x", got)
		moved, stayed := tptest.Move(t, from, to)
		require.Equal(t, 1, moved, "%v", stayed)
		from, to = to, from
	}
}
