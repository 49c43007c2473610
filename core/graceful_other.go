//go:build !unix

package tp

import "os"

var (
	shutdownSignals = []os.Signal{os.Interrupt}
	rebootSignals   []os.Signal
)
