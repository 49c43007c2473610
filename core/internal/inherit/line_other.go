//go:build !unix

package inherit

import (
	"errors"
	"net"
	"os"
)

func sendWith(*net.UnixConn, []byte, int) (int, error) { return 0, errors.ErrUnsupported }

func receiveWith(*net.UnixConn, []byte) (*os.File, int, error) { return nil, 0, errors.ErrUnsupported }

func isOpen(*net.UnixConn) bool { return false }
