package resume

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// A stream that has come to its end while another connection was made does not take that.
func TestAttachToTheEnd(t *testing.T) {
	_, accepted := pair(t, over(t, Options{}), nil)
	c := accepted.(*Conn)
	c.fail(nil)
	conn, other := net.Pipe()
	defer conn.Close()
	defer other.Close()
	require.ErrorIs(t, c.attach(newCarrier(conn), 0), net.ErrClosed)
}
