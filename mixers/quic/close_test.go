package quic

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/tptest"
)

// pair returns the two ends of a connection.
func pair(t *testing.T) (dialled, accepted *Conn) {
	a, b, _ := under(Options{}).Pair(t)
	return a.(*Conn), b.(*Conn)
}

// A connection whose ends have closed ends in order, for QUIC too.
func TestCloseCode(t *testing.T) {
	a, b := pair(t)
	go func() { io.Copy(io.Discard, b); b.Close() }()
	a.CloseWrite()
	require.NoError(t, a.Close())
	tptest.Receive(t, b.ended, "the end of the accepted connection")
	require.ErrorContains(t, context.Cause(b.conn.Context()), "Application error 0x0 (remote)")
}

// The other side learns that bytes were lost.
func TestCloseTellsOfLoss(t *testing.T) {
	a, b := pair(t)
	b.conn.CloseWithError(codeBroken, "a test")
	_, err := a.Read(make([]byte, 1))
	require.ErrorContains(t, err, "the other side has ended the connection: a test")
	require.NotErrorIs(t, err, io.EOF)
	require.ErrorIs(t, err, net.ErrClosed)
}
