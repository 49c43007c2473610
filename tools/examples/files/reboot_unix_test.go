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
		tp.SetShutdown(time.Second, nil, nil)
		if err := serve(network, "127.0.0.1:0", dir, 1<<30); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestReboot sends 200 MB, whose way is cut ten times, while a Reboot puts another process
// in the place of the server. Without mixers/resume each cut is an attempt more; that is
// shown with less.
func TestReboot(t *testing.T) {
	for _, test := range []struct {
		network string
		size    int
		most    int // attempts: one more for the Reboot, and some on a busy machine
	}{
		{"resume+tcp", 200 << 20, 4},
		{"tcp", 40 << 20, 20},
	} {
		network, size := test.network, test.size
		t.Run(network, func(t *testing.T) {
			w := &world{t, t.Context(), t.TempDir(), t.TempDir(), nil}
			server := exec.Command(os.Args[0])
			server.Env = append(os.Environ(), serverEnv+"="+network+" "+w.dir)
			server.Stderr = os.Stderr
			server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the new process is in the group, too
			stdout, err := server.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, server.Start())
			kill := func() { syscall.Kill(-server.Process.Pid, syscall.SIGKILL) }
			t.Cleanup(kill)
			stuck := time.AfterFunc(3*time.Minute, kill)
			defer stuck.Stop()
			lines := bufio.NewScanner(stdout)
			require.True(t, lines.Scan())
			addr := lines.Text()
			var after []int64
			// Eleven, since that of the Reboot is not cut. They are 3/4 of the file together.
			for _, part := range []int{11, 17, 5, 23, 8, 19, 13, 7, 21, 15, 12} {
				after = append(after, int64(size/200*part))
			}
			r := w.dial(network, addr, after...)

			source := filepath.Join(w.mine, "film")
			writeFile(t, source, size)
			reboot := sync.OnceFunc(func() {
				require.NoError(t, server.Process.Signal(syscall.SIGUSR2))
				require.True(t, lines.Scan())
				require.Equal(t, addr, lines.Text(), "the new process serves in the same place")
				_, err := server.Process.Wait() // it waits for the upload, and cuts it off
				require.NoError(t, err)
			})
			began := time.Now()
			attempts, err := upload(w.ctx, w.sess, source, func(done, size int64) {
				if done > size/2 {
					reboot()
				}
			})
			require.NoError(t, err)
			t.Logf("%d attempts in %v", attempts, time.Since(began).Round(time.Millisecond))
			require.Equal(t, 10, r.count(), "connections were cut")
			require.Greater(t, attempts, 1)
			require.LessOrEqual(t, attempts, test.most)
			require.NoError(t, same(source, filepath.Join(w.dir, "film")))
		})
	}
}
