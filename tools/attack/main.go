//go:build linux

// Command attack attacks a peer, and measures what that costs it.
//
//	go run ./tools/attack           a short round
//	go run ./tools/attack -long     everything, at full size
//
// Each attack has a victim of its own, a process that serves every protocol, and a
// canary beside it, a client that calls all the time. The budgets are the same for all:
// the victim's resident memory, the canary's time, and goroutines and descriptors that
// are left. Then a client and a server are disturbed at work, and every call is
// accounted for. The exit status is 1 if a budget is broken.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"
)

// roles are what this program is started as by itself.
var roles = map[string]func(args []string) error{
	"crowd":        runCrowd,
	"victim":       runVictim,
	"canary":       runCanary,
	"fault-server": runFaultServer,
	"fault-client": runFaultClient,
}

func main() {
	run := func(args []string) error {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return runRound(ctx, self, args, os.Stdout)
	}
	args := os.Args[1:]
	if len(args) > 0 && roles[args[0]] != nil {
		run, args = roles[args[0]], args[1:]
	}
	switch err := run(args); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

func attacks() []attack {
	return slices.Concat(memoryAttacks(), decodeAttacks(), wireAttacks(), floodAttacks(), serverAttacks())
}

// shortRound are the attacks and faults that are played without -long and -only: one of
// each kind, most of them over raw.
var shortRound = []string{
	"raw: packed bodies (g), held",
	"raw: compressed first frames",
	"raw: half-arrived frames",
	"http: chunks without end",
	"raw: replies that nobody reads",
	"raw: packed replies",
	"raw: pushes to an ordered handler that stands still",
	"raw: XML, deep",
	"raw: XML, elements",
	"raw: JSON, elements into structs",
	"raw: JSON, elements within the limits",
	"raw: protobuf, elements",
	"any: frames that are none",
	"raw: frames with odd contents",
	"http: ambiguous requests",
	"http: floods in a request",
	"any: a byte a second",
	"raw: connections that are reset",
	"raw: sessions that end at once",
	"raw: more calls than handlers",
	"raw: hostile server: packed replies",
	"http: hostile server: chunks without end",
	"raw: kill -9",
	"raw: SIGSTOP",
	"raw: SIGTERM at load",
	"json: SIGTERM at load",
	"http: SIGTERM at load",
	"raw: Reboot at load",
	"raw: cut",
	"raw: cut in a frame",
	"raw: slow reader",
}

// runRound plays a round. program is started as victim, canary, and sides of the faults.
func runRound(ctx context.Context, program string, args []string, out io.Writer) error {
	r := round{program: program, out: out, budget: budget{slack: 10}}
	fs := flag.NewFlagSet("attack", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.BoolVar(&r.long, "long", false, "all attacks and faults, at full size")
	only := fs.String("only", "", "of all attacks and faults those whose name matches this regular expression")
	list := fs.Bool("list", false, "print the names, and play nothing")
	table := fs.String("table", "", "write the table to this file, between its two marks")
	fs.Int64Var(&r.budget.memory, "memory", 256<<20, "the victim's ReadMemory, in bytes")
	fs.Float64Var(&r.budget.factor, "factor", 1.5, "budget of resident memory, in ReadMemory")
	fs.DurationVar(&r.budget.canary, "canary", 20*time.Millisecond, "budget of the canary's 99th percentile")
	fs.DurationVar(&r.budget.settle, "settle", 10*time.Second, "budget of the time until goroutines and descriptors are back")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *table != "" && *only != "" {
		return errors.New("-table needs a whole round, so it does not go with -only")
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	chosen := func(name string) bool {
		if *only == "" && !r.long {
			return slices.Contains(shortRound, name)
		}
		return match.MatchString(name)
	}
	attacks := slices.DeleteFunc(attacks(), func(at attack) bool { return !chosen(at.name()) })
	faults := slices.DeleteFunc(faults(), func(f fault) bool { return !chosen(f.name()) })
	if len(attacks)+len(faults) == 0 {
		return fmt.Errorf("no attack or fault matches %q", *only)
	}
	if *list {
		for _, at := range attacks {
			fmt.Fprintf(out, "%s: %s\n", at.name(), at.sent(r.long))
		}
		for _, f := range faults {
			fmt.Fprintf(out, "%s: %s\n", f.name(), f.does)
		}
		return nil
	}
	if err := r.play(ctx, attacks, faults); err != nil {
		return err
	}
	if *table != "" {
		if err := r.writeTable(*table); err != nil {
			return err
		}
	}
	if r.broken > 0 {
		return fmt.Errorf("%d of %d attacks and faults broke a budget", r.broken, len(attacks)+len(faults))
	}
	return nil
}

// play plays attacks, then faults, one after the other, and prints a line for each.
func (r *round) play(ctx context.Context, attacks []attack, faults []fault) error {
	for _, at := range attacks {
		res, err := r.attack(ctx, at)
		if err != nil {
			return fmt.Errorf("%s: %w", at.name(), err)
		}
		r.attacks = append(r.attacks, res)
		r.print(res.String(), res.broken)
	}
	for _, f := range faults {
		times := 1
		if r.long {
			times = 10
		}
		res, err := playFault(ctx, r.program, f, times)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name(), err)
		}
		r.faults = append(r.faults, res)
		r.print(res.String(), res.broken)
	}
	return nil
}

func (r *round) print(line string, broken []string) {
	verdict := "ok"
	if len(broken) > 0 {
		verdict = "BROKEN"
		r.broken++
	}
	fmt.Fprintf(r.out, "%-6s %s\n", verdict, line)
	for _, b := range broken {
		fmt.Fprintf(r.out, "       %s\n", b)
	}
}
