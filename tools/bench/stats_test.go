package main

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		name   string
		values []float64
		want   float64
	}{
		{"none", nil, 0},
		{"one", []float64{3}, 3},
		{"odd, unsorted", []float64{9, 1, 5}, 5},
		{"even", []float64{4, 1, 100, 2}, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			was := slices.Clone(test.values)
			if got := median(test.values); got != test.want {
				t.Errorf("median of %v is %v, want %v", test.values, got, test.want)
			}
			if !slices.Equal(was, test.values) {
				t.Errorf("median has changed its argument to %v", test.values)
			}
		})
	}
}

// at is a window of a round with so many calls a second, in a phase.
func at(round int, rate int64, phaseName string) window {
	return window{Table: tableCalls, Candidate: "x", Config: "a1", Round: round, Phase: phase{Name: phaseName},
		Load: harness.Load{Calls: rate, Elapsed: time.Second}}
}

func TestRatiosArePaired(t *testing.T) {
	failed := at(3, 50, "near")
	failed.Error = "failed"
	base := cell{at(0, 100, "near"), at(1, 10, "far"), at(2, 100, "near"), at(3, 100, "near"), at(5, 100, "near")}
	mine := cell{at(0, 200, "near"), at(1, 30, "far"), at(2, 900, "far"), failed, at(4, 1, "near")}
	// The ratios are 2, 3 and 9; the last one is across phases.
	if got := mine.over(base, window.rate, false); got != 3 {
		t.Errorf("ratio %v, want 3", got)
	}
	if got := mine.over(base, window.rate, true); got != 2.5 {
		t.Errorf("ratio within phases %v, want 2.5", got)
	}
	if got := mine.rate(); got != 115 { // of 200, 30, 900 and 1
		t.Errorf("rate %v, want 115", got)
	}
}

func TestGateDropsWhatChanged(t *testing.T) {
	paced := func(round int, before, after time.Duration) window {
		w := at(round, int64(100*(round+1)), "")
		w.Phase = phase{Before: before, After: after}
		return w
	}
	for _, gate := range []bool{false, true} {
		d := &document{Gate: gate, Windows: []window{paced(0, 80, 82), paced(1, 370, 350), paced(2, 81, 360), paced(3, 0, 80), paced(4, 79, 80)}}
		d.classify()
		var names []string
		for _, w := range d.Windows {
			names = append(names, w.Phase.Name)
		}
		if got, want := strings.Join(names, " "), "near far changed unknown near"; got != want {
			t.Errorf("phases %s, want %s", got, want)
		}
		if d.Phases["near"] != 2 || d.Phases["far"] != 1 || d.Phases["changed"] != 1 || d.Phases["unknown"] != 1 {
			t.Errorf("counts of phases: %v", d.Phases)
		}
		if got := d.Windows[2].Dropped; got != gate {
			t.Errorf("with gate %v, the changed window is dropped: %v", gate, got)
		}
		if d.Windows[0].Dropped || d.Windows[1].Dropped || d.Windows[3].Dropped {
			t.Error("an unchanged window is dropped")
		}
	}
}

func TestOnePhaseIsNear(t *testing.T) {
	list := []*phase{{Before: 80, After: 95}, {Before: 100, After: 85}, {Before: 110, After: 90}}
	namePhases(list)
	for _, p := range list {
		if p.Name != "near" {
			t.Errorf("%v to %v is %s, want near: there is one phase only", p.Before, p.After, p.Name)
		}
	}
	if border := borderOf(nil); !math.IsInf(border, 1) {
		t.Errorf("the border of nothing is %v", border)
	}
}

func TestPingIsATimeOrNothing(t *testing.T) {
	begin := time.Now()
	d := ping()
	if d < 0 || d > pingLimit {
		t.Errorf("round trip of %v", d)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("ping took %v", took)
	}
}

func TestBestPeerIsNoneOfOurs(t *testing.T) {
	d := &document{}
	for name, rate := range map[string]int64{"floor": 900, "teleport-typed": 500, "socket": 400, "arpc": 90, "nats": 100, "grpc": 20} {
		w := at(0, rate, "near")
		w.Candidate = name
		d.Windows, d.Candidates = append(d.Windows, w), append(d.Candidates, described{Name: name})
	}
	d.classify()
	if got := d.bestPeer(cellKey{table: tableCalls, config: "a1"}); got != "nats" {
		t.Errorf("best peer %q, want nats", got)
	}
	if got := d.bestPeer(cellKey{table: tableCalls, config: "b1"}); got != "" {
		t.Errorf("best peer of a configuration that was not measured: %q", got)
	}
}

func TestTexts(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{rateText(0), "–"}, {rateText(12.3), "12"}, {rateText(999.6), "1.00k"}, {rateText(9996), "10.0k"}, {rateText(99_960), "100k"},
		{rateText(689_204), "689k"}, {rateText(999_600), "1.00M"}, {rateText(1_930_000), "1.93M"},
		{durationText(0), "–"}, {durationText(999), "999 ns"}, {durationText(999.7), "1 µs"}, {durationText(12_340), "12.3 µs"}, {durationText(5.58e6), "5.58 ms"}, {durationText(2e9), "2 s"},
		{sizeText(64), "64 B"}, {sizeText(4096), "4 KiB"}, {sizeText(16 << 20), "16 MiB"},
		{ratioText(0), "–"}, {ratioText(2.346), "2.35"},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}
