package kcp

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// A side that reads everything before it closes learns that the other one has not.
func TestGone(t *testing.T) {
	dialled, accepted, _ := under(keyed).Pair(t)
	a, b := dialled.(*recordConn), accepted.(*recordConn)
	b.wire.tellGone(b.sess.GetConv(), b.addr)
	_, err := a.Read(make([]byte, 1))
	require.EqualError(t, err, "the other side does not have this session any more")
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = a.Write([]byte("x"))
	require.Error(t, err)
}
