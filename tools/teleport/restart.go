package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// busySessions is how many of the sessions call all the time; the others call now and then,
// together restCalls times a second.
const (
	busySessions = 20
	restCalls    = 4000
)

// restart replaces the process of the server while many sessions call it. The clients do not
// redial, so a connection that is lost is a session that has ended.
func (d *demo) restart(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, patience+time.Duration(n)*2*time.Millisecond)
	defer cancel()
	d.heading("The server's process is replaced")
	peer, err := tp.Open(tp.PeerConfig{})
	if err != nil {
		return err
	}
	defer peer.Close()
	all := make([]*restarted, n)
	for i := range all {
		sess, rerr := peer.DialContext(ctx, d.addr)
		if rerr != nil {
			return fmt.Errorf("session %d: %w", i+1, rerr.Err())
		}
		all[i] = &restarted{sess: sess, every: time.Duration(n) * time.Second / restCalls}
		if i < busySessions {
			all[i].every = 0
		}
		all[i].first = all[i].every * time.Duration(i) / time.Duration(n)
	}
	first, err := tp.Invoke[int](ctx, d.sess, "/demo/pid", nil)
	if err != nil {
		return err
	}
	var calls atomic.Int64
	var begun atomic.Bool
	var wg sync.WaitGroup
	for _, r := range all {
		wg.Go(func() { r.run(ctx, first, &calls, &begun) })
	}
	if err := waitFor(ctx, func() bool { return calls.Load() > 3*int64(n) }); err != nil {
		return err
	}
	begun.Store(true)
	start := time.Now()
	if _, err := tp.Invoke[string](ctx, d.sess, "/demo/restart", nil); err != nil {
		return err
	}
	wg.Wait() // each sees the new process
	took := time.Since(start)
	var before, pauses []time.Duration
	failed, closed := 0, 0
	for _, r := range all {
		before, pauses = append(before, r.longest[0]), append(pauses, r.longest[1])
		if r.err != nil {
			failed++
			err = r.err
		}
		if r.sess.CloseReason() != nil {
			closed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d sessions have failed, for example: %w", failed, err)
	}
	slices.Sort(before)
	slices.Sort(pauses)
	d.say("client", "%d sessions made %d calls, while the new process came and took the connections, in %v", n, calls.Load(), round(took))
	d.say("client", "%d connections were closed, %d calls failed; the longest call of a session took %v, of 99%% of them at most %v (before: %v, %v)",
		closed, failed, round(pauses[n-1]), round(pauses[n*99/100]), round(before[n-1]), round(before[n*99/100]))
	d.shown = append(d.shown, [2]string{"restart", fmt.Sprintf("%d sessions moved to a new process, none closed, no call failed", n)})
	return nil
}

// restarted is a session that calls until another process answers.
type restarted struct {
	sess    tp.Session
	first   time.Duration // before its first call, so that not all call at once
	every   time.Duration
	longest [2]time.Duration // of its calls before the restart, and since
	err     error
}

func (r *restarted) run(ctx context.Context, first int, calls *atomic.Int64, begun *atomic.Bool) {
	time.Sleep(r.first)
	for {
		start := time.Now()
		pid, err := tp.Invoke[int](ctx, r.sess, "/demo/pid", nil)
		phase := 0
		if begun.Load() {
			phase = 1
		}
		r.longest[phase] = max(r.longest[phase], time.Since(start))
		calls.Add(1)
		if err != nil || pid != first {
			r.err = err
			return
		}
		time.Sleep(r.every)
	}
}
