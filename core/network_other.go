//go:build !unix

package tp

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
)

// The numbers are those of Windows sockets, which package syscall does not
// name; its own E… constants mean something else there.
func isAddrInUse(err error) bool        { return errors.Is(err, syscall.Errno(10048)) }
func isAddrNotAvailable(err error) bool { return errors.Is(err, syscall.Errno(10049)) }
func isRefused(err error) bool          { return errors.Is(err, syscall.Errno(10061)) }

// reuseAddr does nothing: on Windows the option would take a port away from its owner.
func reuseAddr(_, _ string, _ syscall.RawConn) error { return nil }

// listenUnixFile makes a socket file. On Windows it has the permissions of its
// directory, and the mode is ignored.
func listenUnixFile(ctx context.Context, network, path string, _ os.FileMode) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, network, path)
}

// canReusePort says that the system spreads the connections to a port among its listeners.
const canReusePort = false

// reusePort does nothing.
func reusePort(_, _ string, _ syscall.RawConn) error { return nil }
