package inbox

import (
	"net"
	"syscall"
)

// Pollable is a connection that can be waited for by its descriptor. After a TryRead that
// has failed with ErrAgain nothing that could be read is left in memory: the descriptor
// becomes readable when more arrives.
type Pollable interface {
	net.Conn
	Descriptor() syscall.RawConn
	TryRead(p []byte) (int, error)
}

// Roaming is a Pollable whose descriptor is another one at times, or nil: then only TryRead
// and Read can tell what has arrived.
type Roaming interface {
	Pollable
	// Watch returns the descriptor, for a poller, and sets the function that is called when
	// it has changed, or something can be read that it does not show. The function does not
	// block, and may be called with a lock held and for nothing.
	Watch(roamed func()) syscall.RawConn
	// Roamed reports whether that is so since the last Watch.
	Roamed() bool
	// Drained reports whether the last TryRead left nothing behind, most likely.
	Drained() bool
}
