package resume

import (
	"context"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/resume/resumetest"
)

// life is two peers with a cutter between.
type life struct {
	srv, cli tp.Peer
	cut      *resumetest.Cutter
	sess     tp.Session // of the client
	other    tp.Session // of the server
	runs     atomic.Int64
	begun    chan struct{} // has a value for each run of /slow
	release  chan struct{} // ends them
}

func newLife(t *testing.T, o Options, cfg tp.PeerConfig) *life {
	t.Helper()
	l := &life{begun: make(chan struct{}, 10), release: make(chan struct{})}
	l.srv = l.newServer(t, o)
	l.cut = resumetest.NewCutter(t, tptest.Listen(t, l.srv), 0)
	streams := new(watched)
	l.cli = newWatched(t, o, cfg, streams)
	t.Cleanup(func() { streams.closeWith(t, l.cli) })
	l.sess = tptest.Dial(t, l.cli, l.cut.Addr())
	l.other = sessionOf(t, l.srv)
	return l
}

func (l *life) newServer(t *testing.T, o Options) tp.Peer {
	srv := newPeer(t, o, tp.PeerConfig{})
	tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
	tp.HandleCall(srv, "/slow", func(_ tp.CallCtx, s *string) (string, error) {
		l.runs.Add(1)
		l.begun <- struct{}{}
		<-l.release
		return *s, nil
	})
	return srv
}

// slow makes a call that lasts until release.
func (l *life) slow(t *testing.T) (reply <-chan error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		got, err := tp.Invoke[string](t.Context(), l.sess, "/slow", "hello")
		if err == nil && got != "hello" {
			err = io.ErrUnexpectedEOF
		}
		done <- err
	}()
	tptest.Receive(t, l.begun, "the call")
	return done
}

// A call that runs while the connection breaks gets its reply, and runs once.
func TestCallOutlives(t *testing.T) {
	tptest.LeakCheck(t)
	l := newLife(t, Options{}, tp.PeerConfig{})
	done := l.slow(t)
	for range 3 {
		l.cut.CutAll()
	}
	close(l.release)
	require.NoError(t, tptest.Receive(t, done, "the reply"))
	require.EqualValues(t, 1, l.runs.Load())
	require.Equal(t, 1, l.srv.CountSession())
	require.Equal(t, l.other.ID(), sessionOf(t, l.srv).ID())
}

// A connection that is closed in this process is replaced too.
func TestClosedBelow(t *testing.T) {
	tptest.LeakCheck(t)
	dialled, accepted := pair(t, over(t, Options{KeepAlive: time.Hour, IdleTimeout: time.Hour}), nil)
	c := dialled.(*Conn)
	done := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(dialled, make([]byte, 5))
		done <- err
	}()
	c.cur.Load().conn.Close()
	_, err := accepted.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, tptest.Receive(t, done, "what was written"))
}

// Sessions break when there was no connection within the Window, and say why; the client's
// begins anew.
func TestExpired(t *testing.T) {
	tptest.LeakCheck(t)
	l := newLife(t, Options{Window: 200 * time.Millisecond}, tp.PeerConfig{RedialTimes: -1, RedialInterval: time.Millisecond})
	close(l.release)
	ended := make(chan error, 1)
	go func() {
		<-l.other.CloseNotify()
		ended <- l.other.CloseReason()
	}()
	l.cut.Refuse.Store(true)
	l.cut.CutAll()
	require.ErrorIs(t, tptest.Receive(t, ended, "the end of the server's session"), ErrExpired)
	l.cut.Refuse.Store(false)
	require.Eventually(t, func() bool {
		_, err := tp.Invoke[string](t.Context(), l.sess, "/echo", "again")
		return err == nil
	}, patience, time.Millisecond)
}

// A server that was restarted does not know the stream: the verdict is fresh.
func TestFresh(t *testing.T) {
	tptest.LeakCheck(t)
	l := newLife(t, Options{}, tp.PeerConfig{})
	close(l.release)
	restarted := tptest.Listen(t, l.newServer(t, Options{}))
	l.cut.Server.Store(&restarted)
	l.cut.CutAll()
	tptest.Receive(t, l.sess.CloseNotify(), "the end of the session")
	reason := l.sess.CloseReason()
	require.ErrorIs(t, reason, ErrFresh)
	require.Equal(t, tp.SideNetwork, reason.Side)
	require.ErrorContains(t, reason, "resume: verdict fresh: the other side does not have the stream any more")
}

// A connection over which nothing arrives any more is replaced, though neither side has
// seen it end.
func TestHalfOpen(t *testing.T) {
	tptest.LeakCheck(t)
	stats := new(Stats)
	l := newLife(t, Options{KeepAlive: 50 * time.Millisecond, IdleTimeout: 300 * time.Millisecond, Stats: stats}, tp.PeerConfig{})
	done := l.slow(t)
	l.cut.Frozen.Store(true)
	close(l.release) // the reply is lost on its way
	require.Eventually(t, func() bool { return stats.Lost.Load() > 0 }, patience, time.Millisecond)
	l.cut.Frozen.Store(false)
	require.NoError(t, tptest.Receive(t, done, "the reply"))
	require.EqualValues(t, 1, l.runs.Load())
}

// Closing a session tells the other side at once, also if the connection has just broken.
func TestClose(t *testing.T) {
	for _, test := range []struct {
		name string
		cut  bool
	}{{"connected", false}, {"cut", true}} {
		t.Run(test.name, func(t *testing.T) {
			tptest.LeakCheck(t)
			l := newLife(t, Options{}, tp.PeerConfig{})
			close(l.release)
			tptest.Echo(t, l.sess, "before")
			if test.cut {
				l.cut.CutAll()
			}
			require.NoError(t, l.sess.Close())
			tptest.Receive(t, l.other.CloseNotify(), "the end of the other session")
			require.Equal(t, tp.SideRemote, l.other.CloseReason().Side)
		})
	}
}

// Close ends the writing of the other side too, which does not look for a connection then.
func TestCloseEndsWriting(t *testing.T) {
	tptest.LeakCheck(t)
	stats := new(Stats)
	dialled, accepted := pair(t, over(t, Options{Stats: stats}), nil)
	require.NoError(t, dialled.Close())
	_, err := accepted.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	tptest.Receive(t, accepted.(*Conn).over, "the end of the stream")
	_, err = accepted.Write([]byte("x"))
	require.ErrorIs(t, err, net.ErrClosed)
	require.Zero(t, stats.Lost.Load())
}

// Deadlines hold also while there is no connection, and what was written goes out later.
func TestLostDeadlines(t *testing.T) {
	tptest.LeakCheck(t)
	var cut *resumetest.Cutter
	dialled, accepted := pair(t, over(t, Options{Buffer: leastBuffer}), func(addr string) string {
		cut = resumetest.NewCutter(t, addr, 0)
		return cut.Addr()
	})
	cut.Refuse.Store(true)
	cut.CutAll()
	c := dialled.(*Conn)
	awaitLost(t, c)
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	data := make([]byte, 2*leastBuffer)
	pattern(data, 1, 0)
	c.SetWriteDeadline(time.Now().Add(time.Second))
	n, err := c.Write(data)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Greater(t, n, leastBuffer/2)
	require.Less(t, n, len(data))
	cut.Refuse.Store(false)
	got := make([]byte, n)
	_, err = io.ReadFull(accepted, got)
	require.NoError(t, err)
	require.Equal(t, data[:n], got)
	c.SetDeadline(time.Time{})
	_, err = accepted.Write([]byte("x"))
	require.NoError(t, err)
	_, err = c.Read(got[:1])
	require.NoError(t, err)
	closeBoth(t, c, accepted)
}

// A side that writes without reading goes on as long as the other one reads: the
// acknowledgements lie behind what it does not read.
func TestWriteWithoutRead(t *testing.T) {
	for _, test := range []struct {
		name string
		d    tp.DialConfig
		l    tp.ListenConfig
	}{
		{"tcp", tp.DialConfig{}, tp.ListenConfig{}},
		{"tls", tp.DialConfig{TLS: tp.GenerateTLSConfigForClient()}, tp.ListenConfig{TLS: tp.GenerateTLSConfigForServer()}},
	} {
		t.Run(test.name, func(t *testing.T) {
			tptest.LeakCheck(t)
			n := over(t, Options{Buffer: leastBuffer})
			test.l.LocalIP = "127.0.0.1"
			lis, err := n.Listen(t.Context(), test.l)
			require.NoError(t, err)
			defer lis.Close()
			test.d.Addr = lis.Addr().String()
			writer, err := n.Dial(t.Context(), test.d)
			require.NoError(t, err)
			defer writer.Close()
			reader, err := lis.Accept()
			require.NoError(t, err)
			defer reader.Close()
			const size, unread = 2 << 20, 100_000
			done := make(chan error, 2)
			go func() { done <- readPattern(reader, 1, size) }()
			b := make([]byte, unread)
			pattern(b, 2, 0)
			_, err = reader.Write(b)
			require.NoError(t, err)
			go func() { done <- writePattern(writer, 1, size) }()
			require.NoError(t, tptest.Receive(t, done, "the end of the writing"))
			require.NoError(t, tptest.Receive(t, done, "the end of the reading"))
			got := make([]byte, unread)
			_, err = io.ReadFull(writer, got)
			require.NoError(t, err)
			require.Equal(t, b, got)
		})
	}
}

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		o    Options
		want string
	}{
		{Options{Buffer: 1000}, "resume: Options.Buffer is 1000; at least 131072 bytes are needed"},
		{Options{Window: -1}, "resume: a negative number in Options"},
	} {
		n := over(t, test.o)
		_, err := n.Dial(t.Context(), tp.DialConfig{Addr: "127.0.0.1:1"})
		require.EqualError(t, err, test.want)
		_, err = n.Listen(t.Context(), tp.ListenConfig{})
		require.EqualError(t, err, "tp: listen: "+test.want)
	}
}

// The error of Dial says what the other side has sent that is no preamble.
func TestDialErrors(t *testing.T) {
	tptest.LeakCheck(t)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer lis.Close()
	say := make(chan string, 1)
	go func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			io.ReadFull(c, make([]byte, preambleSize))
			if text := <-say; text != "" {
				io.WriteString(c, text)
				io.Copy(io.Discard, c)
			}
			c.Close()
		}
	}()
	n := over(t, Options{})
	dial := func(limit time.Duration) error {
		_, err := n.Dial(t.Context(), tp.DialConfig{Addr: lis.Addr().String(), HandshakeTimeout: limit})
		return err
	}
	say <- "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
	require.EqualError(t, dial(patience), `the other side does not speak resume: its first bytes are "HTTP/1.1 400 Bad Request\r\nConnec"`)
	say <- ""
	require.EqualError(t, dial(patience), "the other side does not speak resume: it has closed the connection after the preamble")
	say <- "tpr"
	require.ErrorIs(t, dial(200*time.Millisecond), context.DeadlineExceeded)
}

// Close keeps the connection for what was written before, also when the other side's direction
// has ended: nothing could resume the stream of a listener that is closed.
func TestCloseAfterEnd(t *testing.T) {
	tptest.LeakCheck(t)
	stats := new(Stats)
	lis := listenWith(t, Options{Stats: stats}, nil)
	dialled, err := over(t, Options{}).Dial(t.Context(), tp.DialConfig{Addr: lis.Addr().String()})
	require.NoError(t, err)
	defer dialled.Close()
	accepted := accept(t, lis)
	require.NoError(t, dialled.(*Conn).CloseWrite())
	_, err = accepted.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, lis.Close())
	data := make([]byte, 900_000)
	pattern(data, 1, 0)
	_, err = accepted.Write(data)
	require.NoError(t, err)
	require.NoError(t, accepted.Close())
	got, err := io.ReadAll(dialled)
	require.NoError(t, err)
	require.Equal(t, len(data), len(got))
	require.Equal(t, data, got)
	tptest.Receive(t, accepted.over, "the end of the stream")
	require.Zero(t, stats.Expired.Load())
}
