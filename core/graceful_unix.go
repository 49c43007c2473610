//go:build unix

package tp

import (
	"os"
	"syscall"
)

var (
	shutdownSignals = []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	rebootSignals   = []os.Signal{syscall.SIGUSR2}
)
