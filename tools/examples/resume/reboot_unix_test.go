//go:build unix

package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	ossignal "os/signal"
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
	tp.SetShutdown(20*time.Second, nil, func() error { fmt.Println("ends", os.Getpid()); return nil })
	reboot := make(chan os.Signal, 1)
	ossignal.Notify(reboot, syscall.SIGUSR2) // before anybody knows of the process
	if err := serve(os.Getenv(serverEnv)); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for range reboot {
		tp.Reboot() // does not return if it succeeds
	}
}

// session is the owner of a client that says "pointer": no other process has an equal one.
type session struct{ user string }

// serve listens.
func serve(kind string) error {
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
			return err
		}
	}
	pid := strconv.Itoa(os.Getpid())
	tp.HandleCall(srv, "/pid", func(tp.CallCtx, *string) (string, error) { return pid, nil })
	tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
	tp.HandleCall(srv, "/slow", func(_ tp.CallCtx, s *string) (string, error) { time.Sleep(time.Millisecond); return *s, nil })
	if err := listen(); err != nil {
		return err
	}
	fmt.Println("serves", pid, srv.Addrs()[0])
	return nil
}

// server is one process after the other.
type server struct {
	t     *testing.T
	lines chan string
	pid   string
	addr  string
}

func startServer(t *testing.T, kind string) *server {
	t.Helper()
	s := &server{t: t, lines: make(chan string, 100)}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverEnv+"="+kind)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the new processes are in the group, too
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	go func() { // ends with the last process
		for in := bufio.NewScanner(out); in.Scan(); {
			s.lines <- in.Text()
		}
	}()
	s.pid, s.addr, _ = strings.Cut(s.next("serves"), " ")
	return s
}

// next returns what follows the word of the next line, which begins with it.
func (s *server) next(word string) string {
	s.t.Helper()
	line := tptest.Receive(s.t, s.lines, word)
	rest, ok := strings.CutPrefix(line, word+" ")
	require.True(s.t, ok, "%q; want %q", line, word)
	return rest
}

// reboot replaces the process, and waits for the end of the old one. A function is called
// after each step.
func (s *server) reboot(step func()) {
	s.t.Helper()
	pid, err := strconv.Atoi(s.pid)
	require.NoError(s.t, err)
	require.NoError(s.t, syscall.Kill(pid, syscall.SIGUSR2))
	step()
	s.pid, _, _ = strings.Cut(s.next("serves"), " ")
	step()
	require.Equal(s.t, strconv.Itoa(pid), s.next("ends"))
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
			srv := startServer(t, kind)
			cut := resumetest.NewCutter(t, srv.addr, 0)
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
					srv.reboot(cut.CutAll)
				} else {
					srv.reboot(func() {}) // the old process ends the connections of what moves
				}
			}
			stop.Store(true)
			load.Wait()
			for _, sess := range all {
				require.Equal(t, srv.pid, askPid(t, sess))
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
	srv := startServer(t, "ws")
	begin := func(user string) (token string, a *attacker) {
		a = dial(t, srv.addr, "user="+user, "")
		a.shake(t)
		token, _ = a.ask(t, preamble("", 0, 0))
		require.NotEmpty(t, token)
		return token, a
	}
	ann, first := begin("ann")
	pointer, second := begin("pointer")
	srv.reboot(func() {})
	first.gone(t)
	second.gone(t)
	for _, test := range []struct {
		user, token string
		verdict     byte
	}{{"bob", ann, 3}, {"ann", ann, 0}, {"pointer", pointer, 1}} {
		a := dial(t, srv.addr, "user="+test.user, "")
		a.shake(t)
		token, verdict := a.ask(t, preamble(test.token, 0, 0))
		require.Equal(t, test.verdict, verdict, test.user)
		require.Equal(t, verdict == 0, token == test.token)
	}
}
