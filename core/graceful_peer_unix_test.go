//go:build unix

package tp

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/inherit"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

const rebootProcess = "TP_TEST_REBOOT_PROCESS"

// sayer is a plugin that prints the address of its peer.
type sayer struct{}

func (sayer) Name() string { return "sayer" }
func (sayer) PostListen(addr net.Addr) error {
	fmt.Println("serves", os.Getpid(), addr)
	return nil
}

func rebootConfig() PeerConfig {
	testwire.Register()
	return PeerConfig{LocalIP: "127.0.0.1", DefaultBodyCodec: "testtext", Protocol: testwire.New,
		RedialTimes: -1, RedialInterval: time.Millisecond}
}

// TestRebootProcess is a child process of TestRebootUnderLoad; without its parent it does nothing.
func TestRebootProcess(t *testing.T) {
	if os.Getenv(rebootProcess) == "" {
		return
	}
	exit = syscall.Exit      // package testing does not like os.Exit
	SetLoggerLevel("NOTICE") // no lines of the access log
	SetShutdown(12*time.Second, nil, func() error { fmt.Println("ends", os.Getpid()); return nil })
	peer, err := Open(rebootConfig(), sayer{})
	if err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(os.Getpid())
	HandleCall(peer, "/pid", func(CallCtx, *string) (string, error) { return pid, nil })
	HandleCall(peer, "/late", func(CallCtx, *string) (string, error) {
		fmt.Println("late", pid)
		<-graceful.stopping // the new process is ready
		return pid, nil
	})
	c, stop := notifySignals() // GraceSignal in two steps, to be ready for signals before the test gets our process id
	go graceful.signals(c, stop)
	t.Errorf("ListenAndServe returned %v before the process ended", peer.ListenAndServe())
}

func TestRebootUnderLoad(t *testing.T) {
	SetLoggerLevel("ERROR")
	t.Cleanup(func() { SetLoggerLevel("DEBUG") })
	cmd := exec.Command(os.Args[0], "-test.run=^TestRebootProcess$")
	cmd.Env = append(os.Environ(), rebootProcess+"=1")
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
	next := func() (what, pid, addr string) {
		t.Helper()
		if !in.Scan() {
			t.Fatal("the processes have ended too early")
		}
		w := strings.Fields(in.Text() + " - -")
		return w[0], w[1], w[2]
	}
	_, first, addr := next()

	client, err := Open(rebootConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ask := func(sess Session, method string) (string, *Rerror) {
		var pid string
		rerr := sess.Call(method, "", &pid).Rerror()
		return pid, rerr
	}
	sess, rerr := client.Dial(addr)
	if rerr != nil {
		t.Fatal(rerr)
	}

	var stop atomic.Bool
	var load sync.WaitGroup
	defer load.Wait()
	defer stop.Store(true)
	var calls, cut atomic.Int64
	for range 4 {
		load.Go(func() { // new sessions, one after the other
			for !stop.Load() {
				sess, rerr := client.Dial(addr)
				if rerr != nil {
					t.Errorf("dial: %v", rerr)
					return
				}
				_, rerr = ask(sess, "/pid")
				calls.Add(1)
				if IsConnRerror(rerr) {
					cut.Add(1) // the old process had accepted it and was about to end
				} else if rerr != nil {
					t.Errorf("call: %v", rerr)
				}
				sess.Close()
				time.Sleep(5 * time.Millisecond) // each leaves a port in TIME_WAIT, of the 28,000 of the machine
			}
		})
	}
	load.Go(func() { // one session that is redialled
		for !stop.Load() {
			if _, rerr := ask(sess, "/pid"); rerr != nil && !IsConnRerror(rerr) {
				t.Errorf("call: %v", rerr)
			}
		}
	})

	late := make(chan struct{})
	load.Go(func() { // a call that the old process has begun
		defer close(late)
		sess, rerr := client.Dial(addr)
		if rerr != nil {
			t.Errorf("dial: %v", rerr)
			return
		}
		defer sess.Close()
		if pid, rerr := ask(sess, "/late"); pid != first || rerr != nil {
			t.Errorf("the call that was under way: %s, %v; want the reply of %s", pid, rerr, first)
		}
	})
	if what, _, _ := next(); what != "late" {
		t.Fatalf("the server says %s; want that the late call is there", what)
	}
	if err := syscall.Kill(cmd.Process.Pid, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	second := ""
	for range 2 { // in any order
		switch what, pid, where := next(); what {
		case "serves":
			second = pid
			if pid == first || where != addr {
				t.Errorf("process %s serves %s; want another than %s, on %s", pid, where, first, addr)
			}
		case "ends":
			if pid != first {
				t.Errorf("process %s ends; want %s", pid, first)
			}
		}
	}
	<-late
	for pid := first; pid == first; { // the redialled session goes on with the new process
		got, rerr := ask(sess, "/pid")
		if rerr == nil {
			pid = got
		} else if !IsConnRerror(rerr) {
			t.Fatalf("call: %v", rerr)
		}
	}
	stop.Store(true)
	load.Wait()
	t.Logf("%d calls on new sessions, %d of them cut off", calls.Load(), cut.Load())
	if pid, rerr := ask(sess, "/pid"); pid != second || rerr != nil {
		t.Errorf("process %s answers, %v; want %s", pid, rerr, second)
	}

	number, _ := strconv.Atoi(second)
	if err := syscall.Kill(number, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if what, pid, _ := next(); what != "ends" || pid != second {
		t.Errorf("the last line is %s %s; want ends %s", what, pid, second)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the first process: %v; want exit code 0", err)
	}
}

const portWaitProcess = "TP_TEST_PORT_WAIT_PROCESS"

// TestPortWaitProcess is a child process of TestCloseEndsTheWaitForAPort; without its parent
// it does nothing.
func TestPortWaitProcess(t *testing.T) {
	if os.Getenv(portWaitProcess) == "" {
		return
	}
	testwire.Register()
	var lines strings.Builder
	tried := make(chan struct{}, 1)
	p := NewPeer(PeerConfig{
		Net: &Network{Name: "taken", Listen: func(context.Context, ListenConfig) (net.Listener, error) {
			select {
			case tried <- struct{}{}:
			default:
			}
			return nil, syscall.EADDRINUSE
		}},
		DefaultBodyCodec: "testtext", Protocol: testwire.New, Logger: slog.New(slog.NewTextHandler(&lines, nil)),
	})
	listened := make(chan error, 1)
	go func() { listened <- p.ListenAndServe() }()
	for range 2 { // it waits for the port
		<-tried
	}
	p.Close()
	if err := <-listened; err != ErrListenClosed {
		t.Errorf("ListenAndServe = %v; want %v", err, ErrListenClosed)
	}
	if got := lines.String(); !strings.Contains(got, "waiting") || strings.Contains(got, "ERROR") {
		t.Errorf("the log is\n%swant a line about waiting, and no error", got)
	}
}

// After a Reboot, Close ends a Listen that waits for a port of the old process.
func TestCloseEndsTheWaitForAPort(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestPortWaitProcess$")
	cmd.Env = append(os.Environ(), portWaitProcess+"=1", inherit.Env+"={}") // as the new process of this one
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
