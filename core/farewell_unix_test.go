//go:build unix

package tp

import (
	"bufio"
	"bytes"
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
)

const (
	endsProcess = "TP_TEST_ENDS_PROCESS" // the file in which the child notes what it has run
	endsPort    = "TP_TEST_ENDS_PORT"
	endsRounds  = "TP_TEST_ENDS_ROUNDS" // how often the server ends; by default twice
)

// TestEndsProcess is a child process of TestNoCallIsLost; without its parent it does nothing.
func TestEndsProcess(t *testing.T) {
	if os.Getenv(endsProcess) == "" {
		return
	}
	exit = syscall.Exit // package testing does not like os.Exit
	SetLoggerLevel("ERROR")
	ran, err := os.OpenFile(os.Getenv(endsProcess), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	SetShutdown(time.Minute, nil, func() error { fmt.Println("ends", os.Getpid()); return nil })
	cfg := rebootConfig()
	port, _ := strconv.Atoi(os.Getenv(endsPort))
	cfg.ListenPort = uint16(port)
	peer, err := Open(cfg, sayer{})
	if err != nil {
		t.Fatal(err)
	}
	note := func(arg string) { fmt.Fprintf(ran, "%s\n", arg) } // one write: it is atomic
	HandleCall(peer, "/quick", func(_ CallCtx, arg *string) (string, error) { note(*arg); return *arg, nil })
	HandleCall(peer, "/slow", func(_ CallCtx, arg *string) (string, error) {
		note(*arg)
		time.Sleep(time.Duration(len(*arg)) * time.Millisecond) // a handler under way when the server ends
		return *arg, nil
	})
	c, stop := notifySignals()
	go graceful.signals(c, stop)
	t.Errorf("ListenAndServe returned %v before the process ended", peer.ListenAndServe())
}

// server is the process of TestEndsProcess, and those that it starts.
type server struct {
	t        *testing.T
	env      []string
	cmd      *exec.Cmd
	out      *bufio.Scanner
	pid      int
	addr     string
	watchdog *time.Timer
}

func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(os.Args[0], "-test.run=^TestEndsProcess$")
	s.cmd.Env, s.cmd.Stderr = append(os.Environ(), s.env...), os.Stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	group := -s.cmd.Process.Pid
	s.t.Cleanup(func() { _ = syscall.Kill(group, syscall.SIGKILL) })
	s.watchdog = time.AfterFunc(2*time.Minute, func() { _ = syscall.Kill(group, syscall.SIGKILL) })
	s.out = bufio.NewScanner(stdout)
	s.serves(s.next())
}

func (s *server) next() []string {
	s.t.Helper()
	if !s.out.Scan() {
		s.t.Fatal("the server has ended without a word")
	}
	return strings.Fields(s.out.Text() + " - -")
}

func (s *server) serves(line []string) {
	s.t.Helper()
	if line[0] != "serves" {
		s.t.Fatalf("the server says %q; want serves", line)
	}
	s.pid, _ = strconv.Atoi(line[1])
	s.addr = line[2]
}

func (s *server) signal(sig syscall.Signal) {
	if err := syscall.Kill(s.pid, sig); err != nil {
		s.t.Fatal(err)
	}
}

// terminate ends the server.
func (s *server) terminate() {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	if line := s.next(); line[0] != "ends" {
		s.t.Fatalf("the server says %q; want ends", line)
	}
	s.watchdog.Stop()
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("the server: %v; want exit code 0", err)
	}
}

// reboot lets the server start its successor.
func (s *server) reboot() {
	s.t.Helper()
	s.signal(syscall.SIGUSR2)
	for range 2 { // in any order
		if line := s.next(); line[0] != "ends" {
			s.serves(line)
		}
	}
}

// A server that is terminated and started again, or reboots, at load costs no call: each
// one runs once, and its caller gets the reply.
func TestNoCallIsLost(t *testing.T) {
	rounds := 2
	if n, err := strconv.Atoi(os.Getenv(endsRounds)); err == nil {
		rounds = n
	}
	SetLoggerLevel("ERROR")
	t.Cleanup(func() { SetLoggerLevel("DEBUG") })
	for _, test := range []struct {
		name  string
		again func(*server)
	}{
		{"terminated", func(s *server) { s.terminate(); s.start() }},
		{"rebooted", (*server).reboot},
	} {
		t.Run(test.name, func(t *testing.T) {
			notes := filepath.Join(t.TempDir(), "ran")
			srv := &server{t: t, env: []string{endsProcess + "=" + notes}}
			srv.start()
			_, port, _ := strings.Cut(srv.addr, ":")
			srv.env = append(srv.env, endsPort+"="+port)
			client, err := Open(rebootConfig())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()

			var made, failed atomic.Int64
			var stop atomic.Bool
			var load sync.WaitGroup
			for range 4 {
				sess, r := client.Dial(srv.addr)
				if r != nil {
					t.Fatal(r)
				}
				for i := range 8 {
					method := "/quick"
					if i%2 == 0 {
						method = "/slow"
					}
					load.Go(func() {
						for !stop.Load() {
							id := strconv.FormatInt(made.Add(1), 10)
							var got string
							if r := sess.Call(method, id, &got).Rerror(); r != nil || got != id {
								failed.Add(1)
								t.Errorf("call %s of %s: %q, %s", id, method, got, r)
							}
						}
					})
				}
			}
			for range rounds {
				for seen, more := made.Load(), int64(200); made.Load() < seen+more; {
					time.Sleep(time.Millisecond) // at load
				}
				test.again(srv)
			}
			stop.Store(true)
			load.Wait()
			srv.signal(syscall.SIGTERM)
			if line := srv.next(); line[0] != "ends" {
				t.Errorf("the server says %q; want ends", line)
			}
			text, err := os.ReadFile(notes)
			if err != nil {
				t.Fatal(err)
			}
			ran := make(map[string]int)
			for _, id := range bytes.Fields(text) {
				ran[string(id)]++
			}
			for n := range made.Load() {
				if id := strconv.FormatInt(n+1, 10); ran[id] != 1 {
					t.Errorf("call %s has run %d times", id, ran[id])
				}
			}
			t.Logf("%d calls, %d failed", made.Load(), failed.Load())
		})
	}
}
