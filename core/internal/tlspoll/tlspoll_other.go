//go:build !linux

package tlspoll

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
)

// Conn does not exist on this system.
type Conn struct{}

// Server is tls.Server.
func Server(conn net.Conn, cfg *tls.Config) *tls.Conn { return tls.Server(conn, cfg) }

// Client is tls.Client.
func Client(conn net.Conn, cfg *tls.Config) *tls.Conn { return tls.Client(conn, cfg) }

// Of returns nil.
func Of(net.Conn) *Conn { return nil }

// Descriptor returns nil.
func (*Conn) Descriptor() syscall.RawConn { return nil }

// TryRead fails.
func (*Conn) TryRead([]byte) (int, error) { return 0, errors.ErrUnsupported }

// Seal fails.
func (*Conn) Seal([]byte) error { return errors.ErrUnsupported }

// Send fails.
func (*Conn) Send(bool) (bool, error) { return false, errors.ErrUnsupported }
