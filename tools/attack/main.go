//go:build linux

// Command attack attacks a peer, and measures what that costs it.
//
//	go run ./tools/attack           a short round
//	go run ./tools/attack -long     everything, at full size
//
// Each attack has a victim of its own, a process that serves every protocol, and a
// canary beside it, a client that calls all the time. The budgets are the same for all:
// the victim's resident memory, the canary's time, and goroutines and descriptors that
// are left. The exit status is 1 if one is broken.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

// roles are what this program is started as by itself.
var roles = map[string]func(args []string) error{
	"victim": runVictim,
	"canary": runCanary,

	"fault-server": runFaultServer,
	"fault-client": runFaultClient,
}

func main() {
	run := runAttacks
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

func attacks() (list []attack) {
	list = append(list, memoryAttacks()...)
	list = append(list, decodeAttacks()...)
	list = append(list, wireAttacks()...)
	list = append(list, floodAttacks()...)
	list = append(list, serverAttacks()...)
	return list
}

func runAttacks(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r := round{program: self, budget: budget{slack: 10, settle: 10 * time.Second}}
	fs := flag.NewFlagSet("attack", flag.ContinueOnError)
	fs.BoolVar(&r.long, "long", false, "all attacks, at full size")
	only := fs.String("only", "", "only attacks whose name matches the regular expression")
	list := fs.Bool("list", false, "print the attacks, and play none")
	fs.Int64Var(&r.budget.memory, "memory", 256<<20, "the victim's ReadMemory, in bytes")
	fs.Float64Var(&r.budget.factor, "factor", 1.5, "budget of resident memory, in ReadMemory")
	fs.DurationVar(&r.budget.canary, "canary", 20*time.Millisecond, "budget of the canary's 99th percentile")
	if err := fs.Parse(args); err != nil {
		return err
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	broken := 0
	for _, at := range attacks() {
		if !match.MatchString(at.name) || at.long && !r.long {
			continue
		}
		if *list {
			fmt.Printf("%s: %s\n", at.name, at.sends)
			continue
		}
		res, err := r.play(ctx, at)
		if err != nil {
			return fmt.Errorf("%s: %w", at.name, err)
		}
		if len(res.broken) > 0 {
			broken++
		}
		fmt.Printf("%s: %s, canary p50 %v p99 %v max %v (%d calls), settled %v, end: %s\n", res.name, mib(res.peak),
			round2(res.song.P50), round2(res.song.P99), round2(res.song.Max), res.song.Calls, round2(res.settled), res.end)
		for _, b := range res.broken {
			fmt.Println("   BROKEN:", b)
		}
	}
	for _, f := range faults() {
		if !match.MatchString(f.name) {
			continue
		}
		times := 1
		if r.long {
			times = 10
		}
		res, err := playFault(ctx, self, f, times)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		fmt.Printf("%s ×%d: %d calls, %d failed, of which %d had run, %v\n", f.name, times, res.totals.calls, res.totals.failed, res.totals.ran, round2(res.took))
		for text, n := range res.totals.errors {
			fmt.Println("  ", n, "×", text)
		}
		for _, b := range res.broken {
			fmt.Println("   BROKEN:", b)
			broken++
		}
	}
	if broken > 0 {
		return fmt.Errorf("%d attacks broke a budget", broken)
	}
	return nil
}
