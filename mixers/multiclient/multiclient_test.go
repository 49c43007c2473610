package multiclient

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// rig is a server whose calls of /wait wait, and a client of it.
type rig struct {
	*MultiClient
	network *tptest.Network
	srv     tp.Peer
	addr    string
	entered chan string   // arguments of the calls of /wait that have begun
	reply   chan struct{} // a value lets one reply; closed: all
	pushed  chan string
}

func newRig(t *testing.T, quota int, cfg tp.PeerConfig, opts ...tptest.NetworkOption) *rig {
	r := &rig{network: tptest.NewNetwork(opts...), entered: make(chan string, 1000), reply: make(chan struct{}, 1000), pushed: make(chan string, 1000)}
	cfg.Network = r.network.Register(t)
	r.srv = tptest.NewPeer(t, tp.PeerConfig{Network: cfg.Network})
	tp.HandleCall(r.srv, "/echo", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
	tp.HandleCall(r.srv, "/wait", func(ctx tp.CallCtx, s *string) (string, error) {
		r.entered <- *s
		select {
		case <-r.reply:
		case <-ctx.Context().Done():
		}
		return *s, nil
	})
	tp.HandlePush(r.srv, "/note", func(_ tp.PushCtx, s *string) error { r.pushed <- *s; return nil })
	r.addr = tptest.Listen(t, r.srv)
	r.MultiClient = New(tptest.NewPeer(t, cfg), r.addr, quota, time.Minute)
	t.Cleanup(func() { r.Close() })
	return r
}

func (r *rig) echo(t *testing.T, text string) {
	t.Helper()
	var got string
	require.Nil(t, r.Call("/echo", text, &got).Rerror())
	require.Equal(t, text, got)
}

// wait begins a call that waits.
func (r *rig) wait(t *testing.T) tp.CallCmd {
	t.Helper()
	cmd := r.AsyncCall("/wait", "wait", new(string), make(chan tp.CallCmd, 1))
	<-r.entered
	require.Nil(t, cmd.Rerror())
	return cmd
}

// inBubble runs a test by the clock of a bubble.
func inBubble(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

func TestSessions(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		tptest.LeakCheck(t)
		r := newRig(t, 3, tp.PeerConfig{})
		require.Equal(t, Stats{}, r.Stats(), "nothing is dialled before the first call")
		for range 10 {
			r.echo(t, "one after the other")
		}
		require.Equal(t, Stats{Worker: 1, Idle: 1, Created: 1, Done: 10}, r.Stats())

		var cmds []tp.CallCmd
		for i := range 8 {
			cmds = append(cmds, r.wait(t))
			require.EqualValues(t, min(i+1, 3), r.Stats().Worker)
		}
		require.Equal(t, Stats{Worker: 3, Created: 3, Doing: 8, Done: 10, MaxLoad: 3, MinLoad: 2}, r.Stats())
		require.Equal(t, 3, r.srv.CountSession())
		close(r.reply)
		for _, cmd := range cmds {
			_, rerr := cmd.Reply()
			require.Nil(t, rerr)
		}
		synctest.Wait()
		require.Equal(t, Stats{Worker: 3, Idle: 3, Created: 3, Done: 18}, r.Stats())
		require.Equal(t, r.addr, r.Addr())
		require.NotNil(t, r.Peer())
	})
}

// tp.Invoke takes a MultiClient, and its context bounds the wait for a dial too.
func TestInvoke(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, tp.PeerConfig{}, tptest.Latency(time.Second))
		got, err := tp.Invoke[string](t.Context(), r.MultiClient, "/echo", "hello")
		require.NoError(t, err)
		require.Equal(t, "hello", got)
		r.network.CutAll()
		r.network.Partition(true)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = tp.Invoke[string](ctx, r.MultiClient, "/echo", "hello")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		r.network.Partition(false)
	})
}

// A session is idle once its reply is in, and idle time counts from there.
func TestIdle(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 2, tp.PeerConfig{})
		r.echo(t, "idle time begins")
		first, second := r.wait(t), r.wait(t)
		time.Sleep(10 * time.Minute)
		require.EqualValues(t, 2, r.Stats().Worker, "a session with a call under way was closed")
		r.reply <- struct{}{}
		r.reply <- struct{}{}
		<-first.Done()
		<-second.Done()
		time.Sleep(30 * time.Second)
		r.echo(t, "again")
		time.Sleep(40 * time.Second)
		require.Equal(t, int32(1), r.Stats().Worker, "the session that was not used again is closed")
		require.Equal(t, 1, r.srv.CountSession())
		time.Sleep(time.Minute)
		require.Equal(t, int32(0), r.Stats().Worker)
		require.Equal(t, 0, r.srv.CountSession())
		r.echo(t, "a new one")
		require.EqualValues(t, 3, r.Stats().Created)
	})
}

// A caller that waits for a dial takes a session that becomes idle before.
func TestFreedBeforeDialled(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 2, tp.PeerConfig{}, tptest.Latency(time.Second))
		cmd := r.wait(t)
		r.network.Partition(true) // the second dial hangs
		done := make(chan *tp.Rerror, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			done <- r.Call("/echo", "x", nil, tp.WithContext(ctx)).Rerror()
		}()
		synctest.Wait()
		r.network.Partition(false)
		r.reply <- struct{}{}
		<-cmd.Done()
		require.Nil(t, <-done)
	})
}

func TestFailures(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		tptest.LeakCheck(t)
		r := newRig(t, 2, tp.PeerConfig{})
		r.network.Refuse(r.addr, 4)
		rerr := r.Call("/echo", "x", nil).Rerror()
		require.EqualValues(t, tp.CodeDialFailed, rerr.Code)
		require.EqualValues(t, tp.CodeDialFailed, r.Push("/note", "x").Code)
		cmd := r.AsyncCall("/echo", "x", nil, nil) // does not block
		require.EqualValues(t, tp.CodeDialFailed, cmd.Rerror().Code)
		cmds := make(chan tp.CallCmd, 1)
		cmd = r.AsyncCall("/echo", "x", nil, cmds)
		require.Same(t, cmd, <-cmds)

		full := make(chan tp.CallCmd, 1)
		full <- cmd
		r.network.Refuse(r.addr, 1)
		r.AsyncCall("/echo", "x", nil, full) // does not block either
		<-full
		require.EqualValues(t, tp.CodeDialFailed, (<-full).Rerror().Code)
		require.PanicsWithValue(t, "multiclient: AsyncCall: callCmdChan channel is unbuffered", func() {
			r.AsyncCall("/echo", "x", nil, make(chan tp.CallCmd))
		})
		r.echo(t, "the server is back")

		busy := r.wait(t)
		r.network.Refuse(r.addr, 1)
		r.echo(t, "over the loaded session, since there is no other")
		require.EqualValues(t, 1, r.Stats().Worker)
		r.reply <- struct{}{}
		<-busy.Done()
	})
}

// A session that has ended is replaced.
func TestReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 2, tp.PeerConfig{})
		r.echo(t, "before")
		r.network.CutAll()
		synctest.Wait()
		r.echo(t, "after")
		require.Equal(t, Stats{Worker: 1, Idle: 1, Created: 2, Done: 2}, r.Stats())
	})
}

func TestContext(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, tp.PeerConfig{}, tptest.Latency(time.Second))
		r.network.Partition(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		rerr := r.Call("/echo", "x", nil, tp.WithContext(ctx)).Rerror()
		require.ErrorIs(t, rerr.Err(), context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(begun))
		require.Empty(t, r.waiters)
		r.network.Partition(false)
	})
}

// Close ends dials and those who wait for them, and waits for the calls under way.
func TestClose(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		tptest.LeakCheck(t)
		r := newRig(t, 3, tp.PeerConfig{}, tptest.Latency(time.Millisecond))
		cmd := r.wait(t)
		r.network.Partition(true)
		errs := make(chan *tp.Rerror, 2)
		for range 2 {
			go func() { errs <- r.Call("/echo", "x", nil).Rerror() }()
		}
		synctest.Wait()
		require.Len(t, r.waiters, 2)
		closed := make(chan error, 2)
		for range 2 {
			go func() { closed <- r.Close() }()
		}
		for range 2 {
			rerr := <-errs
			require.EqualValues(t, tp.CodeConnClosed, rerr.Code)
			require.ErrorIs(t, rerr.Err(), ErrClosed)
		}
		synctest.Wait()
		require.Empty(t, closed, "a call is under way")
		r.network.Partition(false)
		r.reply <- struct{}{}
		require.NoError(t, <-closed)
		require.NoError(t, <-closed)
		require.Nil(t, cmd.Rerror())
		require.ErrorIs(t, r.Call("/echo", "x", nil).Rerror().Err(), ErrClosed)
		require.ErrorIs(t, r.Push("/note", "x").Err(), ErrClosed)
		require.ErrorIs(t, r.AsyncCall("/echo", "x", nil, nil).Rerror().Err(), ErrClosed)
		require.Equal(t, Stats{Created: 1, Done: 1}, r.Stats())
	})
}

// Large messages are spread over sessions, and small ones then use one of them.
func TestLargeMessages(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 4, tp.PeerConfig{}, tptest.Bandwidth(1<<20))
		big := strings.Repeat("x", 1<<20)
		begun := time.Now()
		for range 4 {
			go func() { r.Push("/note", big) }()
		}
		for range 4 {
			require.Len(t, <-r.pushed, len(big))
		}
		require.EqualValues(t, 4, r.Stats().Worker)
		require.Less(t, time.Since(begun), 2*time.Second, "one after the other they take 4 seconds")
		for i := range 100 {
			require.Nil(t, r.Push("/note", fmt.Sprint(i)))
			<-r.pushed
		}
		require.EqualValues(t, 4, r.Stats().Worker)
		require.EqualValues(t, 4, r.Stats().Created)
	})
}

// The counts are right at the end of anything.
func TestStress(t *testing.T) {
	tptest.LeakCheck(t)
	r := newRig(t, 4, tp.PeerConfig{})
	close(r.reply)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			for range 200 {
				switch rnd.IntN(20) {
				case 0:
					r.network.CutAll()
				case 1, 2:
					r.Push("/note", "x")
				case 3, 4, 5:
					cmd := r.AsyncCall("/echo", "x", new(string), nil)
					if rnd.IntN(2) == 0 {
						<-cmd.Done()
					}
				case 6:
					r.Stats()
				default:
					r.Call("/echo", "x", new(string))
				}
			}
		})
	}
	for range len(r.pushed) {
		<-r.pushed
	}
	wg.Wait()
	require.Eventually(t, func() bool { return r.Stats().Doing == 0 }, 30*time.Second, time.Millisecond)
	s := r.Stats()
	require.LessOrEqual(t, s.Worker, int32(4))
	require.Equal(t, s.Worker, s.Idle)
	r.Close()
	require.Zero(t, r.Stats().Worker)
}

func TestDefaults(t *testing.T) {
	c := New(nil, "x", 0, 0)
	require.Equal(t, 64, c.quota)
	require.Equal(t, 3*time.Minute, c.maxIdle)
	require.NoError(t, c.Close())
}
