// Command bench measures calls per second between two processes on loopback.
//
//	go run ./tools/bench -quick
//
// It starts itself again as a server and as a client for every window, lets the
// candidates take turns, and prints medians. The raw echo without any framework
// runs in the same rounds: it is the floor that ratios are taken against.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 0 && slices.Contains(harness.Commands, args[0]) {
		harness.Main(own()...)
	}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	peers := f.String("peers", "", "comma-separated candidates; all if empty: "+strings.Join(candidateNames(), " "))
	configs := f.String("configs", "a1,a100,a1000,b100,b1000,c1000", "comma-separated: aN = N callers on one connection, bN = N connections with a caller each, cN = N callers over 8 connections")
	rounds := f.Int("rounds", 5, "interleaved rounds")
	window := f.Duration("window", time.Second, "length of a measured window")
	quick := f.Bool("quick", false, "2 rounds of short windows: about two minutes at most")
	jsonFile := f.String("json", "", "write every window to this file")
	idle := f.Int("idle", 0, "instead of calls: memory of the server with this many idle sessions")
	profile := f.String("profile", "", "write a CPU profile of each side of each window into this folder")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *quick {
		*rounds, *window = 2, 500*time.Millisecond
	}
	list, err := choose(*peers)
	if err != nil {
		return err
	}
	if *idle > 0 {
		return measureIdle(list, *idle)
	}
	cfgs, err := parseConfigs(*configs)
	if err != nil {
		return err
	}
	return measure(list, cfgs, *rounds, *window, *jsonFile, *profile)
}
