//go:build !(linux || darwin)

package outbox

import "net"

// rawWriter is not used on this system: every connection is written by its Write.
type rawWriter struct{}

func (*rawWriter) usable() bool { return false }

func (*rawWriter) init(net.Conn) bool { return false }

func (*rawWriter) write(net.Conn, []byte, bool) (int, error) { return 0, errAgain }

func (*rawWriter) mayTakeMore() bool { return false }
