package outproc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// The sockets of guests are made in one directory of the host process, with mode 0700. It
// exists while guests start; a lane that is open needs no file. A host that was killed
// meanwhile leaves it, with a lock that nobody holds, and the next host removes it.
var sockets struct {
	sync.Mutex
	users int
	path  string
	lock  *os.File
}

// lockName is the file in the directory that its host holds locked.
const lockName = "host.lock"

// maxSocketPath is how long the path of a unix socket may be on all systems, in bytes,
// and roomInDir is what go-plugin and the guest append to that of the directory.
const (
	maxSocketPath = 103
	roomInDir     = len("/plugin-dir1234567890/lane")
)

func dirPrefix() string { return fmt.Sprintf("teleport-guests-%d-", os.Getuid()) }

// useDir returns the directory, which exists until the caller calls done.
func useDir() (path string, done func(), err error) {
	sockets.Lock()
	defer sockets.Unlock()
	if sockets.users == 0 {
		if err := makeDir(); err != nil {
			return "", nil, err
		}
	}
	sockets.users++
	return sockets.path, sync.OnceFunc(leaveDir), nil
}

func leaveDir() {
	sockets.Lock()
	defer sockets.Unlock()
	if sockets.users--; sockets.users == 0 {
		os.RemoveAll(sockets.path)
		sockets.lock.Close()
	}
}

func makeDir() error {
	base := baseDir()
	sweep(base)
	path, err := os.MkdirTemp(base, dirPrefix())
	if err != nil {
		return fmt.Errorf("make the directory of the sockets: %w", err)
	}
	if n := len(path) + roomInDir; n > maxSocketPath {
		os.Remove(path)
		return fmt.Errorf("the path of a socket in %s would have %d bytes, at most %d are allowed: set XDG_RUNTIME_DIR or TMPDIR to a shorter one", path, n, maxSocketPath)
	}
	lock, err := lockDir(path)
	if err != nil {
		os.RemoveAll(path)
		return err
	}
	sockets.path, sockets.lock = path, lock
	return nil
}

// baseDir returns where the directory is made: in XDG_RUNTIME_DIR, unless that belongs to
// another user, who could put another directory in its place; else in that of temporary
// files.
func baseDir() string {
	base := os.Getenv("XDG_RUNTIME_DIR")
	if info, err := os.Stat(base); err == nil && info.IsDir() && mine(info) {
		return base
	}
	return os.TempDir()
}

// sweep removes the directories of hosts that have ended.
func sweep(base string) {
	list, _ := os.ReadDir(base)
	for _, entry := range list {
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), dirPrefix()) {
			continue
		}
		info, err := entry.Info()
		if err != nil || !info.IsDir() || !mine(info) {
			continue
		}
		path := filepath.Join(base, entry.Name())
		lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR, 0)
		if err != nil {
			continue // its host has not locked it yet
		}
		if tryLock(lock) {
			os.RemoveAll(path)
		}
		lock.Close()
	}
}
