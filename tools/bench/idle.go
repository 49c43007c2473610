package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// idle is the cost of idle sessions to a candidate's server.
type idle struct {
	Candidate string
	Side      string `json:",omitempty"` // before or after, where two commits are compared
	Sessions  int
	// Called reports whether every session made one call before it went idle.
	Called     bool
	RSS        int64         // resident bytes of the server a session, after a garbage collection
	Connecting time.Duration // all of them, 64 at a time, with the call if there is one
	Error      string        `json:",omitempty"`
}

// rate returns the connections set up per second.
func (i idle) rate() float64 { return float64(i.Sessions) / i.Connecting.Seconds() }

// hasIdleRow reports whether a candidate has a row in the table of idle sessions.
// It excludes the candidates that have the same sessions as another one.
func hasIdleRow(name string) bool {
	switch name {
	case "floor-conn", "arpc-async":
		return false
	}
	return name == "teleport-typed" || !strings.HasPrefix(name, "teleport")
}

func measureIdle(ctx context.Context, list []candidate, n int, live *progress) (all []idle) {
	for i, c := range list {
		for j, called := range []bool{false, true} {
			if ctx.Err() != nil {
				return all
			}
			live.begin(2*i+j+1, 2*len(list), turn{candidate: c, config: harness.Config{Name: fmt.Sprintf("%d idle", n)}})
			r, err := idleSessions(ctx, c, n, called)
			if err != nil {
				r.Error = err.Error()
				live.failed(turn{candidate: c}, err)
			} else {
				live.result(c.title(), fmt.Sprintf("%.1f KiB a session", float64(r.RSS)/1024))
			}
			all = append(all, r)
		}
	}
	return all
}

// idleTime returns how long n sessions are idle before their memory is measured.
// Some servers release memory after a while; small numbers are for tests.
func idleTime(n int) time.Duration { return time.Duration(min(n, 12_000)) * time.Millisecond }

func idleSessions(ctx context.Context, c candidate, n int, called bool) (r idle, err error) {
	r = idle{Candidate: c.name, Side: c.side, Sessions: n, Called: called}
	srv, addr, err := startServer(c, n)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, srv.end()) }()
	was, err := srv.usage("gc")
	if err != nil {
		return r, err
	}
	args := []string{"-addr", addr, "-config", fmt.Sprintf("b%d", n), "-idle"}
	if !called {
		args = append(args, "-uncalled")
	}
	cli, err := c.start("load", args...)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, endBoth(srv, cli)) }()
	var ready harness.Ready
	if err := cli.receive(&ready, 0); err != nil {
		return r, err
	}
	select {
	case <-time.After(idleTime(n)):
	case <-ctx.Done():
		return r, ctx.Err()
	}
	now, err := srv.usage("gc")
	if err != nil {
		return r, err
	}
	r.RSS = (int64(now.RSS) - int64(was.RSS)) / int64(n)
	r.Connecting = ready.Connecting
	return r, nil
}
