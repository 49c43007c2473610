// Package resumetest has the test of a network whose sessions outlive their connections:
// under load its connections are cut at random, and what has run is compared with a model.
// The tests of this repository share it.
package resumetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// patience is how long anything may take.
const patience = 30 * time.Second

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

// Run makes calls and pushes in both directions of a session between two peers, the first of
// which listens at a TCP port of this machine, until its connections have been cut so often. It
// checks that each of them has run once, in order. Both peers are configured, with the codec
// json, and have no routes. check is called after each round.
func Run(t *testing.T, srv, cli tp.Peer, cuts int64, check func()) {
	begun := time.Now()
	atServer, atClient := newCounting(srv, begun), newCounting(cli, begun)
	cut := NewCutter(t, tptest.Listen(t, srv), 0)
	sess := tptest.Dial(t, cli, cut.Addr())
	var other tp.Session
	require.Eventually(t, func() bool {
		srv.RangeSession(func(s tp.Session) bool { other = s; return false })
		return other != nil
	}, patience, time.Millisecond)
	cut.Most.Store(60_000)
	cut.CutAll()
	var there, back counts
	for cut.Cuts.Load() < cuts && !t.Failed() {
		var wg sync.WaitGroup
		wg.Go(func() { atServer.load(t, sess, &there, 8, 40) })
		wg.Go(func() { atClient.load(t, other, &back, 8, 40) })
		wg.Wait()
		atServer.check(t, "to the server", &there)
		atClient.check(t, "to the client", &back)
		check()
	}
	t.Logf("%d cuts in %v; %d calls and pushes there, %d back", cut.Cuts.Load(), time.Since(begun).Round(time.Second), there.all, back.all)
	cut.Most.Store(0)
}
