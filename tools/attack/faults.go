//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"
)

// fault is a line of the second table: what is done to a client and a server that are
// at work, and whether that may cost calls.
type fault struct {
	proto protocol
	what  string
	does  string
	args  []string // of the client
	free  bool     // no call may fail
	load  bool     // many callers, and clients that come and go; no relay
	do    func(*faultRound) error
}

// loadArgs are the client's at load.
var loadArgs = []string{"-callers=32", "-async=16", "-comers=8"}

const loadText = "with 32 callers, 16 asynchronous calls and 8 clients that come and go"

func (f fault) name() string { return f.proto.name + ": " + f.what }

func faults() (list []fault) {
	kill := func(r *faultRound) error {
		r.signal(syscall.SIGKILL)
		return r.serve()
	}
	end := func(r *faultRound) error {
		r.signal(syscall.SIGTERM)
		return r.serve()
	}
	reboot := func(r *faultRound) error {
		n := r.servers()
		r.signal(syscall.SIGUSR2)
		return r.await("a new server", func(h *history) bool { return h.servers > n })
	}
	for _, p := range []protocol{rawProto, jsonProto, pbProto, thriftProto, httpProto} {
		list = append(list,
			fault{proto: p, what: "kill -9", does: "the server is killed; a new one takes its place", do: kill},
			fault{proto: p, what: "SIGTERM", does: "the server ends; a new one takes its place", free: true, do: end},
			fault{proto: p, what: "SIGTERM at load", does: "the same, " + loadText, free: true, load: true, do: end},
			fault{proto: p, what: "Reboot", does: "the server starts itself anew", free: true, do: reboot},
			fault{proto: p, what: "Reboot at load", does: "the same, " + loadText, free: true, load: true, do: reboot},
		)
	}
	return append(list,
		fault{proto: rawProto, what: "SIGSTOP", does: "the server stands still for half a second", free: true, do: func(r *faultRound) error {
			r.signal(syscall.SIGSTOP)
			time.Sleep(stillTime)
			r.signal(syscall.SIGCONT)
			return nil
		}},
		fault{proto: rawProto, what: "cut", does: "the connection is reset", do: func(r *faultRound) error {
			r.relay.cut()
			return nil
		}},
		fault{proto: rawProto, what: "cut in a frame", does: "the connection is reset after some more bytes", do: func(r *faultRound) error {
			r.relay.cutAt.Store(1 + rand.Int64N(2000))
			return nil
		}},
		fault{proto: rawProto, what: "slow reader", does: "nothing reaches the client for half a second; replies of 256 KiB to 64 callers", args: []string{"-callers=64", "-size=262144"}, free: true, do: func(r *faultRound) error {
			r.relay.held.Store(true)
			time.Sleep(stillTime)
			r.relay.held.Store(false)
			return nil
		}},
	)
}

// stillTime is how long a server or a connection stands still.
const stillTime = 500 * time.Millisecond

// faultRound is a client and its servers.
type faultRound struct {
	ctx     context.Context
	program string
	proto   protocol
	relay   *relay
	h       *history
	procs   []*child
}

// faultResult is what a fault has cost.
type faultResult struct {
	fault
	times  int
	took   time.Duration
	totals totals
	broken []string
}

// goodCalls is how many calls have to succeed before a fault and behind it, and loadCalls
// at load.
const (
	goodCalls = 200
	loadCalls = 3000
)

// playFault does a fault some times to a client at work, and checks the history.
func playFault(ctx context.Context, program string, f fault, times int) (res faultResult, err error) {
	res.fault, res.times = f, times
	began := time.Now()
	r := &faultRound{ctx: ctx, program: program, proto: f.proto, h: newHistory()}
	defer r.end()
	if r.relay, err = newRelay(r.addr); err != nil {
		return res, err
	}
	if err := r.serve(); err != nil {
		return res, err
	}
	good, addr, args := goodCalls, r.relay.lis.Addr().String(), f.args
	if f.load {
		good, addr, args = loadCalls, r.addr(), loadArgs
	}
	client, err := r.start("fault-client", append([]string{"-proto", f.proto.name, "-addr", addr}, args...)...)
	if err != nil {
		return res, err
	}
	err = r.good(good)
	for range times {
		if err == nil {
			err = f.do(r)
		}
		if err == nil {
			err = r.good(good)
		}
	}
	fmt.Fprintln(client.in, "stop")
	client.in.Close()
	r.end()
	if client.cmd.ProcessState.ExitCode() != 0 {
		err = errors.Join(err, fmt.Errorf("the client ended: %v\n%s", client.cmd.ProcessState, client.log.String()))
	}
	if err != nil {
		res.broken = append(res.broken, err.Error())
	}
	res.took = time.Since(began)
	var wrong []string
	res.totals, wrong = r.h.check()
	slices.Sort(wrong)
	const shown = 5
	if len(wrong) > shown {
		wrong = append(wrong[:shown], fmt.Sprintf("and %d more", len(wrong)-shown))
	}
	res.broken = append(res.broken, wrong...)
	if f.free && res.totals.failed > 0 {
		text, n := most(res.totals.errors)
		res.broken = append(res.broken, fmt.Sprintf("%d of %d calls failed, %d of them had run; %d by %s", res.totals.failed, res.totals.calls, res.totals.ran, n, text))
	}
	return res, ctx.Err()
}

// start starts a process whose lines go into the history.
func (r *faultRound) start(role string, args ...string) (*child, error) {
	c, err := startWith(r.program, role, r.h.add, args...)
	if err == nil {
		r.procs = append(r.procs, c)
	}
	return c, err
}

// serve starts a server, in the place of the one before.
func (r *faultRound) serve() error {
	addr := r.addr()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	n := r.servers()
	if _, err := r.start("fault-server", "-proto", r.proto.name, "-addr", addr); err != nil {
		return err
	}
	return r.await("a server", func(h *history) bool { return h.servers > n })
}

func (r *faultRound) addr() string {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	return r.h.addr
}

func (r *faultRound) servers() int {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	return r.h.servers
}

// signal signals the newest server.
func (r *faultRound) signal(s syscall.Signal) {
	r.h.mu.Lock()
	pid := r.h.pid
	r.h.mu.Unlock()
	syscall.Kill(pid, s)
}

// good waits until n more calls have succeeded.
func (r *faultRound) good(n int) error {
	r.h.mu.Lock()
	n += r.h.good
	r.h.mu.Unlock()
	return r.await("calls that succeed", func(h *history) bool { return h.good >= n })
}

// await waits until the history is as it should be.
func (r *faultRound) await(what string, done func(*history) bool) error {
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		r.h.mu.Lock()
		ok, good, bad := done(r.h), r.h.good, r.h.bad
		r.h.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-r.h.changed:
		case <-limit.C:
			var logs []string
			for _, c := range r.procs {
				logs = append(logs, c.role+": "+c.log.String())
			}
			return fmt.Errorf("no %s within a minute; %d calls have succeeded, %d have failed\n%s", what, good, bad, strings.Join(logs, "\n"))
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
}

// end ends the client, then the servers, and waits until the history is whole.
func (r *faultRound) end() {
	slices.SortStableFunc(r.procs, func(a, b *child) int { return strings.Compare(a.role, b.role) }) // fault-client is first
	for _, c := range r.procs {
		c.end()
	}
	if r.relay != nil {
		r.relay.close()
	}
}
