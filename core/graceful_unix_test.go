//go:build unix

package tp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// acceptor is a peer that sends its process id to every client.
type acceptor struct {
	lis net.Listener
	wg  sync.WaitGroup
}

func (a *acceptor) inheritable() []net.Listener { return []net.Listener{a.lis} }
func (a *acceptor) lines() logger               { return std }

func (a *acceptor) shutdown(context.Context) error {
	err := a.lis.Close()
	a.wg.Wait()
	return err
}

func (a *acceptor) serve() {
	for {
		conn, err := a.lis.Accept()
		if err != nil {
			return
		}
		a.wg.Go(func() {
			defer conn.Close()
			fmt.Fprintln(conn, os.Getpid())
		})
	}
}

const graceProcess = "TP_TEST_GRACE_PROCESS"

// TestGraceProcess is a child process of TestGraceSignal; without its parent it does nothing.
func TestGraceProcess(t *testing.T) {
	if os.Getenv(graceProcess) == "" {
		return
	}
	exit = syscall.Exit // package testing does not like os.Exit
	lis, err := listenTCP(t.Context(), ListenConfig{Network: "tcp", LocalIP: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	SetShutdown(time.Minute, nil, func() error { fmt.Println("ends", os.Getpid()); return nil })
	a := &acceptor{lis: lis}
	addGraceful(a)
	c, stop := notifySignals() // GraceSignal in two steps, to be ready for signals before the test gets our process id
	go graceful.signals(c, stop)
	fmt.Println("serves", os.Getpid(), lis.Addr())
	a.serve()
	waitGraceful() // as the last line of a main: without it the process could end too early
}

func TestGraceSignal(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestGraceProcess$")
	cmd.Env = append(os.Environ(), graceProcess+"=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }) // a child left by a failure
	stuck := time.AfterFunc(time.Minute, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer stuck.Stop()
	in := bufio.NewScanner(stdout)

	next := func() (what string, pid int, addr string) {
		t.Helper()
		if !in.Scan() {
			t.Fatal("the processes have ended too early")
		}
		w := strings.Fields(in.Text() + " - -")
		pid, _ = strconv.Atoi(w[1])
		return w[0], pid, w[2]
	}
	what, first, addr := next()
	if what != "serves" || first != cmd.Process.Pid {
		t.Fatalf("the first line is %s %d %s; want serves %d", what, first, addr, cmd.Process.Pid)
	}
	ask := func() int {
		t.Helper()
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		text, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		return pid
	}
	if pid := ask(); pid != first {
		t.Errorf("process %d answers; want %d", pid, first)
	}

	if err := syscall.Kill(first, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	second := 0
	for range 2 { // in any order
		switch what, pid, where := next(); what {
		case "serves":
			second = pid
			if pid == first || where != addr {
				t.Errorf("process %d serves %s; want another than %d, on %s", pid, where, first, addr)
			}
		case "ends":
			if pid != first {
				t.Errorf("process %d ends; want %d", pid, first)
			}
		default:
			t.Fatalf("a process says %s %d", what, pid)
		}
	}
	for ask() == first { // the last of those that the first one had accepted
	}
	if pid := ask(); pid != second {
		t.Errorf("process %d answers; want %d", pid, second)
	}
	if err := syscall.Kill(second, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if what, pid, _ := next(); what != "ends" || pid != second {
		t.Errorf("the last line is %s %d; want ends %d", what, pid, second)
	}
	if in.Scan() {
		t.Errorf("a process says %q after the end", in.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the first process: %v; want exit code 0", err)
	}
}
