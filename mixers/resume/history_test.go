package resume

import (
	"context"
	"flag"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// The long round: go test -run TestHistory -timeout 0 . -args -cuts 10000
var cuts = flag.Int64("cuts", 200, "how often TestHistory cuts the connection")

// operation is an input of the model: a call that counts, or a push that counts and has a
// number of its own.
type operation struct {
	push bool
	n    int
}

// counts is the state of the model: a counter that all operations of a direction increment,
// and the number of the last push.
type counts struct{ all, push int }

// counter is a model of one direction of a session. The output of an operation is what the
// counter was then. An operation that runs twice, or not at all, leaves a gap; one that
// overtakes another is not linearizable.
func counter(begin counts) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return begin },
		Step: func(state, input, output any) (bool, any) {
			s, in := state.(counts), input.(operation)
			s.all++
			if in.push {
				s.push++
				if s.push != in.n {
					return false, s
				}
			}
			return s.all == output.(int), s
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprint(input, output) },
	}
}

// counting is the handlers of one side, and the history of what the other side sends it.
type counting struct {
	begun time.Time
	all   atomic.Int64

	mu      sync.Mutex
	pushed  map[int]int64 // number of a push: when it began
	history []porcupine.Operation
	twice   []int // pushes that ran again
	done    sync.WaitGroup
}

func newCounting(r tp.Router, begun time.Time) *counting {
	c := &counting{begun: begun, pushed: map[int]int64{}}
	tp.HandleCall(r, "/count", func(tp.CallCtx, *string) (int, error) { return int(c.all.Add(1)), nil })
	tp.HandlePush(r, "/note", func(_ tp.PushCtx, n *int) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		out, now := int(c.all.Add(1)), c.now()
		call, ok := c.pushed[*n]
		if !ok {
			c.twice = append(c.twice, *n)
			return nil
		}
		delete(c.pushed, *n)
		c.history = append(c.history, porcupine.Operation{ClientId: 0, Input: operation{true, *n}, Call: call, Output: out, Return: now})
		c.done.Done()
		return nil
	}, tp.Ordered())
	return c
}

func (c *counting) now() int64 { return int64(time.Since(c.begun)) }

// load makes callers call, and one push, until stop is closed. It returns when all has run.
func (c *counting) load(t *testing.T, sess tp.Session, from *counts, callers, each int) {
	var wg sync.WaitGroup
	pad := string(make([]byte, 1000))
	for i := range callers {
		wg.Go(func() {
			for range each {
				begin := c.now()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				out, err := tp.Invoke[int](ctx, sess, "/count", pad)
				cancel()
				end := c.now()
				if err != nil {
					t.Errorf("a call has failed: %v", err)
					return
				}
				c.mu.Lock()
				c.history = append(c.history, porcupine.Operation{ClientId: i + 1, Input: operation{}, Call: begin, Output: out, Return: end})
				c.mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		for i := range each {
			n := from.push + i + 1
			c.done.Add(1)
			c.mu.Lock()
			c.pushed[n] = c.now()
			c.mu.Unlock()
			if r := sess.Push("/note", n); r != nil {
				t.Errorf("a push has failed: %v", r)
				return
			}
		}
	})
	wg.Wait()
}

// check checks the history since the last check.
func (c *counting) check(t *testing.T, direction string, from *counts) {
	all := make(chan struct{})
	go func() { c.done.Wait(); close(all) }()
	tptest.Receive(t, all, "a push "+direction)
	c.mu.Lock()
	history, twice := c.history, c.twice
	c.history = nil
	c.mu.Unlock()
	require.Empty(t, twice, "pushes %s that ran twice", direction)
	require.True(t, porcupine.CheckOperations(counter(*from), history), "the history %s has a lost, doubled or reordered operation", direction)
	for _, op := range history {
		from.all++
		if op.Input.(operation).push {
			from.push++
		}
	}
	require.EqualValues(t, from.all, c.all.Load(), "operations that have run %s", direction)
}

// Calls and pushes in both directions run once, in order, wherever the connection is cut.
func TestHistory(t *testing.T) {
	tptest.LeakCheck(t)
	stats := new(Stats)
	o := Options{Buffer: leastBuffer, Stats: stats}
	conns := new(watched)
	srv, cli := newWatched(t, o, conns), newWatched(t, o, conns)
	begun := time.Now()
	atServer, atClient := newCounting(srv, begun), newCounting(cli, begun)
	cut := newCutter(t, tptest.Listen(t, srv), 0)
	sess := tptest.Dial(t, cli, cut.addr())
	other := sessionOf(t, srv)
	cut.most.Store(60_000)
	cut.cutAll()
	var there, back counts
	rounds := 0
	for ; cut.cuts.Load() < *cuts && !t.Failed(); rounds++ {
		var wg sync.WaitGroup
		wg.Go(func() { atServer.load(t, sess, &there, 8, 40) })
		wg.Go(func() { atClient.load(t, other, &back, 8, 40) })
		wg.Wait()
		atServer.check(t, "to the server", &there)
		atClient.check(t, "to the client", &back)
		conns.check(t)
	}
	t.Logf("%d cuts in %v; %d calls and pushes there, %d back; resumed %d times on both sides", cut.cuts.Load(), time.Since(begun).Round(time.Second), there.all, back.all, stats.Resumed.Load())
	require.EqualValues(t, 2, stats.Streams.Load(), "streams, of both sides")
	require.Zero(t, stats.Expired.Load())
	cut.most.Store(0)
}

// watched are streams whose memory is looked at.
type watched struct {
	mu   sync.Mutex
	list []*Conn
}

func (w *watched) add(c net.Conn) net.Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, c.(*Conn))
	return c
}

// check checks that the memory of all is within the bounds.
func (w *watched) check(t *testing.T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.list {
		c.mu.Lock()
		require.LessOrEqual(t, len(c.sent.ring), c.o.Buffer+slack)
		c.mu.Unlock()
		c.rmu.Lock()
		require.LessOrEqual(t, len(c.inbound)-c.off, c.o.Buffer+4<<10)
		c.rmu.Unlock()
	}
}

// newWatched makes a peer whose streams are added to w.
func newWatched(t *testing.T, o Options, w *watched) tp.Peer {
	n := over(t, o)
	dial, listen := n.Dial, n.Listen
	n.Dial = func(ctx context.Context, d tp.DialConfig) (net.Conn, error) {
		c, err := dial(ctx, d)
		if err == nil {
			w.add(c)
		}
		return c, err
	}
	n.Listen = func(ctx context.Context, l tp.ListenConfig) (net.Listener, error) {
		lis, err := listen(ctx, l)
		if err == nil {
			lis = &watchedListener{lis.(*Listener), w}
		}
		return lis, err
	}
	return tptest.NewPeer(t, tp.PeerConfig{Net: &n, LocalIP: "127.0.0.1"})
}

type watchedListener struct {
	*Listener
	w *watched
}

func (l *watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.w.add(c)
	}
	return c, err
}
