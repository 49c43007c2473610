//go:build unix

package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/resume/resumetest"
)

// successor makes a listener that stands for the new process: it hands back to old what it
// does not know.
func successor(t *testing.T, old *Listener, cfg *tls.Config) *Listener {
	t.Helper()
	lis, err := over(t, Options{}).Listen(t.Context(), tp.ListenConfig{
		LocalIP: "127.0.0.1", TLS: cfg, HandshakeTimeout: patience,
		HandBack: func(_ context.Context, state []byte, conn net.Conn) error {
			var same net.Conn
			if _, ok := conn.(*net.TCPConn); ok {
				same = dup(t, conn)
			}
			take, err := old.TakeBack(state, same)
			if err != nil {
				if same != nil {
					same.Close()
				}
				return err
			}
			go take()
			return nil
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { lis.Close() })
	return lis.(*Listener)
}

// exchange sends bytes both ways.
func exchange(t *testing.T, a, b net.Conn) {
	t.Helper()
	for range 2 {
		_, err := a.Write([]byte("hello"))
		require.NoError(t, err)
		got := make([]byte, 5)
		_, err = io.ReadFull(b, got)
		require.NoError(t, err)
		require.Equal(t, "hello", string(got))
		a, b = b, a
	}
}

// A stream of the old process goes on there by connections that the new one accepts, also
// when the old one has closed its listener; it moves later, and is found there.
func TestHandBack(t *testing.T) {
	tptest.LeakCheck(t)
	for _, test := range []struct {
		name           string
		server, client *tls.Config
	}{
		{"tcp", nil, nil},
		{"tls", tp.GenerateTLSConfigForServer(), tp.GenerateTLSConfigForClient()}, // no connection crosses: the client comes again
	} {
		t.Run(test.name, func(t *testing.T) {
			old := listenWith(t, Options{}, test.server)
			next := successor(t, old, test.server)
			stats := new(Stats)
			cut := resumetest.NewCutter(t, old.Addr().String(), 0)
			dialled, err := over(t, Options{Stats: stats, KeepAlive: 20 * time.Millisecond}).Dial(t.Context(), tp.DialConfig{Addr: cut.Addr(), TLS: test.client})
			require.NoError(t, err)
			defer dialled.Close()
			accepted := accept(t, old)
			exchange(t, dialled, accepted)
			addr := next.Addr().String()
			cut.Server.Store(&addr)
			old.Replaced()
			for i := range 3 {
				if i == 2 {
					require.NoError(t, old.Close())
				}
				cut.CutAll()
				if test.server == nil {
					exchange(t, accepted, dialled)
				} else {
					require.Eventually(t, func() bool { return cut.Cuts.Load() > int64(2*i+2) }, patience, time.Millisecond)
				}
			}
			moved := handOver(t, accepted, next)
			defer moved.Close()
			exchange(t, moved, dialled)
			cut.CutAll()
			exchange(t, dialled, moved)
			require.Positive(t, stats.Resumed.Load())
			closeBoth(t, dialled, moved)
		})
	}
}

// What the old process refuses gets its verdict, by the process that has accepted it.
func TestHandBackRefused(t *testing.T) {
	tptest.LeakCheck(t)
	old := listenWith(t, Options{}, nil)
	next := successor(t, old, nil)
	dialled, err := over(t, Options{}).Dial(t.Context(), tp.DialConfig{Addr: old.Addr().String()})
	require.NoError(t, err)
	defer dialled.Close()
	accepted := accept(t, old)
	for _, test := range []struct {
		name     string
		question preamble
		want     verdict
	}{
		{"unknown", preamble{token: token{1}}, verdictUnknown},
		{"position", preamble{token: accepted.token, received: 1 << 20}, verdictPosition},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, answer := ask(t, next.Addr().String(), nil, test.question)
			require.Equal(t, preamble{sent: uint64(test.want)}, answer)
		})
	}
	exchange(t, dialled, accepted)
	_, err = old.TakeBack([]byte("garbage"), nil)
	require.ErrorIs(t, err, errNoPreamble)
}

// A connection that the old process has accepted, for a stream that has moved since, gets no
// verdict: its other side comes again, and finds the new process. If that has ended, and the
// old process accepts again, it is the verdict fresh.
func TestConnectionOfAMovedStream(t *testing.T) {
	tptest.LeakCheck(t)
	old := listenWith(t, Options{}, nil)
	next := listenWith(t, Options{}, nil)
	dialled, err := over(t, Options{}).Dial(t.Context(), tp.DialConfig{Addr: old.Addr().String()})
	require.NoError(t, err)
	defer dialled.Close()
	accepted := accept(t, old)
	exchange(t, dialled, accepted)
	question := preamble{token: accepted.token, sent: accepted.question().received, received: accepted.question().sent}

	early, err := net.Dial("tcp", old.Addr().String())
	require.NoError(t, err)
	defer early.Close()
	require.Eventually(t, func() bool { old.mu.Lock(); defer old.mu.Unlock(); return old.shaking.Len() == 1 }, patience, time.Millisecond)
	state, below, err := accepted.Save()
	require.NoError(t, err)
	during := make(chan verdict) // a connection that waits for the end of the move
	during2, other := net.Pipe()
	defer other.Close()
	go func() { during <- accepted.takeOver(during2, question, nil) }()
	moved, err := next.Restore(state, dup(t, below))
	require.NoError(t, err)
	accepted.Settle(false)
	moved.Settle(true)
	defer moved.Close()
	require.Zero(t, <-during)
	_, err = other.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)

	_, err = early.Write(question.append(nil))
	require.NoError(t, err)
	require.NoError(t, early.SetReadDeadline(time.Now().Add(patience)))
	_, err = early.Read(make([]byte, 1))
	require.Error(t, err)
	require.False(t, errors.Is(err, context.DeadlineExceeded), "%v", err)
	exchange(t, dialled, moved)

	old.mu.Lock()
	old.gone[accepted.token.hash()] = time.Now()
	old.mu.Unlock()
	_, answer := ask(t, old.Addr().String(), nil, question)
	require.Equal(t, preamble{sent: uint64(verdictUnknown)}, answer)
}

// What cannot be handed over stays, and goes on.
func TestSaveFails(t *testing.T) {
	tptest.LeakCheck(t)
	dialled, accepted := pair(t, over(t, Options{}), nil)
	_, _, err := dialled.(*Conn).Save()
	require.ErrorIs(t, err, errDialled)
	c := accepted.(*Conn)
	c.swap.Lock()
	_, _, err = c.Save()
	c.swap.Unlock()
	require.ErrorIs(t, err, errSwapping)
	exchange(t, dialled, accepted)
	require.NoError(t, c.CloseWrite())
	_, _, err = c.Save()
	require.ErrorIs(t, err, errEnding)
	_, err = dialled.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
}

// A stream that another process must not have is not made of what has crossed.
func TestRestoreFails(t *testing.T) {
	tptest.LeakCheck(t)
	_, accepted := pair(t, over(t, Options{}), nil)
	c := accepted.(*Conn)
	state, below, err := c.Save()
	require.NoError(t, err)
	defer c.Settle(true)

	lis := listenWith(t, Options{}, nil)
	first, err := lis.Restore(state, dup(t, below))
	require.NoError(t, err)
	conn := dup(t, below)
	defer conn.Close()
	_, err = lis.Restore(state, conn)
	require.ErrorIs(t, err, errKnown)
	first.Settle(false)
	require.Empty(t, lis.streams)
	_, err = listenWith(t, Options{}, tp.GenerateTLSConfigForServer()).Restore(state, conn)
	require.ErrorContains(t, err, "only one of the two processes runs TLS")
	closed := listenWith(t, Options{}, nil)
	require.NoError(t, closed.Close())
	_, err = closed.Restore(state, conn)
	require.ErrorIs(t, err, errNoListener)
	pipe, other := net.Pipe()
	defer other.Close()
	_, err = lis.Restore(state, pipe)
	require.ErrorIs(t, err, errRawNeeded)
}

// A stream that is closed while it is being handed over closes if it stays.
func TestCloseDuringSave(t *testing.T) {
	tptest.LeakCheck(t)
	dialled, accepted := pair(t, over(t, Options{}), nil)
	c := accepted.(*Conn)
	_, _, err := c.Save()
	require.NoError(t, err)
	require.NoError(t, c.Close())
	c.Settle(true)
	_, err = dialled.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
}

// Streams that come without a connection, as all do over TLS, are not too many, and end with
// the listener.
func TestStreamsThatCome(t *testing.T) {
	tptest.LeakCheck(t)
	old := listenWith(t, Options{}, nil)
	next := listenWith(t, Options{MaxLost: 1}, nil)
	var moved []*Conn
	for range 3 {
		dialled, err := over(t, Options{}).Dial(t.Context(), tp.DialConfig{Addr: old.Addr().String()})
		require.NoError(t, err)
		defer dialled.(*Conn).fail(net.ErrClosed) // Close would wait for the other side, which is gone
		c := accept(t, old)
		exchange(t, dialled, c)
		c.lose(c.cur.Load(), io.EOF)
		moved = append(moved, handOver(t, c, next).(*Conn))
	}
	for _, c := range moved {
		require.Nil(t, c.Descriptor())
		require.False(t, isClosed(c.over))
	}
	require.NoError(t, next.Close())
	for _, c := range moved {
		tptest.Receive(t, c.over, "the end of a stream that nothing can resume")
	}
	require.Eventually(t, func() bool { next.mu.Lock(); defer next.mu.Unlock(); return len(next.comes) == 0 }, patience, time.Millisecond)
}
