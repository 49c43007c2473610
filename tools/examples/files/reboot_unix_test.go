//go:build unix

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
)

// serverEnv is the variable that makes the test binary a server: its network and directory.
const serverEnv = "FILES_TEST_SERVER"

func TestMain(m *testing.M) {
	if network, dir, ok := strings.Cut(os.Getenv(serverEnv), " "); ok {
		timeout := time.Second // it cuts off the upload
		if network == "resume+tcp" {
			timeout = 4 * time.Minute // it waits for the end of the upload
		}
		tp.SetShutdown(timeout, nil, nil)
		if err := serve(network, "127.0.0.1:0", dir, 1<<30); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// rebootable is a server that is replaced by another process.
type rebootable struct {
	*exec.Cmd
	t     *testing.T
	lines *bufio.Scanner
	addr  string
}

func startServer(t *testing.T, network, dir string) *rebootable {
	s := &rebootable{t: t, Cmd: exec.Command(os.Args[0])}
	s.Env = append(os.Environ(), serverEnv+"="+network+" "+dir)
	s.Stderr = os.Stderr
	s.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the new process is in the group, too
	stdout, err := s.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.Start())
	kill := func() { syscall.Kill(-s.Process.Pid, syscall.SIGKILL) }
	stuck := time.AfterFunc(5*time.Minute, kill)
	t.Cleanup(func() { stuck.Stop(); kill() })
	s.lines = bufio.NewScanner(stdout)
	require.True(t, s.lines.Scan())
	s.addr = s.lines.Text()
	return s
}

// reboot starts the new process, which serves in the same place when reboot returns.
func (s *rebootable) reboot() {
	require.NoError(s.t, s.Process.Signal(syscall.SIGUSR2))
	require.True(s.t, s.lines.Scan())
	require.Equal(s.t, s.addr, s.lines.Text(), "the new process serves in the same place")
}

// wait waits for the end of the old process.
func (s *rebootable) wait() {
	_, err := s.Process.Wait()
	require.NoError(s.t, err)
}

// parts says after how many 200ths of a file connections are cut: seven before its middle,
// where the Reboot is, and three behind it.
var parts = []int{11, 17, 5, 23, 8, 19, 13, 7, 21, 15}

func cuts(size int) (after []int64) {
	for _, part := range parts {
		after = append(after, int64(size/200*part))
	}
	return after
}

// TestRebootOfAResumedUpload sends 200 MB, whose way is cut ten times, while a Reboot puts
// another process in the place of the server. The session does not redial, and the stream is
// opened once: the old process receives it to its end, also by connections that the new one has
// accepted. Then the session moves.
func TestRebootOfAResumedUpload(t *testing.T) {
	const size = 200 << 20
	w := &world{t: t, ctx: t.Context(), dir: t.TempDir(), mine: t.TempDir()}
	server := startServer(t, "resume+tcp", w.dir)
	r := w.dial("resume+tcp", server.addr, cuts(size)...)
	source := filepath.Join(w.mine, "film")
	writeFile(t, source, size)
	before := 0
	reboot := sync.OnceFunc(func() { server.reboot(); before = r.count() })
	began := time.Now()
	attempts, err := upload(w.ctx, w.sess, source, func(done, _ int64) {
		if done > size/2 {
			reboot()
		}
	})
	require.NoError(t, err)
	t.Logf("%d attempt in %v; resumed %d times", attempts, time.Since(began).Round(time.Millisecond), w.stats.Resumed.Load())
	require.Equal(t, 1, attempts)
	require.Equal(t, 10, r.count(), "connections were cut")
	require.Less(t, before, 10, "before the Reboot")
	require.NoError(t, same(source, filepath.Join(w.dir, "film")))

	server.wait() // the session has moved: nothing runs on it
	attempts, err = upload(w.ctx, w.sess, source, nil)
	require.NoError(t, err)
	require.Equal(t, 1, attempts)
	require.Equal(t, int64(1), w.stats.Streams.Load(), "all verdicts were resumed")
	require.GreaterOrEqual(t, w.stats.Resumed.Load(), int64(10))
}

// TestReboot does the same with less, and without mixers/resume: each cut is an attempt more.
func TestReboot(t *testing.T) {
	const size = 40 << 20
	w := &world{t: t, ctx: t.Context(), dir: t.TempDir(), mine: t.TempDir()}
	server := startServer(t, "tcp", w.dir)
	r := w.dial("tcp", server.addr, append(cuts(size), size/200*12)...) // one more, since that of the Reboot is not cut
	source := filepath.Join(w.mine, "film")
	writeFile(t, source, size)
	reboot := sync.OnceFunc(func() {
		server.reboot()
		server.wait() // it waits for the upload, and cuts it off
	})
	began := time.Now()
	attempts, err := upload(w.ctx, w.sess, source, func(done, _ int64) {
		if done > size/2 {
			reboot()
		}
	})
	require.NoError(t, err)
	t.Logf("%d attempts in %v", attempts, time.Since(began).Round(time.Millisecond))
	require.Equal(t, 10, r.count(), "connections were cut")
	require.Greater(t, attempts, 1)
	require.LessOrEqual(t, attempts, 20) // one for each cut and the Reboot, and some on a busy machine
	require.NoError(t, same(source, filepath.Join(w.dir, "film")))
}
