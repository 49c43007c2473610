//go:build linux

package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

const (
	// canaryPause is the time between two calls of the canary, so that it does not
	// take a processor for itself.
	canaryPause = time.Millisecond
	// canaryTimeout is when a call of the canary has failed.
	canaryTimeout = 20 * time.Second
)

// sample is a canary's answer to "take": its calls since the one before.
type sample struct {
	Calls         int
	P50, P99, Max time.Duration
	Failed        int
	Error         string // the first
}

// canary is a well-behaved client that calls all the time.
type canary struct {
	mu     sync.Mutex // guards the fields below
	times  []time.Duration
	failed int
	err    error
	since  time.Time // when the call under way began; zero between two calls
}

func runCanary(args []string) error {
	fs := flag.NewFlagSet("canary", flag.ExitOnError)
	name := fs.String("proto", "raw", "protocol")
	addr := fs.String("addr", "", "address")
	if err := fs.Parse(args); err != nil {
		return err
	}
	p, err := lookup(*name)
	if err != nil {
		return err
	}
	client := tp.NewPeer(tp.PeerConfig{})
	defer client.Close()
	sess, rerr := client.Dial(*addr, p.make)
	if rerr != nil {
		return rerr.Err()
	}
	var c canary
	for range 100 { // connections, pools and code are warm before anything is measured
		if err := c.call(sess, p); err != nil {
			return err
		}
	}
	c.take()
	say("ready")
	go func() {
		for {
			c.call(sess, p)
			time.Sleep(canaryPause)
		}
	}()
	serveLines(func(string) any { return c.take() })
	return nil
}

func (c *canary) call(sess tp.Session, p protocol) error {
	ctx, cancel := context.WithTimeout(context.Background(), canaryTimeout)
	defer cancel()
	began := time.Now()
	c.mu.Lock()
	c.since = began
	c.mu.Unlock()
	reply, err := tp.Invoke[[]byte](ctx, sess, "/echo", p.echo, tp.WithBodyCodec(p.codec))
	if err == nil && !bytes.Equal(reply, p.echo) {
		err = fmt.Errorf("the reply is %q, not %q", reply, p.echo)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = time.Time{}
	if err != nil {
		c.failed++
		if c.err == nil {
			c.err = err
		}
		return err
	}
	c.times = append(c.times, time.Since(began))
	return nil
}

// take returns what was measured since the last time. A call that is under way counts
// with the time it has taken so far.
func (c *canary) take() sample {
	c.mu.Lock()
	defer c.mu.Unlock()
	times := c.times
	if !c.since.IsZero() {
		times = append(times, time.Since(c.since))
	}
	s := sample{Calls: len(times), Failed: c.failed}
	if c.err != nil {
		s.Error = c.err.Error()
	}
	if len(times) > 0 {
		slices.Sort(times)
		s.P50, s.P99, s.Max = times[len(times)/2], times[len(times)*99/100], times[len(times)-1]
	}
	c.times, c.failed, c.err = nil, 0, nil
	return s
}
