//go:build unix && !linux

package tp

import (
	"context"
	"net"
	"os"
	"sync"
	"syscall"
)

var umaskMu sync.Mutex // guards the umask of the process against our own goroutines

// listenUnixFile makes a socket file that at no moment has a wider mode than mode.
// Only the umask can do that here. The umask belongs to the process: a file that
// another goroutine makes meanwhile gets at most the permissions of mode.
func listenUnixFile(ctx context.Context, network, path string, mode os.FileMode) (net.Listener, error) {
	umaskMu.Lock()
	old := syscall.Umask(int(0o777 &^ mode))
	var lc net.ListenConfig
	lis, err := lc.Listen(ctx, network, path)
	syscall.Umask(old)
	umaskMu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		lis.Close()
		return nil, err
	}
	return lis, nil
}

// canReusePort says that the system spreads the connections to a port among its listeners.
const canReusePort = false

// reusePort does nothing.
func reusePort(_, _ string, _ syscall.RawConn) error { return nil }
