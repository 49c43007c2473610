//go:build unix

package resume

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/resume/resumetest"
)

// This file tests a Reboot with real processes: the test binary is the server.

const (
	envServer = "RESUME_TEST_SERVER" // "tcp" or "tls": the test binary is a server
	envFault  = "RESUME_TEST_FAULT"  // name of a file that says when the new server is killed
	envStays  = "RESUME_TEST_STAYS"  // if set, no session moves
)

func TestMain(m *testing.M) {
	if os.Getenv(envServer) == "" {
		os.Exit(m.Run())
	}
	tp.SetLoggerLevel("WARNING")
	resumetest.RunServer(serve)
}

// serve listens.
func serve() (net.Addr, error) {
	t := new(testing.T)
	fault := new(killer)
	if b, err := os.ReadFile(os.Getenv(envFault)); err == nil {
		fault.at, _ = strconv.Atoi(string(b))
	}
	plugins := []tp.Plugin{fault}
	if os.Getenv(envStays) != "" {
		plugins = append(plugins, stayer{})
	}
	srv := newPeer(t, Options{}, tp.PeerConfig{
		CloseTimeout: time.Second, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}, plugins...)
	if os.Getenv(envServer) == "tls" {
		srv.SetTLSConfig(tp.GenerateTLSConfigForServer())
	}
	pid := strconv.Itoa(os.Getpid())
	tp.HandleCall(srv, "/pid", func(tp.CallCtx, *string) (string, error) { return pid, nil })
	tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
	tp.HandleCall(srv, "/slow", func(_ tp.CallCtx, s *string) (string, error) { time.Sleep(time.Millisecond); return *s, nil })
	tp.HandleCall(srv, "/back", func(ctx tp.CallCtx, s *string) (string, error) {
		return tp.Invoke[string](ctx.Context(), ctx.Session().(tp.Session), "/twice", *s)
	})
	tp.HandleStream(srv, "/sum", func(ctx tp.StreamCtx, st *tp.Stream[[]byte, []byte]) error {
		n, err := io.Copy(io.Discard, tp.StreamReader(st))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(tp.StreamWriter(st), "%s %d", pid, n)
		return err
	})
	if err := srv.Listen(); err != nil {
		return nil, err
	}
	return srv.Addrs()[0], nil
}

// killer is the plugin of a process that is killed when so many sessions were handed to it;
// 0: it is not.
type killer struct {
	at    int
	count atomic.Int64
}

func (*killer) Name() string                        { return "killer" }
func (*killer) PostAccept(tp.PreSession) *tp.Rerror { return nil }
func (*killer) Save(tp.BaseSession) ([]byte, error) { return nil, nil }

func (k *killer) Restore(tp.PreSession, []byte) *tp.Rerror {
	if k.count.Add(1) == int64(k.at) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return nil
}

// stayer is a plugin that cannot take part in a Reboot, so that sessions stay with their process.
type stayer struct{}

func (stayer) Name() string                        { return "stayer" }
func (stayer) PostAccept(tp.PreSession) *tp.Rerror { return nil }

func startServer(t *testing.T, kind string, env ...string) *resumetest.Server {
	t.Helper()
	return resumetest.StartServer(t, append(env, envServer+"="+kind)...)
}

// client returns a peer that does not redial, so that a session that ends is seen, and its
// counters.
func client(t *testing.T, kind string) (tp.Peer, *Stats) {
	stats := new(Stats)
	c := newPeer(t, Options{Stats: stats}, tp.PeerConfig{CloseTimeout: time.Second})
	if kind == "tls" {
		c.SetTLSConfig(&tls.Config{InsecureSkipVerify: true})
	}
	tp.HandleCall(c, "/twice", func(_ tp.CallCtx, s *string) (string, error) { return *s + *s, nil })
	return c, stats
}

func call(t *testing.T, sess tp.Session, method, arg, want string) {
	t.Helper()
	got, err := tp.Invoke[string](t.Context(), sess, method, arg)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// Sessions under load, whose connections are cut all the time, and all at once at the moment
// of the Reboot, notice nothing of one Reboot after the other.
func TestRebootWhileCut(t *testing.T) {
	for _, test := range []struct {
		kind    string
		most    int64 // bytes until a connection is cut
		methods []string
	}{
		{"tcp", 200_000, []string{"/echo", "/slow", "/back"}},
		{"tls", 200_000, []string{"/echo", "/slow"}}, // over TLS a reply for the old process cannot reach it by a new connection
	} {
		t.Run(test.kind, func(t *testing.T) {
			srv := startServer(t, test.kind)
			cut := resumetest.NewCutter(t, srv.Addr, 0)
			cli, stats := client(t, test.kind)
			var all []tp.Session
			for range 12 {
				all = append(all, tptest.Dial(t, cli, cut.Addr()))
			}
			cut.Most.Store(test.most)
			cut.CutAll()
			var stop atomic.Bool
			var load sync.WaitGroup
			defer load.Wait()
			defer stop.Store(true)
			var calls atomic.Int64
			for i, sess := range all[:9] { // the others are idle
				method := test.methods[i%len(test.methods)]
				load.Go(func() {
					for n := 0; !stop.Load(); n++ {
						text := fmt.Sprintf("%d/%d/%s", i, n, strings.Repeat("x", n%5*500))
						want := text
						if method == "/back" {
							want += text
						}
						got, err := tp.Invoke[string](t.Context(), sess, method, text)
						if err != nil || got != want {
							t.Errorf("%s: %.80s, %v; want %.80s", method, got, err, want)
							return
						}
						calls.Add(1)
					}
				})
			}
			for range 5 {
				before := calls.Load()
				require.Eventually(t, func() bool { return calls.Load() > before+20 || t.Failed() }, patience, time.Millisecond)
				old := srv.Pid
				srv.Reboot(srv.Pid)
				cut.CutAll()
				srv.Serves()
				cut.CutAll()
				require.Equal(t, old, srv.Next("ends"))
			}
			stop.Store(true)
			load.Wait()
			for _, sess := range all {
				call(t, sess, "/pid", "", srv.Pid)
				require.Nil(t, sess.CloseReason())
			}
			require.Equal(t, int64(len(all)), stats.Streams.Load(), "streams that the client has begun")
			t.Logf("%d cuts, resumed %d times", cut.Cuts.Load(), stats.Resumed.Load())
		})
	}
}

// Streams move with their connections: the clients do not connect again.
func TestRebootKeepsConnections(t *testing.T) {
	srv := startServer(t, "tcp")
	cli, stats := client(t, "tcp")
	var all []tp.Session
	for range 50 {
		all = append(all, tptest.Dial(t, cli, srv.Addr))
	}
	for _, sess := range all[:40] {
		call(t, sess, "/echo", "x", "x")
	}
	for range 3 {
		old := srv.Pid
		srv.Reboot(srv.Pid)
		srv.Serves()
		require.Equal(t, old, srv.Next("ends"))
		for _, sess := range all {
			call(t, sess, "/pid", "", srv.Pid)
			call(t, sess, "/back", "x", "xx")
		}
	}
	require.Zero(t, stats.Resumed.Load())
	require.Equal(t, int64(len(all)), stats.Streams.Load())
}

// A stream of the engine stays with the handler that reads it, in the old process, also when
// its connection is cut after the Reboot; then the session moves.
func TestRebootWithAnOpenStream(t *testing.T) {
	srv := startServer(t, "tcp")
	cut := resumetest.NewCutter(t, srv.Addr, 0)
	cli, stats := client(t, "tcp")
	sess := tptest.Dial(t, cli, cut.Addr())
	st, err := tp.OpenStream[[]byte, []byte](t.Context(), sess, "/sum")
	require.NoError(t, err)
	w := tp.StreamWriter(st)
	write := func() {
		_, err := w.Write(make([]byte, 100_000))
		require.NoError(t, err)
	}
	write()
	old := srv.Pid
	srv.Reboot(srv.Pid)
	srv.Serves()
	for range 5 {
		resumed := stats.Resumed.Load()
		cut.CutAll()
		require.Eventually(t, func() bool { return stats.Resumed.Load() > resumed }, patience, time.Millisecond)
		write()
	}
	require.NoError(t, w.Close())
	got, err := io.ReadAll(tp.StreamReader(st))
	require.NoError(t, err)
	require.Equal(t, old+" 600000", string(got))
	require.NoError(t, st.Wait())
	require.Equal(t, old, srv.Next("ends"))
	call(t, sess, "/pid", "", srv.Pid)
	require.Equal(t, int64(1), stats.Streams.Load())
}

// The new process is killed while streams move to it: the old one serves on, and the streams
// that it has go on there.
func TestRebootFails(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		for _, at := range []int{1, 3} {
			t.Run(fmt.Sprint(kind, " ", at), func(t *testing.T) {
				fault := filepath.Join(t.TempDir(), "fault")
				srv := startServer(t, kind, envFault+"="+fault)
				cut := resumetest.NewCutter(t, srv.Addr, 0)
				cli, stats := client(t, kind)
				var all []tp.Session
				for range 5 {
					all = append(all, tptest.Dial(t, cli, cut.Addr()))
				}
				require.NoError(t, os.WriteFile(fault, []byte(strconv.Itoa(at)), 0o600))
				pid := srv.Pid
				srv.Reboot(srv.Pid)
				var killed int
				_, why, _ := strings.Cut(srv.Next("stays"), "reboot: process ")
				_, err := fmt.Sscanf(why, "%d has ended while sessions moved to it", &killed)
				require.NoError(t, err, why)
				cut.CutAll()
				lost := 0
				for _, sess := range all {
					got, err := tp.Invoke[string](t.Context(), sess, "/pid", "")
					if err == nil {
						require.Equal(t, pid, got)
						continue
					}
					require.True(t, errors.Is(sess.CloseReason(), ErrFresh), "%v", sess.CloseReason())
					lost++
				}
				require.Equal(t, at-1, lost, "streams that the new process had")
				require.Equal(t, int64(len(all)), stats.Streams.Load())
				require.NoError(t, os.Remove(fault))
				srv.Reboot(pid)
				srv.Serves()
				if srv.Pid == strconv.Itoa(killed) { // it may have said so before it was killed
					srv.Serves()
				}
				require.Equal(t, pid, srv.Next("ends"))
				for _, sess := range all {
					if sess.CloseReason() == nil {
						call(t, sess, "/pid", "", srv.Pid)
					}
				}
			})
		}
	}
}
