package outproc

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/tptest"
)

// Killing the host leaves no guest, no socket and no directory, also if the guest does not
// end by itself.
func TestHostKilled(t *testing.T) {
	for _, role := range []string{"parts", "raw stubborn"} {
		t.Run(role, func(t *testing.T) { hostKilled(t, role) })
	}
}

func hostKilled(t *testing.T, role string) {
	const prSetChildSubreaper = 36
	_, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0)
	require.Zero(t, errno)
	defer syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 0, 0)

	base := shortDir(t)
	host := exec.Command(self(t))
	host.Env = append(os.Environ(), envRole+"=host", envGuest+"="+role, "XDG_RUNTIME_DIR="+base)
	stdin, err := host.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	stdout, err := host.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, host.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err, line)
	require.NoError(t, syscall.Kill(pid, 0), "the guest runs")
	require.NoError(t, host.Process.Kill())
	host.Wait()

	// This process is the guest's parent now.
	guest, err := os.FindProcess(pid)
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() { guest.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		guest.Kill()
		<-ended
		require.Fail(t, "the guest has survived its host")
	}
	left, err := filepath.Glob(base + "/*")
	require.NoError(t, err)
	require.Empty(t, left)
}

// Directories of hosts that have ended are removed, and no others.
func TestSweep(t *testing.T) {
	base := shortDir(t)
	t.Setenv("XDG_RUNTIME_DIR", base)
	make := func(name string, locked bool) string {
		dir := filepath.Join(base, name)
		require.NoError(t, os.Mkdir(dir, 0o700))
		lock, err := os.Create(filepath.Join(dir, lockName))
		require.NoError(t, err)
		if locked {
			require.True(t, tryLock(lock))
			t.Cleanup(func() { lock.Close() })
		} else {
			lock.Close()
		}
		return dir
	}
	stale := make(dirPrefix()+"1", false)
	alive := make(dirPrefix()+"2", true)
	other := make("teleport-guests-99999-3", false)
	link := filepath.Join(base, dirPrefix()+"4")
	require.NoError(t, os.Symlink(other, link))

	dir, done, err := useDir()
	require.NoError(t, err)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	again, doneAgain, err := useDir()
	require.NoError(t, err)
	require.Equal(t, dir, again)
	done()
	done()
	require.DirExists(t, dir)
	doneAgain()
	require.NoDirExists(t, dir)
	require.NoDirExists(t, stale)
	require.DirExists(t, alive)
	require.DirExists(t, other)
	_, err = os.Lstat(link)
	require.NoError(t, err)

	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(base, strings.Repeat("x", 60)))
	require.NoError(t, os.Mkdir(os.Getenv("XDG_RUNTIME_DIR"), 0o700))
	_, _, err = useDir()
	require.ErrorContains(t, err, "set XDG_RUNTIME_DIR or TMPDIR to a shorter one")
	left, err := os.ReadDir(os.Getenv("XDG_RUNTIME_DIR"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// A directory of another user is not where sockets are made: its owner could replace them.
func TestRuntimeDirOfAnotherUser(t *testing.T) {
	temp, dir := shortDir(t), "/"
	if os.Getuid() == 0 {
		dir = shortDir(t)
		require.NoError(t, os.Chown(dir, 12345, -1))
	}
	t.Setenv("TMPDIR", temp)
	t.Setenv("XDG_RUNTIME_DIR", dir)
	path, done, err := useDir()
	require.NoError(t, err)
	defer done()
	require.Equal(t, temp, filepath.Dir(path))
}

// The name of the directory above is no pattern.
func TestSweepBelowAnyName(t *testing.T) {
	base := filepath.Join(shortDir(t), "a[b")
	require.NoError(t, os.Mkdir(base, 0o700))
	t.Setenv("XDG_RUNTIME_DIR", base)
	stale := filepath.Join(base, dirPrefix()+"1")
	require.NoError(t, os.Mkdir(stale, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(stale, lockName), nil, 0o600))
	_, done, err := useDir()
	require.NoError(t, err)
	defer done()
	require.NoDirExists(t, stale)
}

// The other end of a lane is the process that was started, of this user.
func TestPeerCredentials(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer syscall.Close(fds[0])
	defer syscall.Close(fds[1])
	conn := control(fds[0])
	require.NoError(t, checkPeer(conn, os.Getpid()))
	require.ErrorContains(t, checkPeer(conn, 1), "the lane's other end is process "+strconv.Itoa(os.Getpid())+", not the guest (1)")
}

type control int

func (c control) ControlFD(f func(fd uintptr)) error { f(uintptr(c)); return nil }

// A file that was replaced after it was hashed is not what runs.
func TestSameFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "guest")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o700)) }
	write("#!/bin/sh\necho first; cat")
	g := Guest{Path: path}
	require.NoError(t, g.check())
	prog, err := openProgram(&g)
	require.NoError(t, err)
	defer prog.close()
	require.NoError(t, os.Rename(path, path+".old"))
	write("#!/bin/sh\necho second; cat")
	_, err = prog.spawn(t.Context(), dir)
	require.ErrorContains(t, err, `it has printed "first"`)
}

// Restarts and reloads leave no descriptor, no file and no goroutine behind.
func TestNothingLeft(t *testing.T) {
	tptest.LeakCheck(t)
	h := loadRole(t, "parts")
	await(t, h, Ready)
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(list)
	}
	turn := func() {
		require.NoError(t, syscall.Kill(activePID(h), syscall.SIGKILL))
		await(t, h, Starting)
		await(t, h, Ready)
		require.NoError(t, h.Reload(t.Context()))
	}
	for range (runtime.GOMAXPROCS(0) + 1) / 2 { // a poller is made for each processor when it gets its first lane, and a turn has two
		turn()
	}
	before := descriptors()
	for range 4 {
		turn()
	}
	require.Eventually(t, func() bool { return descriptors() <= before }, 30*time.Second, time.Millisecond)
	require.Empty(t, socketDirs(t))
}
