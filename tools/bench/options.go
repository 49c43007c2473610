package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

const (
	fullConfigs  = "a1,a100,a500,a1000,a5000,b100,b1000,b5000,c1000,s100,s500,s1000,s5000"
	quickConfigs = "a1,a100,a1000,b100,s100"

	// quickLimit bounds the windows of a quick run; the rest of two minutes is
	// for a window that hangs.
	quickLimit   = 100 * time.Second
	quickTimeout = 10 * time.Second
)

// compared are the candidates of a comparison of two commits.
var compared = []string{"teleport-seed", fastCandidate, "teleport-pooled", "teleport-bytes", slowCandidate}

// options is a parsed command line.
type options struct {
	list      []candidate
	configs   []harness.Config // of the table of calls; nil: no such table
	rounds    int
	window    time.Duration
	quick     bool
	idle      int   // sessions; 0: no such table
	sizes     []int // nil: no such table
	slow      bool
	streams   bool
	bulk      bool
	broadcast int // sessions; 0: no such table
	gate      bool
	busy      int    // processes a CPU
	against   string // a revision to compare with
	builds    *builds
	floor     float64 // lowest ratio of a comparison

	jsonFile, out, profile string
}

// option is a flag, with its default in each kind of run.
type option struct {
	name, usage string
	set         func(string) error
	full        string // of a run without -quick that names no table
	quick       string // of a run with -quick
	named       string // of a run without -quick that names the tables it wants
}

func (o *options) table() []option {
	return []option{
		{"peers", "comma-separated `candidates`: " + strings.Join(candidateNames(), " ") + " (default all but those of WebSocket and of networks, from tcp-bytes on)", into(&o.list, choose), "", "", ""},
		{"configs", "comma-separated `configurations`: aN is N callers on one connection, bN is N connections with a caller each, " +
			"cN is N callers over 8 connections, sN is the socket package alone over N connections; none: no table of calls", into(&o.configs, parseConfigs), fullConfigs, quickConfigs, "none"},
		{"rounds", "`number` of interleaved rounds", into(&o.rounds, numberOf(1, 1000)), "5", "2", "5"},
		{"window", "`length` of a measured window; -quick shortens it to end in time", into(&o.window, parseWindow), "1s", "400ms", "1s"},
		{"quick", "the table of calls alone, in short windows: within two minutes, after the peers are built", into(&o.quick, strconv.ParseBool), "false", "true", "false"},
		{"gate", "leave out windows in which the distance of the cores changed, and ratios of windows at different distances", into(&o.gate, strconv.ParseBool), "false", "false", "false"},
		{"idle", "memory and setup rate of so many idle `sessions`; 0: no such table", into(&o.idle, numberOf(0, 100_000)), "10000", "0", "0"},
		{"sizes", "the table of message sizes, 64 B to 16 MiB", into(&o.sizes, parseSizes), "true", "false", "false"},
		{"slow", "the table of slow handlers", into(&o.slow, strconv.ParseBool), "true", "false", "false"},
		{"streams", "the table of streams", into(&o.streams, strconv.ParseBool), "true", "false", "false"},
		{"bulk", "the table of calls beside a bulk stream", into(&o.bulk, strconv.ParseBool), "true", "false", "false"},
		{"broadcast", "broadcasts to so many `sessions`; 0: no such table", into(&o.broadcast, numberOf(0, 100_000)), "1000", "0", "0"},
		{"busy", "`number` of processes a CPU that use it up beside the measurement", into(&o.busy, numberOf(0, 100)), "0", "0", "0"},
		{"against", "compare this program of the work tree with that of a `revision`, window by window; the candidates are " + strings.Join(compared, ","), into(&o.against, anyText), "", "", ""},
		{"floor", "with -against: the lowest median `ratio` of a row, below which the exit status is 1", into(&o.floor, parseRatio), "0.97", "0.97", "0.97"},
		{"json", "write every window to this `file`", into(&o.jsonFile, anyText), "", "", ""},
		{"out", "write report.md, throughput.svg and p99.svg into a folder named after the processor, in this `folder`; without it the report goes to standard output", into(&o.out, anyText), "", "", ""},
		{"profile", "after the rounds, write CPU and allocation profiles of each side into this `folder`", into(&o.profile, anyText), "", "", ""},
	}
}

func parseOptions(args []string, output io.Writer) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(output)
	table := o.table()
	for _, row := range table {
		if row.full == "true" || row.full == "false" {
			f.BoolFunc(row.name, row.help(), row.set)
		} else {
			f.Func(row.name, row.help(), row.set)
		}
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("argument %q is not a flag", f.Arg(0))
	}
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	quick, named := o.quick, o.configs != nil || o.idle > 0 || o.sizes != nil || o.slow || o.also() != ""
	for _, row := range table {
		value := row.full
		switch {
		case quick:
			value = row.quick
		case named:
			value = row.named
		}
		if !given[row.name] && value != "" {
			err = errors.Join(err, row.set(value))
		}
	}
	switch {
	case o.list != nil:
	case o.against != "":
		o.list, _ = choose(strings.Join(compared, ","))
	default:
		o.list, _ = choose(strings.Join(usualNames(), ","))
	}
	if o.against != "" {
		err = errors.Join(err, o.checkAgainst())
	} else if given["floor"] {
		err = errors.Join(err, errors.New("-floor is for a comparison: it needs -against"))
	}
	if o.configs == nil && o.idle == 0 && o.sizes == nil { // the others have no window
		o.list = slices.DeleteFunc(o.list, func(c candidate) bool { return !(o.slow && hasSlowRow(c.name) || mayHave(c.name, o.also())) })
		if len(o.list) == 0 {
			err = errors.Join(err, errors.New("nothing to measure: no candidate has a row in the tables that are asked for"))
		}
	}
	if o.profile != "" && o.configs == nil && o.also() == "" {
		err = errors.Join(err, errors.New("-profile is for the tables of calls, streams, bulk and broadcast: it needs -configs or one of their flags"))
	}
	if o.quick {
		for i := range o.list {
			o.list[i].timeout = quickTimeout
		}
	}
	return o, err
}

// also returns the letters of the configurations in the tables of streams, of calls beside
// a bulk stream, and of broadcasts that are asked for.
func (o *options) also() (letters string) {
	if o.streams {
		letters += string(harness.OneWay) + string(harness.PingPong)
	}
	if o.bulk {
		letters += string(harness.Bulk)
	}
	if o.broadcast > 0 {
		letters += string(harness.Group)
	}
	return letters
}

// checkAgainst refuses what a comparison of two commits does not have.
func (o *options) checkAgainst() error {
	if o.out != "" {
		return errors.New("-out has the report of one work tree: a comparison goes to standard output")
	}
	for _, c := range o.list {
		if !slices.ContainsFunc(own(), func(k harness.Candidate) bool { return k.Name == c.name }) {
			return fmt.Errorf("candidate %q is no part of this repository's history: -against compares our own", c.name)
		}
	}
	return nil
}

// help is the usage with the defaults.
func (row option) help() string {
	if row.full == "" || row.name == "quick" {
		return row.usage
	}
	text := row.usage + " (default " + row.full
	if row.quick != row.full {
		text += "; with -quick " + row.quick
	}
	return text + ")"
}

// into returns a function that parses its argument into *p.
func into[T any](p *T, parse func(string) (T, error)) func(string) error {
	return func(text string) (err error) {
		*p, err = parse(text)
		return err
	}
}

func anyText(text string) (string, error) { return text, nil }

func numberOf(low, high int) func(string) (int, error) {
	return func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < low || n > high {
			return 0, fmt.Errorf("want a number of %d to %d", low, high)
		}
		return n, nil
	}
}

func parseWindow(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > time.Hour {
		return 0, errors.New("want a duration above 0, like 400ms, of at most an hour")
	}
	return d, nil
}

func parseRatio(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= 0 && v <= 10) {
		return 0, errors.New("want a ratio of 0 to 10, like 0.97")
	}
	return v, nil
}

func parseConfigs(text string) (list []harness.Config, err error) {
	if text == "none" {
		return nil, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		c, err := harness.ParseConfig(name)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// parseSizes returns the sizes of the table of message sizes if text is true.
func parseSizes(text string) (list []int, err error) {
	if on, err := strconv.ParseBool(text); err != nil || !on {
		return nil, err
	}
	return bodySizes(), nil
}

// choose returns the candidates of the comma-separated names, without programs.
func choose(names string) (list []candidate, err error) {
	all := candidateNames()
	for name := range strings.SplitSeq(names, ",") {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("candidate %q is not known; there are: %s", name, strings.Join(all, " "))
		}
		if slices.ContainsFunc(list, func(c candidate) bool { return c.name == name }) {
			return nil, fmt.Errorf("candidate %q is named twice", name)
		}
		list = append(list, candidate{name: name})
	}
	return list, nil
}
