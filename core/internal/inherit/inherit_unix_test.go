//go:build unix

package inherit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// serverDir is the variable that makes the test binary a server in that directory.
const serverDir = "INHERIT_TEST_SERVER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(serverDir); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Println("error", os.Getpid(), err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serve sends its process id to each client. SIGUSR2 restarts it. It reports by lines on
// stdout: a word, its process id, and details.
func serve(dir string) error {
	_, leaked := os.LookupEnv(Env)
	Report(func(err error) { fmt.Println("problem", os.Getpid(), err) })
	if successor.ready != nil { // a child: the file says how it should fail
		switch what, _ := os.ReadFile(filepath.Join(dir, "child")); string(what) {
		case "fail":
			return errors.New("failing on purpose")
		case "hang":
			time.Sleep(time.Hour) // until it is killed
		}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR2, syscall.SIGTERM)
	text, err := os.ReadFile(filepath.Join(dir, "timeout"))
	if err != nil {
		return err
	}
	timeout, err := time.ParseDuration(string(text))
	if err != nil {
		return err
	}

	path := filepath.Join(dir, "s")
	var listeners []*Listener
	for _, want := range []struct{ network, addr string }{{"tcp", "127.0.0.1:0"}, {"unix", path}, {"tcp", "127.0.0.1:0"}} {
		l, err := Listen(want.network, want.addr, func() (net.Listener, error) { return net.Listen(want.network, want.addr) })
		if err != nil {
			return err
		}
		listeners = append(listeners, l)
	}
	var wg sync.WaitGroup
	for _, l := range listeners {
		wg.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				wg.Go(func() {
					defer conn.Close()
					fmt.Fprintln(conn, os.Getpid())
				})
			}
		})
	}
	fmt.Println("serves", os.Getpid(), listeners[0].Addr(), listeners[2].Addr(), leaked)

	for s := range signals {
		if s == syscall.SIGUSR2 {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			_, err := HandOver(ctx, listeners, nil)
			cancel()
			if err != nil {
				fmt.Println("failed", os.Getpid(), err)
				continue
			}
		}
		break
	}
	for _, l := range listeners {
		if err := l.Close(); err != nil {
			return err
		}
	}
	wg.Wait()
	fmt.Println("ends", os.Getpid())
	return nil
}

// server is a sequence of processes, each of which replaces the one before.
type server struct {
	t      *testing.T
	dir    string
	lines  chan string
	unread []string // since lines of two processes come in any order
	cmd    *exec.Cmd
}

func startServer(t *testing.T, timeout string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), lines: make(chan string, 100)}
	s.write("timeout", timeout)
	s.cmd = exec.Command(os.Args[0], "-test.run=^$")
	s.cmd.Env = append(os.Environ(), serverDir+"="+s.dir)
	s.cmd.Stderr = os.Stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the group of all processes of the sequence
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) }) // processes left by a failure
	go func() {                                                                 // ends with the last of the processes
		defer close(s.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			s.lines <- in.Text()
		}
	}()
	return s
}

// next returns the next line that begins with this word, without it.
func (s *server) next(word string) (pid int, rest string) {
	s.t.Helper()
	late := time.After(60 * time.Second)
	for {
		for i, line := range s.unread {
			w := strings.SplitN(line, " ", 3)
			if w[0] != word {
				continue
			}
			s.unread = slices.Delete(s.unread, i, i+1)
			pid, err := strconv.Atoi(w[1])
			if err != nil {
				s.t.Fatal(err)
			}
			return pid, strings.Join(w[2:], "")
		}
		select {
		case line, more := <-s.lines:
			if !more {
				s.t.Fatalf("the server has ended, with %q unread; want %q", s.unread, word)
			}
			s.unread = append(s.unread, line)
		case <-late:
			s.t.Fatalf("the server has printed %q; want %q", s.unread, word)
		}
	}
}

func (s *server) write(what, value string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, what), []byte(value), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) signal(pid int, sig syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		s.t.Fatal(err)
	}
}

// end ends the last process.
func (s *server) end(pid int) {
	s.t.Helper()
	s.signal(pid, syscall.SIGTERM)
	if got, _ := s.next("ends"); got != pid {
		s.t.Errorf("process %d ends; want %d", got, pid)
	}
	for line := range s.lines {
		s.unread = append(s.unread, line)
	}
	if len(s.unread) > 0 {
		s.t.Errorf("the server also printed %q", s.unread)
	}
	_ = s.cmd.Wait() // the first process, which has ended
}

func ask(network, addr string) (pid int, err error) {
	conn, err := net.Dial(network, addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	text, err := io.ReadAll(conn)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func TestRestartUnderLoad(t *testing.T) {
	s := startServer(t, "60s")
	pid, addrs := s.next("serves")
	if pid != s.cmd.Process.Pid {
		t.Fatalf("process %d serves; want %d", pid, s.cmd.Process.Pid)
	}
	tcp, rest, _ := strings.Cut(addrs, " ")
	tcp2, leaked, _ := strings.Cut(rest, " ")
	if leaked != "false" {
		t.Errorf("the table is in the server's environment")
	}
	unix := filepath.Join(s.dir, "s")

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	for _, to := range [][2]string{{"tcp", tcp}, {"tcp", tcp2}, {"unix", unix}, {"unix", unix}} {
		load.Go(func() {
			n := 0
			for ; ctx.Err() == nil; n++ {
				if _, err := ask(to[0], to[1]); err != nil {
					t.Errorf("call %d: %v", n, err)
					return
				}
			}
			if n == 0 {
				t.Error("no call was made")
			}
		})
	}
	for range 3 {
		s.signal(pid, syscall.SIGUSR2)
		child, got := s.next("serves")
		if child == pid || got != addrs {
			t.Fatalf("process %d serves %s; want another than %d, on %s", child, got, pid, addrs)
		}
		if ended, _ := s.next("ends"); ended != pid {
			t.Fatalf("process %d ends; want %d", ended, pid)
		}
		pid = child
		for _, to := range [][2]string{{"tcp", tcp}, {"tcp", tcp2}, {"unix", unix}} {
			if got, err := ask(to[0], to[1]); got != child || err != nil {
				t.Errorf("process %d answers on %s %s, %v; want %d", got, to[0], to[1], err, child)
			}
		}
	}
	stop()
	load.Wait()
	s.end(pid)
	if _, err := os.Lstat(unix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the last process has left the socket file: %v", err)
	}
}

func TestRestartFails(t *testing.T) {
	for _, test := range []struct {
		name, child, timeout, want string
	}{
		{"child fails", "fail", "60s", "did not take over: it ended or closed its pipe (exit status 3)"},
		{"child hangs", "hang", "300ms", "did not take over: context deadline exceeded (signal: killed)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startServer(t, test.timeout)
			pid, addrs := s.next("serves")
			tcp, _, _ := strings.Cut(addrs, " ")
			s.write("child", test.child)
			s.signal(pid, syscall.SIGUSR2)
			got, why := s.next("failed")
			if got != pid || !strings.Contains(why, test.want) {
				t.Errorf("process %d: %s; want %d: %s", got, why, pid, test.want)
			}
			for _, to := range [][2]string{{"tcp", tcp}, {"unix", filepath.Join(s.dir, "s")}} {
				if got, err := ask(to[0], to[1]); got != pid || err != nil {
					t.Errorf("process %d answers on %s, %v; want the old one, %d", got, to[0], err, pid)
				}
			}
			s.unread = nil // the lines of the child
			s.end(pid)
		})
	}
}

// fdOf returns a descriptor that adopt may close.
func fdOf(t *testing.T, c interface {
	SyscallConn() (syscall.RawConn, error)
}) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := dup(raw)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestAdopt(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	sock := lis.(*net.TCPListener)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()

	for _, test := range []struct {
		name    string
		text    func() string
		left    int
		ready   bool
		problem string
	}{
		{"good", func() string {
			return fmt.Sprintf(`{"ready":%d,"listeners":[{"network":"tcp","addr":":0","real":%q,"fd":%d}]}`, fdOf(t, w), lis.Addr(), fdOf(t, sock))
		}, 1, true, ""},
		{"no JSON", func() string { return "LISTEN_FDS=3" }, 0, false, "environment variable TELEPORT_LISTENERS"},
		{"other address", func() string {
			return fmt.Sprintf(`{"ready":%d,"listeners":[{"network":"tcp","addr":":0","real":"127.0.0.1:1","fd":%d}]}`, fdOf(t, w), fdOf(t, sock))
		}, 0, true, "bound to 127.0.0.1:"},
		{"no socket", func() string {
			return fmt.Sprintf(`{"ready":%d,"listeners":[{"network":"tcp","addr":":0","real":"x","fd":%d}]}`, fdOf(t, w), fdOf(t, file))
		}, 0, true, "for tcp :0: "},
		{"stdout", func() string {
			return fmt.Sprintf(`{"ready":%d,"listeners":[{"network":"tcp","addr":":0","real":"x","fd":1}]}`, fdOf(t, w))
		}, 0, true, "not a descriptor for a socket"},
		{"ready is no pipe", func() string { return fmt.Sprintf(`{"ready":%d}`, fdOf(t, file)) }, 0, false, "not a pipe"},
		{"ready is stdout", func() string { return `{"ready":1}` }, 0, false, "not a descriptor for a pipe"},
		{"ready is missing", func() string { return `{}` }, 0, false, "not a descriptor for a pipe"},
	} {
		t.Run(test.name, func(t *testing.T) {
			to := takeover{quiet: quietTime, unclaim: unclaimTime}
			to.adopt(test.text())
			if len(to.left) != test.left || (to.ready != nil) != test.ready {
				t.Errorf("%d sockets, ready %v; want %d, %v", len(to.left), to.ready != nil, test.left, test.ready)
			}
			if got := fmt.Sprint(to.errs); test.problem == "" && got != "[]" || !strings.Contains(got, test.problem) {
				t.Errorf("problems are %s; want %q in them", got, test.problem)
			}
			for _, c := range to.left {
				c.lis.Close()
			}
			if to.ready != nil {
				to.ready()
				if n, err := r.Read(make([]byte, 10)); n != 1 || err != nil {
					t.Errorf("ready writes %d bytes, %v; want 1", n, err)
				}
			}
		})
	}

	to := takeover{}
	to.adopt(fmt.Sprintf(`{"ready":%d}`, fdOf(t, w)))
	if n, err := r.Read(make([]byte, 10)); n != 1 || err != nil || to.ready != nil {
		t.Errorf("without listeners %d bytes are written, %v; want 1 at once", n, err)
	}
}

// A descriptor that a child has inherited must not leak into the child's own children.
func TestAdoptedDescriptorsAreClosedOnExec(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	fd, ready := fdOf(t, lis.(*net.TCPListener)), fdOf(t, w)
	for _, fd := range []int{fd, ready} {
		if err := setFlags(fd, 0); err != nil { // as exec leaves them
			t.Fatal(err)
		}
	}
	var to takeover
	to.adopt(fmt.Sprintf(`{"ready":%d,"listeners":[{"network":"tcp","addr":":0","real":%q,"fd":%d}]}`, ready, lis.Addr(), fd))
	if len(to.left) != 1 || to.ready == nil {
		t.Fatalf("not adopted: %v", to.errs)
	}
	defer to.ready()
	claimed := to.left[0].lis.(*net.TCPListener)
	defer claimed.Close()
	raw, err := claimed.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { wantCloseOnExec(t, int(fd)) }); err != nil {
		t.Fatal(err)
	}
	wantCloseOnExec(t, ready)
}

func setFlags(fd, flags int) error {
	_, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, uintptr(flags))
	if errno != 0 {
		return errno
	}
	return nil
}

func wantCloseOnExec(t *testing.T, fd int) {
	t.Helper()
	flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	if flags&syscall.FD_CLOEXEC == 0 {
		t.Errorf("descriptor %d would leak into other programs", fd)
	}
}
