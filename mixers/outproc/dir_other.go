//go:build !unix

package outproc

import (
	"io/fs"
	"os"
)

// lockDir does nothing: directories are not swept.
func lockDir(string) (*os.File, error) { return nil, nil }

func tryLock(*os.File) bool { return false }

func mine(fs.FileInfo) bool { return false }
