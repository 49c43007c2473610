//go:build unix

package tp

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/testwire"
)

// The environment of TestMoveProcess.
const (
	moveProcess = "TP_TEST_MOVE_PROCESS" // network and address to listen on
	moveFault   = "TP_TEST_MOVE_FAULT"   // name of a file that says when the process dies
	moveHeld    = "TP_TEST_MOVE_HELD"    // name of a file that stands for a port that cannot be handed over
)

func moveConfig(network, addr string) PeerConfig {
	testwire.Register()
	cfg := PeerConfig{Network: network, LocalIP: addr, DefaultBodyCodec: "testtext", Protocol: testwire.New, CloseTimeout: time.Second}
	return cfg
}

// TestMoveProcess is the server of the tests below, and each that replaces it; without its
// parent it does nothing.
func TestMoveProcess(t *testing.T) {
	if os.Getenv(moveProcess) == "" {
		return
	}
	exit = syscall.Exit // package testing does not like os.Exit
	SetLoggerLevel("NOTICE")
	port := &heldPort{file: os.Getenv(moveHeld)}
	SetShutdown(time.Minute, nil, func() error {
		fmt.Println("ends", os.Getpid())
		port.release() // behind the line: the process that waits for the port says at once that it has it
		return nil
	})
	network, addr, _ := strings.Cut(os.Getenv(moveProcess), " ")
	var fault dies
	if b, err := os.ReadFile(os.Getenv(moveFault)); err == nil {
		fault.when = string(b)
	}
	plugins := []Plugin{fault}
	if port.file != "" {
		plugins = append(plugins, port)
	}
	peer, err := Open(moveConfig(network, addr), plugins...)
	if err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(os.Getpid())
	HandleCall(peer, "/pid", func(CallCtx, *string) (string, error) { return pid, nil })
	HandleCall(peer, "/echo", func(_ CallCtx, arg *string) (string, error) { return *arg, nil })
	HandleCall(peer, "/slow", func(_ CallCtx, arg *string) (string, error) { time.Sleep(time.Millisecond); return *arg, nil })
	HandleCall(peer, "/back", func(c CallCtx, arg *string) (string, error) {
		return Invoke[string](context.Background(), c.Session().(Session), "/twice", *arg)
	})
	HandleCall(peer, "/ask", func(c CallCtx, arg *string) (string, error) {
		return Invoke[string](context.Background(), c.Session().(Session), "/ask", *arg)
	})
	HandleCall(peer, "/all", func(CallCtx, *string) (string, error) {
		n := 0
		peer.RangeSession(func(s Session) bool {
			if s.Push("/note", pid) == nil {
				n++
			}
			return true
		})
		return strconv.Itoa(n), nil
	})
	HandleCall(peer, "/id", func(c CallCtx, arg *string) (string, error) {
		s := c.Session().(Session)
		if *arg != "" {
			s.SetID(*arg)
		}
		return s.ID(), nil
	})
	HandleCall(peer, "/swap", func(c CallCtx, arg *string) (string, error) {
		c.Session().Swap().Store("x", *arg)
		return "", nil
	})
	c, stop := notifySignals()
	go graceful.signals(c, stop)
	t.Errorf("ListenAndServe returned %v before the process ended", peer.ListenAndServe())
}

// movedServer is a server that is replaced by one process after the other.
type movedServer struct {
	t     *testing.T
	cmd   *exec.Cmd
	part  []byte // of a line that has not come to its end
	lines chan string
	pid   int
	addr  string
}

func startMoved(t *testing.T, network string, env ...string) *movedServer {
	t.Helper()
	addr := "127.0.0.1"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	m := &movedServer{t: t, lines: make(chan string, 100)}
	m.cmd = exec.Command(os.Args[0], "-test.run=^TestMoveProcess$")
	m.cmd.Env = append(append(os.Environ(), moveProcess+"="+network+" "+addr), env...)
	m.cmd.Stdout, m.cmd.Stderr = m, m // one pipe: lines of both, of all processes, stay in order
	m.cmd.WaitDelay = time.Second
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-m.cmd.Process.Pid, syscall.SIGKILL)
		_ = m.cmd.Wait()
	})
	_, m.pid, m.addr = m.next("serves")
	return m
}

// Write makes what the processes print lines, and of their log two of the lines: that a process
// goes on after a Reboot, and that it waits before it.
func (m *movedServer) Write(b []byte) (int, error) {
	m.part = append(m.part, b...)
	for {
		text, rest, ok := strings.Cut(string(m.part), "\n")
		if !ok {
			return len(b), nil
		}
		m.part = []byte(rest)
		switch {
		case strings.Contains(text, "this process goes on"):
			m.lines <- fmt.Sprintf("stays %d %s", m.cmd.Process.Pid, text)
		case strings.Contains(text, "waiting until the process before"):
			m.lines <- "waits"
		case !strings.HasPrefix(text, "["): // else another line of the log
			m.lines <- text
		}
	}
}

// next returns the next line of one of these kinds.
func (m *movedServer) next(kinds ...string) (kind string, pid int, rest string) {
	m.t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case line := <-m.lines:
			w := strings.SplitN(line+"  ", " ", 3)
			for _, k := range kinds {
				if w[0] == k {
					pid, _ := strconv.Atoi(w[1])
					return k, pid, strings.TrimSpace(w[2])
				}
			}
		case <-late:
			m.t.Fatalf("no line of %q after a minute", kinds)
		}
	}
}

// reboot replaces the process, and waits for the end of the old one.
func (m *movedServer) reboot() {
	m.t.Helper()
	if err := syscall.Kill(m.pid, syscall.SIGUSR2); err != nil {
		m.t.Fatal(err)
	}
	serves := 0
	for range 2 {
		switch kind, pid, _ := m.next("serves", "ends"); kind {
		case "serves":
			serves = pid
		case "ends":
			if pid != m.pid {
				m.t.Errorf("process %d ends; want %d", pid, m.pid)
			}
		}
	}
	m.pid = serves
}

// client returns a peer that must not redial, so that a session that is closed is seen.
func moveClient(t *testing.T, network string) *peer {
	t.Helper()
	cfg := moveConfig(network, "")
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	HandleCall(c, "/twice", func(_ CallCtx, arg *string) (string, error) { return *arg + *arg, nil })
	return c.(*peer)
}

func (m *movedServer) dial(c *peer) *session {
	m.t.Helper()
	s, r := c.Dial(m.addr)
	if r != nil {
		m.t.Fatal(r)
	}
	return s.(*session)
}

func wantCall(t *testing.T, s *session, method, arg, want string) {
	t.Helper()
	var got string
	if r := s.Call(method, arg, &got).Rerror(); r != nil || got != want {
		t.Errorf("%s(%q) = %q, %v; want %q", method, arg, got, r, want)
	}
}

// Sessions move there and back under load: no call fails, none is lost or answered
// twice, no session is closed.
func TestSessionsMove(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			m := startMoved(t, network)
			c := moveClient(t, network)
			var notes atomic.Int64
			HandlePush(c, "/note", func(PushCtx, *string) error { notes.Add(1); return nil })
			var all []*session
			for range 40 {
				all = append(all, m.dial(c))
			}
			wantCall(t, all[3], "/id", "three", "three")
			var stop atomic.Bool
			var load sync.WaitGroup
			var calls atomic.Int64
			for i, s := range all[:20] {
				method, half := "/echo", ""
				switch i % 4 {
				case 1:
					method = "/slow"
				case 2:
					method, half = "/back", "-"
				}
				for j := range 2 {
					load.Go(func() {
						for n := 0; !stop.Load(); n++ {
							arg := fmt.Sprintf("%d/%d/%d", i, j, n)
							want := arg
							if half != "" {
								want += arg
							}
							var got string
							if r := s.Call(method, arg, &got).Rerror(); r != nil || got != want {
								t.Errorf("%s(%q) = %q, %v; want %q", method, arg, got, r, want)
								return
							}
							calls.Add(1)
						}
					})
				}
			}
			for range 10 {
				before := calls.Load()
				m.reboot()
				soon(t, "calls go on", func() bool { return calls.Load() > before || t.Failed() })
			}
			stop.Store(true)
			load.Wait()
			t.Logf("%d calls", calls.Load())
			for _, s := range all {
				wantCall(t, s, "/pid", "", strconv.Itoa(m.pid))
				if s.currentLink().epoch != 1 || s.CloseReason() != nil {
					t.Errorf("session %s has ended: %v", s.ID(), s.CloseReason())
				}
			}
			wantCall(t, all[3], "/id", "", "three")
			wantCall(t, all[0], "/all", "", "40")
			soon(t, "all sessions get the push of the last process", func() bool { return notes.Load() == 40 })
		})
	}
}
