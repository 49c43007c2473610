package websocket

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/core/socket"
)

// TestInterrupted: in a stream the connection may be interrupted at each byte. The message
// arrives, here or in the process that goes on with the stream. Only one that has arrived in a
// part of its fragments keeps the connection where it is.
func TestInterrupted(t *testing.T) {
	pf := newProtoFunc(link{name: SubRaw, stream: true}, builtIn(SubRaw).New)
	m := socket.NewMessage(socket.WithMtype(socket.TypePush), socket.WithServiceMethod("/push"), socket.WithBody([]byte("hello")))
	frame, err := pf(closedConn{}).(*appender).AppendFrame(nil, m)
	require.NoError(t, err)
	payload := frame[2:]
	fragment := func(op byte, b []byte) []byte { return append([]byte{op, byte(len(b))}, b...) }
	first := fragment(opBinary, payload[:7])
	for name, test := range map[string]struct {
		bytes    []byte
		from, to int // where it stays
	}{
		"message":                {frame, len(frame), 0},
		"message behind a ping":  {append(appendControl(nil, opPing, []byte("hi"), false), frame...), 1000, 0},
		"message in fragments":   {append(first, fragment(0x80|opContinuation, payload[7:])...), len(first), 1000},
		"with one without bytes": {append(fragment(opBinary, nil), fragment(0x80|opContinuation, payload)...), 2, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			for at := range test.bytes {
				c, conn, far := interruptible(t, pf)
				c.Unread(test.bytes[:at])
				require.True(t, c.Repeats())
				require.NoError(t, conn.SetReadDeadline(longAgo))
				for {
					var m socket.Envelope
					if err := c.ReadInto(&m); err != nil {
						require.ErrorIs(t, err, os.ErrDeadlineExceeded)
						break
					}
					require.Equal(t, socket.TypeControl, m.Mtype(), "the ping")
				}
				require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
				state, err := c.AppendState(nil)
				if stays := at >= test.from && at < test.to; stays {
					require.ErrorIs(t, err, errFragments, "at %d", at)
				} else {
					require.NoError(t, err, "at %d", at)
					next, _, _ := interruptible(t, pf)
					require.NoError(t, next.Restore(state))
					next.Unread(append(c.AppendUnread(nil), test.bytes[at:]...))
					wantPush(t, next)
				}
				go far.Write(test.bytes[at:])
				wantPush(t, c)
			}
		})
	}
	other, _, _ := interruptible(t, newProtoFunc(link{name: SubRaw}, builtIn(SubRaw).New))
	require.False(t, other.Repeats(), "a connection that is no stream")
}

// interruptible makes a connection, to which nothing is sent.
func interruptible(t *testing.T, pf socket.ProtoFunc) (c *socket.Conn, near, far net.Conn) {
	near, far = net.Pipe()
	near.SetReadDeadline(time.Now().Add(time.Minute))
	t.Cleanup(func() { near.Close(); far.Close() })
	go io.Copy(io.Discard, far) // pongs
	return socket.NewConn(near, pf, socket.Options{}), near, far
}

func wantPush(t *testing.T, c *socket.Conn) {
	t.Helper()
	for {
		var m socket.Envelope
		require.NoError(t, c.ReadInto(&m))
		if m.Mtype() == socket.TypePush {
			require.Equal(t, "/push", m.ServiceMethod())
			return
		}
	}
}

// TestStreamCrosses: the state of a stream is for a stream alone.
func TestStreamCrosses(t *testing.T) {
	for _, stream := range []bool{false, true} {
		pf := func(stream bool) *appender {
			return newProtoFunc(link{name: SubJSON, stream: stream}, builtIn(SubJSON).New)(closedConn{}).(*appender)
		}
		state, err := pf(stream).AppendState(nil)
		require.NoError(t, err)
		require.NoError(t, pf(stream).Restore(state))
		require.ErrorIs(t, pf(!stream).Restore(state), errOneStream)
	}
}
