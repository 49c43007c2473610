package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// The tables of windows.
const (
	tableCalls     = "calls"
	tableSizes     = "sizes"
	tableSlow      = "slow"
	tableStreams   = "streams"
	tableBulk      = "bulk"
	tableBroadcast = "broadcast"
)

// window is the result of one window: one candidate in one configuration.
type window struct {
	Table     string
	Candidate string
	Side      string `json:",omitempty"` // before or after, where two commits are compared
	Config    string
	Round     int
	Size      int `json:",omitempty"` // bytes of the body; 0 is benchmsg's message
	Phase     phase
	Load      harness.Load  // the client's
	Server    harness.Usage // while the client called; RSS at the end
	Error     string        `json:",omitempty"`
	// Dropped reports whether the gate has excluded the window from the figures.
	Dropped bool `json:",omitempty"`
}

func (w window) ok() bool { return w.Error == "" && !w.Dropped && w.Load.Calls > 0 }

func (w window) rate() float64 { return float64(w.Load.Calls) / w.Load.Elapsed.Seconds() }

// perCall divides a sum by the number of calls.
func (w window) perCall(sum uint64) float64 { return float64(sum) / float64(w.Load.Calls) }

// measure runs the turns one after the other. When the context ends or the budget is
// used up, it returns early with what it has; skipped is the number of turns left.
func measure(ctx context.Context, turns []turn, b *budget, live *progress) (list []window, skipped int) {
	length, block := b.want, -1
	for i, t := range turns {
		now := time.Now()
		if t.block != block {
			block, length = t.block, b.window(turns[i:], now)
		}
		if ctx.Err() != nil || b.over(t, length, now) {
			return list, len(turns) - i
		}
		live.begin(len(list)+1, len(turns), t)
		w, err := oneWindow(t, length, nil)
		if err != nil {
			w.Error = err.Error()
			live.failed(t, err)
		}
		b.done(t, length, time.Since(now))
		live.end(w, b.left(turns[i+1:], length))
		list = append(list, w)
	}
	return list, 0
}

// childArgs are additional arguments for a window's server and client.
type childArgs struct{ server, client []string }

// oneWindow starts a server and a client, and measures after a warm-up.
func oneWindow(t turn, length time.Duration, extra *childArgs) (w window, err error) {
	w = window{Table: t.table, Candidate: t.candidate.name, Side: t.candidate.side, Config: t.config.Name, Round: t.round, Size: t.size}
	if extra == nil {
		extra = &childArgs{}
	}
	srv, addr, err := startServer(t.candidate, t.config.Conns, extra.server...)
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, srv.end()) }()
	args := []string{"-addr", addr, "-config", t.config.Name, "-window", length.String()}
	if t.size > 0 {
		args = append(args, "-size", fmt.Sprint(t.size))
	}
	cli, err := t.candidate.start("load", append(args, extra.client...)...)
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, endBoth(srv, cli)) }()
	var ready harness.Ready
	if err := cli.receive(&ready, length); err != nil {
		return w, err
	}
	w.Phase.Before = ping()
	was, err := srv.usage("usage")
	if err != nil {
		return w, err
	}
	if err := cli.send("go"); err != nil {
		return w, err
	}
	if err := cli.receive(&w.Load, length); err != nil {
		return w, err
	}
	now, err := srv.usage("usage")
	w.Server = now.Since(was)
	w.Phase.After = ping()
	return w, err
}

func startServer(c candidate, conns int, args ...string) (srv *child, addr string, err error) {
	srv, err = c.start("serve", append([]string{"-conns", fmt.Sprint(conns)}, args...)...)
	if err != nil {
		return nil, "", err
	}
	if err := srv.receive(&addr, 0); err != nil {
		return nil, "", errors.Join(err, srv.end())
	}
	return srv, addr, nil
}
