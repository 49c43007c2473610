//go:build unix

package resume

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// dup returns another descriptor of a connection, as another process gets one.
func dup(t testing.TB, conn net.Conn) net.Conn {
	t.Helper()
	if conn == nil {
		return nil
	}
	f, err := conn.(*net.TCPConn).File()
	require.NoError(t, err)
	defer f.Close()
	same, err := net.FileConn(f)
	require.NoError(t, err)
	return same
}

// handOver hands a stream to a listener that stands for the new process. Like the engine it tries
// again while a connection takes the place of another one: that lasts a moment longer than the
// stream needs to go on.
func handOver(t testing.TB, c *Conn, to *Listener) tp.HandOverConn {
	t.Helper()
	var state []byte
	var below net.Conn
	var err error
	require.Eventually(t, func() bool { state, below, err = c.Save(); return err != errSwapping }, patience, time.Millisecond)
	require.NoError(t, err)
	next, err := to.Restore(state, dup(t, below))
	require.NoError(t, err)
	c.Settle(false)
	next.Settle(true)
	return next
}

// What a stream has taken crosses, and what it has written is not written again, though the
// other side does not read: whether the stream moves, or stays after all.
func TestHandOverOfAStreamThatWrites(t *testing.T) {
	tptest.LeakCheck(t)
	for _, test := range []struct {
		name string
		move func(t *testing.T, c *Conn) net.Conn
	}{
		{"moves", func(t *testing.T, c *Conn) net.Conn { return handOver(t, c, listenWith(t, Options{}, nil)) }},
		{"moves to a smaller buffer", func(t *testing.T, c *Conn) net.Conn {
			return handOver(t, c, listenWith(t, Options{Buffer: leastBuffer}, nil))
		}},
		{"stays", func(t *testing.T, c *Conn) net.Conn {
			state, below, err := c.Save()
			require.NoError(t, err)
			next, err := listenWith(t, Options{}, nil).Restore(state, dup(t, below))
			require.NoError(t, err)
			next.Settle(false)
			c.Settle(true)
			return c
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dialled, accepted := pair(t, over(t, Options{}), nil)
			accepted.(*Conn).cur.Load().conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
			want := make([]byte, 1_000_000)
			pattern(want, 1, 0)
			_, err := accepted.Write(want)
			require.NoError(t, err)
			end := []byte("and on")
			moved := test.move(t, accepted.(*Conn))
			got := make(chan []byte)
			go func() {
				b := make([]byte, len(want)+len(end))
				_, err := io.ReadFull(dialled, b)
				if err != nil {
					t.Error(err)
				}
				got <- b
			}()
			_, err = moved.Write(end)
			require.NoError(t, err)
			b := <-got
			require.True(t, bytes.Equal(append(want, end...), b), "the bytes are wrong")
			_, err = dialled.Write(end)
			require.NoError(t, err)
			_, err = io.ReadFull(moved, b[:len(end)])
			require.NoError(t, err)
			require.Equal(t, string(end), string(b[:len(end)]))
			require.NoError(t, moved.Close())
		})
	}
}
