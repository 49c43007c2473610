//go:build unix

package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/resume"
	"github.com/teleport-go/teleport/mixers/resume/resumetest"
	"github.com/teleport-go/teleport/mixers/websocket"
)

// serverEnv is the variable that makes the test binary a server: "ws", "wss", or "server" for
// a websocket.Server.
const serverEnv = "RESUME_TEST_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(serverEnv) == "" {
		os.Exit(m.Run())
	}
	tp.SetLoggerLevel("ERROR")
	resumetest.RunServer(func() (net.Addr, error) { return serve(os.Getenv(serverEnv)) })
}

// session is the owner of a client that says "pointer": no other process has an equal one.
type session struct{ user string }

// serve listens.
func serve(kind string) (net.Addr, error) {
	o := websocket.Options{
		Path: "/ws", Resume: resume.NewStreams(resume.Options{}),
		Handshake: func(r *http.Request) (map[any]any, *tp.Rerror) {
			user := r.URL.Query().Get("user")
			if user == "pointer" {
				return map[any]any{"user": &session{user}}, nil
			}
			return map[any]any{"user": user}, nil
		},
	}
	cfg := tp.PeerConfig{
		LocalIP: "127.0.0.1", CloseTimeout: time.Second,
		CarrySwap:   func(_, value any) ([]byte, bool) { return fmt.Append(nil, value), true },
		RestoreSwap: func(swap *tp.Swap, saved []byte) error { swap.Store("user", string(saved)); return nil },
	}
	var srv tp.Peer
	var listen func() error
	if kind == "server" {
		s := websocket.NewServer("/ws", cfg)
		s.SetOptions(o)
		srv, listen = s.Peer, func() error { return s.Listen() }
	} else {
		cfg.Net = websocket.Network(o)
		srv = tp.NewPeer(cfg)
		listen = func() error { return srv.Listen() }
	}
	if kind == "wss" {
		if err := srv.SetTLSConfig(tp.GenerateTLSConfigForServer()); err != nil {
			return nil, err
		}
	}
	pid := strconv.Itoa(os.Getpid())
	tp.HandleCall(srv, "/pid", func(tp.CallCtx, *string) (string, error) { return pid, nil })
	tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
	tp.HandleCall(srv, "/slow", func(_ tp.CallCtx, s *string) (string, error) { time.Sleep(time.Millisecond); return *s, nil })
	if err := listen(); err != nil {
		return nil, err
	}
	return srv.Addrs()[0], nil
}

// reboot replaces the process, and waits for the end of the old one. A function is called
// after each step.
func reboot(t *testing.T, s *resumetest.Server, step func()) {
	t.Helper()
	old := s.Pid
	s.Reboot(old)
	step()
	s.Serves()
	step()
	require.Equal(t, old, s.Next("ends"))
}

func askPid(t *testing.T, sess tp.Session) string {
	t.Helper()
	pid, err := tp.Invoke[string](t.Context(), sess, "/pid", "")
	require.NoError(t, err)
	return pid
}

// Sessions over WebSocket, whose connections are cut all the time, and all at once at the
// moment of the Reboot, notice nothing of one Reboot after the other.
func TestReboot(t *testing.T) {
	for _, kind := range []string{"ws", "wss", "server"} {
		t.Run(kind, func(t *testing.T) {
			srv := resumetest.StartServer(t, serverEnv+"="+kind)
			cut := resumetest.NewCutter(t, srv.Addr, 0)
			stats := new(resume.Stats)
			n := websocket.Network(websocket.Options{Path: "/ws", Resume: resume.NewStreams(resume.Options{Stats: stats})})
			cli := tptest.NewPeer(t, tp.PeerConfig{Net: n, Protocols: []string{"raw"}, DefaultBodyCodec: "json", CloseTimeout: time.Second}) // does not redial, so that a session that ends is seen
			if kind == "wss" {
				require.NoError(t, cli.SetTLSConfig(tp.GenerateTLSConfigForClient()))
			}
			var all []tp.Session
			for range 8 {
				all = append(all, tptest.Dial(t, cli, cut.Addr()))
			}
			cut.Most.Store(200_000)
			cut.CutAll()
			var stop atomic.Bool
			var load sync.WaitGroup
			defer load.Wait()
			defer stop.Store(true)
			var calls atomic.Int64
			for i, sess := range all[:6] { // the others are idle
				method := []string{"/echo", "/slow"}[i%2]
				load.Go(func() {
					for n := 0; !stop.Load(); n++ {
						text := fmt.Sprintf("%d/%d/%s", i, n, strings.Repeat("x", n%5*500))
						got, err := tp.Invoke[string](t.Context(), sess, method, text)
						if err != nil || got != text {
							t.Errorf("%s: %.80s, %v; want %.80s", method, got, err, text)
							return
						}
						calls.Add(1)
					}
				})
			}
			for i := range 4 {
				before := calls.Load()
				require.Eventually(t, func() bool { return calls.Load() > before+20 || t.Failed() }, time.Minute, time.Millisecond)
				if i%2 == 0 {
					reboot(t, srv, cut.CutAll)
				} else {
					reboot(t, srv, func() {}) // the old process ends the connections of what moves
				}
			}
			stop.Store(true)
			load.Wait()
			for _, sess := range all {
				require.Equal(t, srv.Pid, askPid(t, sess))
				require.Nil(t, sess.CloseReason())
			}
			require.EqualValues(t, len(all), stats.Streams.Load(), "streams that the client has begun")
			require.Zero(t, stats.Refused.Load())
			t.Logf("%d calls, %d cuts, resumed %d times", calls.Load(), cut.Cuts.Load(), stats.Resumed.Load())
		})
	}
}

// The new process resumes a session for its owner alone; one whose owner cannot be
// compared in another process stays, and ends.
func TestRebootKeepsOwner(t *testing.T) {
	srv := resumetest.StartServer(t, serverEnv+"="+"ws")
	begin := func(user string) (token string, a *attacker) {
		a = dial(t, srv.Addr, "user="+user, "")
		a.shake(t)
		token, _ = a.ask(t, preamble("", 0, 0))
		require.NotEmpty(t, token)
		return token, a
	}
	ann, first := begin("ann")
	pointer, second := begin("pointer")
	reboot(t, srv, func() {})
	first.gone(t)
	second.gone(t)
	for _, test := range []struct {
		user, token string
		verdict     byte
	}{{"bob", ann, 3}, {"ann", ann, 0}, {"pointer", pointer, 1}} {
		a := dial(t, srv.Addr, "user="+test.user, "")
		a.shake(t)
		token, verdict := a.ask(t, preamble(test.token, 0, 0))
		require.Equal(t, test.verdict, verdict, test.user)
		require.Equal(t, verdict == 0, token == test.token)
	}
}
