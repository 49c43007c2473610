package main

import (
	"strings"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

// fits says whether a candidate has a place in a configuration.
func fits(candidate string, cfg harness.Config) bool {
	alone := cfg.Name[0] == 's' // the socket package alone, and its floor
	switch {
	case candidate == "floor-conn":
		return cfg.Conns == cfg.Callers // it has one caller a connection
	case strings.HasPrefix(candidate, "socket"):
		return alone
	case candidate == "teleport-slow":
		return false // has a table of its own
	}
	return !alone
}

// order is in which order n candidates take their turns in a round. The next one is
// not at the same distance in every round, so that nobody always follows the same
// neighbour, who may leave something behind.
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

// turn is a window to come.
type turn struct {
	table     string
	candidate candidate
	config    harness.Config
	round     int
	size      int
	// block is the turns that are compared with each other: their windows have one length.
	block int
}

// plan lets all candidates that fit take their turns, configuration by configuration.
func plan(list []candidate, cfgs []harness.Config, rounds int) (turns []turn) {
	block := 0
	for round := range rounds {
		for i, cfg := range cfgs {
			var fitting []candidate
			for _, c := range list {
				if fits(c.name, cfg) {
					fitting = append(fitting, c)
				}
			}
			for _, j := range order(len(fitting), round+i) {
				turns = append(turns, turn{table: tableCalls, candidate: fitting[j], config: cfg, round: round, block: block})
			}
			block++
		}
	}
	return turns
}

// warmUp is the part of a window's length that a client calls before it.
const warmUp = 1.0 / 3

// shortest is the shortest window that says anything.
const shortest = 60 * time.Millisecond

// pace keeps a run within its time: it knows what windows cost besides their
// length, and shortens the windows to come.
type pace struct {
	want    time.Duration // length of a window
	end     time.Time     // zero: no limit
	spent   map[string]time.Duration
	windows map[string]int
}

func newPace(want, limit time.Duration) *pace {
	p := &pace{want: want, spent: map[string]time.Duration{}, windows: map[string]int{}}
	if limit > 0 {
		p.end = time.Now().Add(limit)
	}
	return p
}

// done tells what a window took in all.
func (p *pace) done(t turn, window, took time.Duration) {
	p.spent[t.config.Name] += max(0, took-withWarmUp(window))
	p.windows[t.config.Name]++
}

// overhead is what a window costs besides its length: two processes, connections.
func (p *pace) overhead(t turn) time.Duration {
	if n := p.windows[t.config.Name]; n > 0 {
		return p.spent[t.config.Name] / time.Duration(n)
	}
	// Nothing is known of this configuration: the machine is as slow as with the others.
	guess := 120*time.Millisecond + time.Duration(t.config.Conns)*150*time.Microsecond
	var spent time.Duration
	windows := 0
	for name, n := range p.windows {
		spent, windows = spent+p.spent[name], windows+n
	}
	return max(guess, spent/time.Duration(max(windows, 1)))
}

func withWarmUp(window time.Duration) time.Duration {
	return window + time.Duration(float64(window)*warmUp)
}

// left estimates what the turns take with windows of this length.
func (p *pace) left(turns []turn, window time.Duration) (sum time.Duration) {
	for _, t := range turns {
		sum += p.overhead(t) + withWarmUp(window)
	}
	return sum
}

// window is how long the next windows may be for the turns to end in time.
func (p *pace) window(turns []turn, now time.Time) time.Duration {
	if p.end.IsZero() || len(turns) == 0 {
		return p.want
	}
	free := p.end.Sub(now) - p.left(turns, 0)
	fair := time.Duration(float64(free) / (1 + warmUp) / float64(len(turns)))
	return min(p.want, max(shortest, fair))
}

// over says that there is no time for another window.
func (p *pace) over(t turn, window time.Duration, now time.Time) bool {
	return !p.end.IsZero() && now.Add(p.overhead(t)+withWarmUp(window)).After(p.end)
}
