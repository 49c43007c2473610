//go:build unix

package resumetest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
)

// RunServer is the main function of a server that StartServer has started: serve listens, and
// returns where. A SIGUSR2 is a Reboot. The process says by lines on stdout, to the test, that it
// serves, and that it ends.
func RunServer(serve func() (net.Addr, error)) {
	tp.SetShutdown(time.Minute, nil, func() error { fmt.Println("ends", os.Getpid()); return nil })
	reboot := make(chan os.Signal, 1)
	signal.Notify(reboot, syscall.SIGUSR2) // before anybody knows of the process
	addr, err := serve()
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("serves", os.Getpid(), addr)
	for range reboot {
		tp.Reboot() // does not return if it succeeds
	}
}

// Server is a server in another process, which a Reboot replaces by the next one.
type Server struct {
	Pid, Addr string // of the process that has last said that it serves

	t      testing.TB
	lines  chan string
	unread []string
}

// StartServer runs the test binary as a server, by these variables of the environment, whose
// TestMain calls RunServer then. All its processes end with the test.
func StartServer(t testing.TB, env ...string) *Server {
	t.Helper()
	s := &Server{t: t, lines: make(chan string, 100)}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the new processes are in the group, too
	cmd.Stderr = stderr{s}
	cmd.WaitDelay = time.Second
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
	s.Serves()
	return s
}

// stderr takes the log of the processes: that one goes on after a Reboot becomes a line "stays".
type stderr struct{ s *Server }

func (e stderr) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "this process goes on") {
		e.s.lines <- "stays " + string(b)
	}
	return os.Stderr.Write(b)
}

// Next waits for the next line that begins with the word, and returns the rest of it. Lines of
// two processes come in any order.
func (s *Server) Next(word string) string {
	s.t.Helper()
	late := time.After(time.Minute)
	for i := 0; ; i++ {
		if i == len(s.unread) {
			select {
			case line := <-s.lines:
				s.unread = append(s.unread, line)
			case <-late:
				s.t.Fatalf("no process has said %q within a minute, but %q", word, s.unread)
			}
		}
		if rest, ok := strings.CutPrefix(s.unread[i], word+" "); ok {
			s.unread = slices.Delete(s.unread, i, i+1)
			return rest
		}
	}
}

// Serves waits until a process says that it serves.
func (s *Server) Serves() {
	s.t.Helper()
	s.Pid, s.Addr, _ = strings.Cut(s.Next("serves"), " ")
}

// Reboot lets the process with this id be replaced. The next one Serves later, and the line
// "ends" has the id.
func (s *Server) Reboot(pid string) {
	s.t.Helper()
	n, err := strconv.Atoi(pid)
	require.NoError(s.t, err)
	require.NoError(s.t, syscall.Kill(n, syscall.SIGUSR2))
}
