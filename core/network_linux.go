package tp

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// listenUnixFile makes a socket file that at no moment has a wider mode than mode.
// On Linux the file takes the mode of the socket, which is set before the socket is
// bound. The umask can only narrow the mode; chmod then corrects that.
func listenUnixFile(ctx context.Context, network, path string, mode os.FileMode) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		ctlErr := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), uint32(mode)) })
		return errors.Join(ctlErr, err)
	}}
	lis, err := lc.Listen(ctx, network, path)
	if err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Perm() == mode {
		return lis, nil
	}
	if err := os.Chmod(path, mode); err != nil {
		lis.Close()
		return nil, err
	}
	return lis, nil
}

// canReusePort says that the system spreads the connections to a port among its listeners.
const canReusePort = true

// reusePort lets other sockets of this user listen on the same port.
func reusePort(_, _ string, c syscall.RawConn) error {
	option := 0xf // SO_REUSEPORT, which package syscall does not name
	if strings.HasPrefix(runtime.GOARCH, "mips") {
		option = 0x200
	}
	var err error
	ctlErr := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, option, 1)
	})
	return errors.Join(ctlErr, err)
}
