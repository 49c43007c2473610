package main

import (
	"strings"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// fits reports whether a candidate is measured in a configuration.
func fits(candidate string, cfg harness.Config) bool {
	alone := cfg.Name[0] == 's' // the socket package alone, and its floor
	switch {
	case candidate == "floor-conn":
		return cfg.Conns == cfg.Callers // it has one caller a connection
	case strings.HasPrefix(candidate, "socket"):
		return alone
	case candidate == "teleport-slow":
		return false // it has a table of its own
	}
	return !alone
}

// order returns the order of n candidates in a round. The stride differs from round
// to round, so that no candidate always runs after the same neighbour and what that
// one leaves behind.
func order(n, round int) []int {
	var strides []int
	for s := 1; s < max(n, 2); s++ {
		if gcd(s, n) == 1 {
			strides = append(strides, s)
		}
	}
	stride := strides[round%len(strides)]
	list := make([]int, n)
	for i := range list {
		list[i] = (round + i*stride) % n
	}
	return list
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// turn is a window that is planned.
type turn struct {
	table     string
	candidate candidate
	config    harness.Config
	round     int
	size      int
	// block numbers the turns that are compared with each other; their windows have
	// the same length.
	block int
}

// plan returns the turns of the table of calls: in each round all configurations, in
// each configuration all candidates that fit.
func plan(list []candidate, cfgs []harness.Config, rounds int) []turn {
	return planTable(tableCalls, list, cfgs, rounds, func(c candidate, cfg harness.Config) bool { return !c.noCalls && fits(c.name, cfg) })
}

// planTable returns the turns of a table, for the candidates that have a configuration.
func planTable(table string, list []candidate, cfgs []harness.Config, rounds int, has func(candidate, harness.Config) bool) (turns []turn) {
	block := 0
	for round := range rounds {
		for i, cfg := range cfgs {
			var fitting []candidate
			for _, c := range list {
				if has(c, cfg) {
					fitting = append(fitting, c)
				}
			}
			for _, j := range order(len(fitting), round+i) {
				turns = append(turns, turn{table: table, candidate: fitting[j], config: cfg, round: round, block: block})
			}
			block++
		}
	}
	return turns
}

// planNamed is planTable for configurations by their names.
func planNamed(table string, list []candidate, configs string, rounds int, has func(candidate, harness.Config) bool) []turn {
	cfgs, err := parseConfigs(configs)
	if err != nil {
		return nil
	}
	return planTable(table, list, cfgs, rounds, has)
}

// warmUp is the length of the warm-up before a window, as a part of the window's.
const warmUp = 1.0 / 3

// shortest is the least length of a window.
const shortest = 60 * time.Millisecond

// budget keeps a run within its time: it records what windows take besides their
// length, and shortens those that are left.
type budget struct {
	want    time.Duration // length of a window
	end     time.Time     // zero: no limit
	spent   map[string]time.Duration
	windows map[string]int
}

func newBudget(want, limit time.Duration) *budget {
	b := &budget{want: want, spent: map[string]time.Duration{}, windows: map[string]int{}}
	if limit > 0 {
		b.end = time.Now().Add(limit)
	}
	return b
}

// done records what a window took in all.
func (b *budget) done(t turn, window, took time.Duration) {
	b.spent[t.config.Name] += max(0, took-withWarmUp(window))
	b.windows[t.config.Name]++
}

// overhead estimates what a window takes besides its length: two processes and
// their connections.
func (b *budget) overhead(t turn) time.Duration {
	if n := b.windows[t.config.Name]; n > 0 {
		return b.spent[t.config.Name] / time.Duration(n)
	}
	// Without a window of this configuration, assume the average of the others.
	guess := 120*time.Millisecond + time.Duration(t.config.Conns)*150*time.Microsecond
	var spent time.Duration
	windows := 0
	for name, n := range b.windows {
		spent, windows = spent+b.spent[name], windows+n
	}
	return max(guess, spent/time.Duration(max(windows, 1)))
}

func withWarmUp(window time.Duration) time.Duration {
	return window + time.Duration(float64(window)*warmUp)
}

// left estimates the time of the turns with windows of this length.
func (b *budget) left(turns []turn, window time.Duration) (sum time.Duration) {
	for _, t := range turns {
		sum += b.overhead(t) + withWarmUp(window)
	}
	return sum
}

// window returns the length of the next windows that lets all turns end in time.
func (b *budget) window(turns []turn, now time.Time) time.Duration {
	if b.end.IsZero() || len(turns) == 0 {
		return b.want
	}
	free := b.end.Sub(now) - b.left(turns, 0)
	fair := time.Duration(float64(free) / (1 + warmUp) / float64(len(turns)))
	return min(b.want, max(shortest, fair))
}

// over reports whether there is no time for another window.
func (b *budget) over(t turn, window time.Duration, now time.Time) bool {
	return !b.end.IsZero() && now.Add(b.overhead(t)+withWarmUp(window)).After(b.end)
}
