package main

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

const (
	fullConfigs  = "a1,a100,a500,a1000,a5000,b100,b1000,b5000,c1000,s100,s500,s1000,s5000"
	quickConfigs = "a1,a100,a1000,b100,s100"
	fullIdle     = 10_000

	// quickLimit is the time of a quick run's windows; what is left of two minutes is
	// for a window that hangs.
	quickLimit    = 100 * time.Second
	quickPatience = 10 * time.Second
)

// options are what the command line asks for.
type options struct {
	list    []candidate
	configs []harness.Config // of the table of calls; none: no such table
	rounds  int
	window  time.Duration
	limit   time.Duration // of the windows of calls; 0: none
	idle    int           // sessions; 0: no such table
	sizes   []int         // none: no such table
	slow    bool
	gate    bool

	jsonFile, out, profile string
}

func parseOptions(args []string, output io.Writer) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(output)
	peers := f.String("peers", "", "comma-separated `candidates`; all if empty: "+strings.Join(candidateNames(), " "))
	configs := f.String("configs", "", "comma-separated `configurations`: aN = N callers on one connection, bN = N connections with a caller each, cN = N callers over 8 connections, sN = the socket package alone over N connections (default "+fullConfigs+"; with -quick "+quickConfigs+")")
	f.IntVar(&o.rounds, "rounds", 5, "interleaved rounds; 2 with -quick")
	f.DurationVar(&o.window, "window", time.Second, "length of a measured window; 400ms with -quick, which shortens it to end in time")
	quick := f.Bool("quick", false, "the table of calls alone, in short windows: within two minutes, after the peers are built")
	f.BoolVar(&o.gate, "gate", false, "leave out windows while which the cores changed their distance, and ratios of windows at different ones")
	f.IntVar(&o.idle, "idle", fullIdle, "memory and setting up of N idle sessions; 0: no such table")
	sizes := f.Bool("sizes", true, "the table of message sizes, 64 B to 16 MiB")
	f.BoolVar(&o.slow, "slow", true, "the table of slow handlers")
	f.StringVar(&o.jsonFile, "json", "", "write every window to this `file`")
	f.StringVar(&o.out, "out", "", "write report.md, throughput.svg and p99.svg into this `folder`; without it the report goes to standard output")
	f.StringVar(&o.profile, "profile", "", "after the rounds, write CPU and allocation profiles of each side into this `folder`")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("argument %q is not a flag", f.Arg(0))
	}
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	// Who names a table wants it, and not all the others.
	if named := given["idle"] || given["sizes"] || given["slow"]; named || given["configs"] || *quick {
		if !given["idle"] {
			o.idle = 0
		}
		*sizes = *sizes && given["sizes"]
		o.slow = o.slow && given["slow"]
		if named && !*quick && *configs == "" && (o.idle > 0 || *sizes || o.slow) {
			*configs = "none"
		}
	}
	defaults := fullConfigs
	if *quick {
		defaults, o.limit = quickConfigs, quickLimit
		if !given["rounds"] {
			o.rounds = 2
		}
		if !given["window"] {
			o.window = 400 * time.Millisecond
		}
	}
	switch *configs {
	case "none":
	case "":
		*configs = defaults
		fallthrough
	default:
		if o.configs, err = parseConfigs(*configs); err != nil {
			return o, err
		}
	}
	if *sizes {
		o.sizes = bodySizes()
	}
	if o.rounds < 1 || o.window <= 0 || o.idle < 0 || o.idle > 100_000 {
		return o, fmt.Errorf("want at least 1 round, a window above 0, and 0 to 100000 idle sessions")
	}
	o.list, err = choose(*peers)
	if o.configs == nil && o.idle == 0 && o.sizes == nil { // nobody else has work
		o.list = slices.DeleteFunc(o.list, func(c candidate) bool { return c.name != fastCandidate && c.name != slowCandidate })
	}
	if *quick {
		for i := range o.list {
			o.list[i].patience = quickPatience
		}
	}
	return o, err
}
