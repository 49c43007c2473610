//go:build unix

package outproc

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// lockDir makes the lock in a directory of this process. The file gets its name when the
// lock is held: else another host could take it, and remove the directory, in between.
func lockDir(path string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(path, lockName+".new"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if !tryLock(lock) {
		err = fmt.Errorf("lock %s: another process holds it", lock.Name())
	} else {
		err = os.Rename(lock.Name(), filepath.Join(path, lockName))
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// tryLock locks the file for this process, until it is closed.
func tryLock(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

// mine reports whether the file belongs to this user.
func mine(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid()
}
