// Package harnesstest tests that candidates conform to harness.Candidate.
package harnesstest

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

const (
	callers = 32
	times   = 4
	limit   = time.Minute // of one candidate

	chunks   = 50
	messages = 1000 // over a stream, 0.6 MB: more than the window of one holds
)

// Run makes calls through each candidate over two connections, one after the other:
// one call, then concurrent ones; and it sends messages over its streams. The test fails
// if a call fails, if a message does not arrive, or if there are more connections than
// dials. A candidate may have no calls, or no streams.
func Run(t *testing.T, candidates ...harness.Candidate) { each(t, run, candidates) }

// RunSerial makes ten calls through each candidate over each of two connections, one after
// the other. It is for networks other than TCP, whose connections cannot be counted, and
// for calls that cannot run side by side.
func RunSerial(t *testing.T, candidates ...harness.Candidate) { each(t, runSerial, candidates) }

// each runs a test for each candidate, and bounds its time.
func each(t *testing.T, run func(*testing.T, harness.Candidate), candidates []harness.Candidate) {
	for _, c := range candidates {
		t.Run(c.Name, func(t *testing.T) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				run(t, c)
			}()
			select {
			case <-done:
			case <-time.After(limit):
				t.Fatalf("%s has not ended in %v", c.Name, limit)
			}
		})
	}
}

func run(t *testing.T, c harness.Candidate) {
	server, err := c.Serve()
	if err != nil {
		t.Errorf("Serve: %v", err)
		return
	}
	p, err := startProxy(t.Context(), server)
	if err != nil {
		t.Error(err)
		return
	}
	if c.Dial != nil {
		runCalls(t, c, p)
	}
	if c.Streams != nil {
		runStreams(t, c, p)
	}
	if c.Beside != nil {
		runBeside(t, c, p)
	}
	if c.Broadcast != nil {
		runBroadcast(t, c, p)
	}
}

// runBeside makes calls while chunks go over a stream of the same connection.
func runBeside(t *testing.T, c harness.Candidate, p *proxy) {
	was := p.accepted.Load()
	call, stream, err := c.Beside(p.addr)
	if err != nil {
		t.Errorf("Beside: %v", err)
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range times {
			if err := sendAndAsk(stream, chunks); err != nil {
				t.Errorf("the bulk stream: %v", err)
			}
		}
	})
	for range callers {
		if err := call(); err != nil {
			t.Errorf("a call beside the bulk stream: %v", err)
		}
	}
	wg.Wait()
	if got := p.accepted.Load() - was; got != 1 {
		t.Errorf("%d connections for calls and a bulk stream, want 1", got)
	}
}

// runBroadcast sends to a group of connections several times.
func runBroadcast(t *testing.T, c harness.Candidate, p *proxy) {
	was := p.accepted.Load()
	call, err := c.Broadcast(p.addr, callers)
	for range times {
		if err == nil {
			err = call()
		}
	}
	if got := p.accepted.Load() - was; err != nil || got != callers {
		t.Errorf("broadcast to %d connections, want %d: %v", got, callers, err)
	}
}

func runCalls(t *testing.T, c harness.Candidate, p *proxy) {
	for conns := int64(1); conns <= 2; conns++ {
		call, err := c.Dial(p.addr)
		if err == nil {
			err = call()
		}
		if err != nil {
			t.Errorf("connection %d: %v", conns, err)
			return
		}
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range times {
					if err := call(); err != nil {
						t.Errorf("connection %d: one of %d callers: %v", conns, callers, err)
						return
					}
				}
			})
		}
		wg.Wait()
		if got := p.accepted.Load(); got != conns {
			t.Errorf("%d connections to the server, %d were dialled", got, conns)
		}
	}
}

// runStreams sends over one stream, then over several at once.
func runStreams(t *testing.T, c harness.Candidate, p *proxy) {
	for _, n := range []int{1, callers / 4} {
		was, want := p.accepted.Load(), 1
		if c.Apart {
			want = n
		}
		streams, err := c.Streams(p.addr, n)
		if err != nil || len(streams) != n {
			t.Errorf("%d of %d streams: %v", len(streams), n, err)
			return
		}
		var wg sync.WaitGroup
		for _, s := range streams {
			wg.Go(func() {
				for _, sent := range []int{0, messages, 1, 0} {
					if err := sendAndAsk(s, sent); err != nil {
						t.Errorf("%d messages over one of %d streams: %v", sent, n, err)
						return
					}
				}
			})
		}
		wg.Wait()
		if got := p.accepted.Load() - was; got != int64(want) {
			t.Errorf("%d connections for %d streams, want %d", got, n, want)
		}
	}
}

func sendAndAsk(s harness.Stream, n int) error {
	for range n {
		if err := s.Send(); err != nil {
			return err
		}
	}
	switch received, err := s.Ask(); {
	case err != nil:
		return err
	case received != n+1:
		return fmt.Errorf("%d were received, %d were sent", received, n+1)
	}
	return nil
}

func runSerial(t *testing.T, c harness.Candidate) {
	server, err := c.Serve()
	if err != nil {
		t.Errorf("Serve: %v", err)
		return
	}
	for conn := range 2 {
		call, err := c.Dial(server)
		for i := 0; err == nil && i < 10; i++ {
			err = call()
		}
		if err != nil {
			t.Errorf("connection %d: %v", conn+1, err)
			return
		}
	}
}

// proxy forwards bytes and counts connections.
type proxy struct {
	addr     string
	accepted atomic.Int64
}

// startProxy starts a proxy that ends with ctx.
func startProxy(ctx context.Context, server string) (*proxy, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { lis.Close() })
	p := &proxy{addr: lis.Addr().String()}
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			p.accepted.Add(1)
			go pass(ctx, conn, server)
		}
	}()
	return p, nil
}

// pass forwards bytes in both directions until one of them ends.
func pass(ctx context.Context, conn net.Conn, server string) {
	defer conn.Close()
	out, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer out.Close()
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		io.Copy(out, conn)
	}()
	go func() {
		defer cancel()
		io.Copy(conn, out)
	}()
	<-ctx.Done()
}
