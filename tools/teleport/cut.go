package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// breaker is a plugin that keeps the connection of the session, so that the demo
// can reset it.
type breaker struct {
	mu    sync.Mutex // guards conn
	conn  net.Conn
	dials atomic.Int32 // connections made so far
}

var _ tp.PostDialPlugin = (*breaker)(nil)

func (b *breaker) Name() string { return "breaker" }

// PostDial is called for redialled connections, too.
func (b *breaker) PostDial(s tp.PreSession) *tp.Rerror {
	s.ModifySocket(func(conn net.Conn) (net.Conn, tp.ProtoFunc) {
		b.mu.Lock()
		b.conn = conn
		b.mu.Unlock()
		return nil, nil // changes nothing
	})
	b.dials.Add(1)
	return nil
}

// cut resets the connection, whatever is being written or read.
func (b *breaker) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t, ok := b.conn.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	b.conn.Close()
}

const (
	cuts       = 3
	cutCallers = 8
)

// redial cuts the connection while calls are made, and waits until the session has
// redialled.
func (d *demo) redial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d.heading("A broken connection, under load")
	var ok, lost atomic.Int64
	failed := make(chan error, cutCallers)
	working, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for range cutCallers {
		wg.Go(func() {
			for working.Err() == nil {
				_, err := tp.Invoke[int](ctx, d.sess, "/math/add", []int{1, 2})
				switch {
				case err == nil:
					ok.Add(1)
				case errors.Is(err, tp.ErrConnClosed): // it was under way when the connection was cut
					lost.Add(1)
				default:
					failed <- err
					return
				}
			}
		})
	}
	err := d.cutConns(ctx, &ok)
	stop()
	wg.Wait()
	select {
	case err = <-failed:
	default:
	}
	if err != nil {
		return err
	}
	d.say("client", "%d callers went on: %d calls answered, %d were under way at a cut and got %q;", cutCallers, ok.Load(), lost.Load(), tp.CodeText(tp.CodeConnClosed))
	d.say("client", "a call that may have run is never sent twice; retrying is up to the caller")
	d.shown = append(d.shown, [2]string{"reconnect", fmt.Sprintf("%d cuts, %d calls answered, %d failed with 102, the same session throughout", cuts, ok.Load(), lost.Load())})
	return nil
}

func (d *demo) cutConns(ctx context.Context, ok *atomic.Int64) error {
	for n := range cuts {
		if err := waitFor(ctx, func() bool { return ok.Load() > int64(n+1)*100 }); err != nil {
			return fmt.Errorf("calls before cut %d: %w", n+1, err)
		}
		dials, before, start := d.breaker.dials.Load(), d.sess.LocalAddr(), time.Now()
		d.breaker.cut()
		if err := waitFor(ctx, func() bool { return d.breaker.dials.Load() > dials }); err != nil {
			return fmt.Errorf("redial after cut %d: %w", n+1, err)
		}
		took := time.Since(start)
		answered := ok.Load()
		if err := waitFor(ctx, func() bool { return ok.Load() > answered }); err != nil {
			return fmt.Errorf("calls after cut %d: %w", n+1, err)
		}
		d.say("client", "cut %d: %s reset; redialled after %v from %s", n+1, before, round(took), d.sess.LocalAddr())
	}
	return nil
}

// waitFor polls cond every millisecond until it is true or ctx ends.
func waitFor(ctx context.Context, cond func() bool) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
