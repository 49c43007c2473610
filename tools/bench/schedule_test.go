package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

func TestOrderIsFair(t *testing.T) {
	for n := range 20 {
		for round := range 6 {
			got := slices.Sorted(slices.Values(order(n, round)))
			for i, v := range got {
				if i != v || len(got) != n {
					t.Fatalf("order(%d, %d) is not a permutation: %v", n, round, got)
				}
			}
		}
	}
	follows := map[[2]int]int{}
	const n, rounds = 11, 5
	for round := range rounds {
		list := order(n, round)
		for i := 1; i < n; i++ {
			follows[[2]int{list[i-1], list[i]}]++
		}
	}
	for pair, times := range follows {
		if times > 1 {
			t.Errorf("%d follows %d in %d of %d rounds", pair[1], pair[0], times, rounds)
		}
	}
}

func TestFits(t *testing.T) {
	for _, test := range []struct {
		candidate string
		want      string
	}{
		{"arpc", "a1 a100 b100 c1000"},
		{"teleport-typed", "a1 a100 b100 c1000"},
		{"floor", "a1 a100 b100 c1000"},
		{"floor-conn", "a1 b100 s100"},
		{"socket", "s100"},
		{"teleport-slow", ""},
	} {
		var got []string
		for _, name := range strings.Fields("a1 a100 b100 c1000 s100") {
			cfg, err := harness.ParseConfig(name)
			require.NoError(t, err)
			if fits(test.candidate, cfg) {
				got = append(got, name)
			}
		}
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("%s fits %q, want %q", test.candidate, got, test.want)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		name, args string
		want       string
		err        string
	}{
		{"full", "", "13 configs, 5 rounds of 1s, 10000 idle, 10 sizes, slow true, also \"tplg\"", ""},
		{"quick", "-quick", "5 configs, 2 rounds of 400ms, 0 idle, 0 sizes, slow false, also \"\"", ""},
		{"quick, as asked", "-quick -rounds 3 -window 50ms -configs a1,c1000", "2 configs, 3 rounds of 50ms, 0 idle, 0 sizes, slow false, also \"\"", ""},
		{"quick and idle", "-quick -idle 500", "5 configs, 2 rounds of 400ms, 500 idle, 0 sizes, slow false, also \"\"", ""},
		{"idle alone", "-idle 500", "0 configs, 5 rounds of 1s, 500 idle, 0 sizes, slow false, also \"\"", ""},
		{"slow alone", "-slow", "0 configs, 5 rounds of 1s, 0 idle, 0 sizes, slow true, also \"\"", ""},
		{"streams alone", "-streams", "0 configs, 5 rounds of 1s, 0 idle, 0 sizes, slow false, also \"tp\"", ""},
		{"bulk alone", "-bulk", "0 configs, 5 rounds of 1s, 0 idle, 0 sizes, slow false, also \"l\"", ""},
		{"broadcast alone", "-broadcast 50", "0 configs, 5 rounds of 1s, 0 idle, 0 sizes, slow false, also \"g\"", ""},
		{"sizes and calls", "-sizes -configs b100,s1", "2 configs, 5 rounds of 1s, 0 idle, 10 sizes, slow false, also \"\"", ""},
		{"calls alone", "-idle 0 -sizes=false -slow=false -streams=false -bulk=false -broadcast 0", "13 configs, 5 rounds of 1s, 0 idle, 0 sizes, slow false, also \"\"", ""},
		{"all but one table", "-slow=false", "13 configs, 5 rounds of 1s, 10000 idle, 10 sizes, slow false, also \"tplg\"", ""},
		{"no calls", "-configs none", "0 configs, 5 rounds of 1s, 10000 idle, 10 sizes, slow true, also \"tplg\"", ""},
		{"some calls", "-configs a1,b100 -rounds 1", "2 configs, 1 rounds of 1s, 0 idle, 0 sizes, slow false, also \"\"", ""},
		{"unknown letter", "-configs d5", "", "letter"},
		{"no number", "-configs a", "", "a"},
		{"nobody", "-configs a0", "", "1 to 100000"},
		{"unknown peer", "-peers nobody", "", "nobody"},
		{"a peer twice", "-peers arpc,arpc", "", "named twice"},
		{"no round", "-rounds 0", "", "-rounds: want a number of 1 to 1000"},
		{"no window", "-window 0s", "", "-window: want a duration above 0"},
		{"too many sessions", "-idle 100001", "", "-idle: want a number of 0 to 100000"},
		{"no truth", "-sizes=perhaps", "", "perhaps"},
		{"profiles of no calls", "-slow -profile x", "", "-profile is for the tables of calls"},
		{"no table", "-configs none -idle 0 -sizes=false -slow=false -streams=false -bulk=false -broadcast 0", "", "nothing to measure"},
		{"no flag", "quick", "", "quick"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, err := parseOptions(strings.Fields(test.args), io.Discard)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want one of %q", err, test.err)
				}
				return
			}
			require.NoError(t, err)
			got := fmt.Sprintf("%d configs, %d rounds of %v, %d idle, %d sizes, slow %v, also %q", len(o.configs), o.rounds, o.window, o.idle, len(o.sizes), o.slow, o.also())
			if got != test.want {
				t.Errorf("%s\nwant %s", got, test.want)
			}
		})
	}
}

func TestBodySizes(t *testing.T) {
	if list := bodySizes(); list[0] != 64 || list[len(list)-1] != 16<<20 || len(list) != 10 {
		t.Errorf("sizes %v, want 64 to 16 Mi in powers of 4", list)
	}
}

// A run of many windows ends within its limit, whatever the windows take besides their
// length. If even the shortest windows take too long, it stops in time.
func TestBudgetKeepsTheLimit(t *testing.T) {
	var list []candidate
	for i := range 19 {
		list = append(list, candidate{name: fmt.Sprintf("peer%d", i)})
	}
	cfgs, err := parseConfigs(quickConfigs)
	require.NoError(t, err)
	turns := plan(list, cfgs, 2)
	for _, test := range []struct {
		name     string
		overhead time.Duration
		all      bool
	}{
		{"cheap", 50 * time.Millisecond, true},
		{"as guessed", 200 * time.Millisecond, true},
		{"slow", 500 * time.Millisecond, true},
		{"very slow", 2 * time.Second, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBudget(400*time.Millisecond, quickLimit)
			begin := b.end.Add(-quickLimit)
			now, done := begin, 0
			var length time.Duration
			for i, turn := range turns {
				if i == 0 || turn.block != turns[i-1].block {
					length = b.window(turns[i:], now)
				}
				if length > 400*time.Millisecond || length < shortest {
					t.Fatalf("window of %v", length)
				}
				if b.over(turn, length, now) {
					break
				}
				took := withWarmUp(length) + test.overhead
				b.done(turn, length, took)
				now = now.Add(took)
				done++
			}
			if took := now.Sub(begin); took > quickLimit+3*time.Second {
				t.Errorf("%d windows took %v, the limit is %v", done, took, quickLimit)
			}
			if all := done == len(turns); all != test.all {
				t.Errorf("%d of %d windows done, want all: %v", done, len(turns), test.all)
			}
		})
	}
}
