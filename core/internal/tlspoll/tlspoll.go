// Package tlspoll makes TLS connections that a poller can wait for, and that are read and
// written without waiting for the network. On systems other than Linux they are ordinary
// ones.
//
// The connection below a tls.Conn may say that nothing has arrived, by an error that is
// temporary: then the tls.Conn keeps what it has read of a record, and goes on later. And
// it may keep what the network does not take at once: then a tls.Conn never waits while it
// holds the lock of its writing half. So its Read, which has to write when the peer wants
// new keys, does not wait for a peer that does not read.
package tlspoll

import "errors"

// ErrAgain is the error of TryRead if nothing has arrived.
var ErrAgain = errors.New("tlspoll: read would block")
