package tp

import (
	"context"
	"errors"
	"net"
	"os"
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
