package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// idle is what sessions cost a candidate's server that do nothing.
type idle struct {
	Candidate string
	Sessions  int
	// Called tells that every session had made one call before it fell silent.
	Called     bool
	RSS        int64         // bytes of the server's resident memory a session, after its garbage is collected
	Connecting time.Duration // of all, 64 at a time, with the call if there is one
	Error      string        `json:",omitempty"`
}

// rate is how many connections were set up per second.
func (i idle) rate() float64 { return float64(i.Sessions) / i.Connecting.Seconds() }

// idleWorth leaves out candidates whose sessions are another candidate's too.
func idleWorth(name string) bool {
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
				live.told(c.name, fmt.Sprintf("%.1f KiB a session", float64(r.RSS)/1024))
			}
			all = append(all, r)
		}
	}
	return all
}

// silence is how long the sessions do nothing before the memory is measured: some
// servers take note of that, and only a large number is measured in earnest.
func silence(n int) time.Duration { return time.Duration(min(n, 12_000)) * time.Millisecond }

func idleSessions(ctx context.Context, c candidate, n int, called bool) (r idle, err error) {
	r = idle{Candidate: c.name, Sessions: n, Called: called}
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
	if err := cli.tell(&ready, 0); err != nil {
		return r, err
	}
	select {
	case <-time.After(silence(n)):
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
