package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// The tables a window can belong to.
const (
	tableCalls = "calls"
	tableSizes = "sizes"
	tableSlow  = "slow"
)

// window is one window of one candidate in one configuration.
type window struct {
	Table     string
	Candidate string
	Config    string
	Round     int
	Size      int `json:",omitempty"` // bytes of the body; 0 is the classic message
	Phase     phase
	Load      harness.Load  // the client's
	Server    harness.Usage // while the client called; RSS at the end
	Error     string        `json:",omitempty"`
	// Dropped tells that the gate kept the window out of the figures.
	Dropped bool `json:",omitempty"`
}

func (w window) ok() bool { return w.Error == "" && !w.Dropped && w.Load.Calls > 0 }

func (w window) rate() float64 { return float64(w.Load.Calls) / w.Load.Elapsed.Seconds() }

// perCall shares a sum among the window's calls.
func (w window) perCall(sum uint64) float64 { return float64(sum) / float64(w.Load.Calls) }

// measure lets the turns follow each other. It ends early, and keeps what it has,
// when the context ends or the pace has no more time; skipped says how many are left.
func measure(ctx context.Context, turns []turn, p *pace, live *progress) (list []window, skipped int) {
	length, block := p.want, -1
	for i, t := range turns {
		now := time.Now()
		if t.block != block {
			block, length = t.block, p.window(turns[i:], now)
		}
		if ctx.Err() != nil || p.over(t, length, now) {
			return list, len(turns) - i
		}
		live.begin(len(list)+1, len(turns), t)
		w, err := oneWindow(t, length, nil)
		if err != nil {
			w.Error = err.Error()
			live.failed(t, err)
		}
		p.done(t, length, time.Since(now))
		live.end(w, p.left(turns[i+1:], length))
		list = append(list, w)
	}
	return list, 0
}

// sides are arguments for one window's server and client.
type sides struct{ server, client []string }

// oneWindow starts a server and a client, lets them warm up, and measures.
func oneWindow(t turn, length time.Duration, extra *sides) (w window, err error) {
	w = window{Table: t.table, Candidate: t.candidate.name, Config: t.config.Name, Round: t.round, Size: t.size}
	if extra == nil {
		extra = &sides{}
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
	if err := cli.tell(&ready, length); err != nil {
		return w, err
	}
	w.Phase.Before = ping()
	was, err := srv.usage("usage")
	if err != nil {
		return w, err
	}
	if err := cli.say("go"); err != nil {
		return w, err
	}
	if err := cli.tell(&w.Load, length); err != nil {
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
	if err := srv.tell(&addr, 0); err != nil {
		return nil, "", errors.Join(err, srv.end())
	}
	return srv, addr, nil
}
