//go:build unix

package tp

import (
	"errors"
	"syscall"
)

func isAddrInUse(err error) bool        { return errors.Is(err, syscall.EADDRINUSE) }
func isAddrNotAvailable(err error) bool { return errors.Is(err, syscall.EADDRNOTAVAIL) }
func isRefused(err error) bool          { return errors.Is(err, syscall.ECONNREFUSED) }

// reuseAddr lets a socket bind a local port whose last connection is closing.
func reuseAddr(_, _ string, c syscall.RawConn) error {
	var err error
	ctlErr := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	})
	return errors.Join(ctlErr, err)
}
