package outbox

import (
	"net"

	"github.com/teleport-go/teleport/core/internal/tlspoll"
)

// TryWriter is a connection that can be written without waiting for the network. TryWrite
// takes a part of p, at least one byte, or returns an error: ErrAgain if it takes nothing at
// the moment.
type TryWriter interface {
	net.Conn
	TryWrite(p []byte) (int, error)
}

// ErrAgain is the error of a TryWrite that takes nothing.
var ErrAgain = tlspoll.ErrAgain
