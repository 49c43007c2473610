//go:build !unix

package outproc

import (
	"io/fs"
	"os"
)

// lockDir does nothing: directories are not swept.
func lockDir(string) (*os.File, error) { return nil, nil }

func tryLock(*os.File) bool { return false }

// mine returns false: XDG_RUNTIME_DIR is not used.
func mine(fs.FileInfo) bool { return false }
