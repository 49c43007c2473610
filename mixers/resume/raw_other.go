//go:build !unix

package resume

import (
	"net"
	"syscall"
)

// rawConn does not exist here: a goroutine reads each connection, and another writes.
type rawConn struct{}

func newRaw(net.Conn) *rawConn { return nil }

func (*rawConn) read([]byte) (int, error)           { return 0, errAgain }
func (*rawConn) write([]byte) (int, error)          { return 0, errAgain }
func (*rawConn) waitRead(func(uintptr) bool) error  { return errAgain }
func (*rawConn) waitWrite(func(uintptr) bool) error { return errAgain }
func (*rawConn) readable() bool                     { return false }
func (*rawConn) descriptor() syscall.RawConn        { return nil }
