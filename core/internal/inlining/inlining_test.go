package inlining

import (
	"sync"
	"testing"
	"time"
)

const (
	quick = int64(time.Microsecond)
	fair  = int64(10 * time.Microsecond)
	slow  = int64(10 * time.Millisecond)
	step  = int64(time.Millisecond)
)

// run gives p n samples, a step apart, and returns the time after them.
func run(p *Record, now int64, n int, took, step int64) int64 {
	for range n {
		p.Sample(now, took)
		now += step
	}
	return now
}

func TestEarn(t *testing.T) {
	for _, test := range []struct {
		name string
		give func(p *Record)
		want bool
	}{
		{"nothing known", func(p *Record) {}, false},
		{"one short of enough", func(p *Record) { run(p, 0, enough-1, quick, step) }, false},
		{"enough", func(p *Record) { run(p, 0, enough, quick, step) }, true},
		{"too rare", func(p *Record) { run(p, 0, 10*enough, quick, hot/4) }, false},
		{"rare, then often", func(p *Record) { run(p, run(p, 0, enough/2, quick, hot), 2*enough, quick, step) }, true},
		{"not short", func(p *Record) { run(p, 0, 10*enough, fair, step) }, false},
		{"one in two is not short", func(p *Record) {
			for i := range int64(10 * enough) {
				p.Sample(i*step/10, []int64{quick, fair}[i%2])
			}
		}, false},
		{"one in fifty is slow", func(p *Record) {
			for i := range int64(49) {
				p.Sample(i, quick)
			}
			p.Sample(50, slow)
			run(p, 51, enough, quick, step)
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := new(Record)
			test.give(p)
			if got := p.Allowed(); got != test.want {
				t.Errorf("Allowed() = %v, want %v", got, test.want)
			}
		})
	}
}

func TestAllowedIsReportedOnce(t *testing.T) {
	p := new(Record)
	reported := 0
	for i := range int64(3 * enough) {
		if p.Sample(i, quick) {
			reported++
		}
	}
	if reported != 1 {
		t.Errorf("reported %d times, want once", reported)
	}
}

// Each ban lasts longer than the one before, unless there was none for long.
func TestLose(t *testing.T) {
	p := new(Record)
	now := run(p, 0, enough, quick, step)
	for _, ban := range []int64{20, 160, 1280, 10240, 60000, 60000} {
		ban *= int64(time.Millisecond)
		if !p.Allowed() {
			t.Fatal("not allowed")
		}
		p.Slow(now, false)
		if p.Allowed() {
			t.Fatal("one slow call has not taken it away")
		}
		run(p, now, enough, quick, (ban-1)/enough)
		p.Sample(now+ban-1, quick)
		if p.Allowed() {
			t.Fatalf("allowed again within %v", time.Duration(ban))
		}
		now = run(p, now+ban, enough, quick, step/100)
	}
	now = run(p, now, apart, quick, 1)
	now += soon*maxBan + 1
	p.Slow(now, false)
	if !p.Allowed() {
		t.Error("one slow call among many has taken it away")
	}
	p.Slow(now, false)
	run(p, now+firstBan, enough, quick, step)
	if !p.Allowed() {
		t.Error("an old loss still counts")
	}
}

func TestSlowCallsApart(t *testing.T) {
	for _, test := range []struct {
		name    string
		samples int
		want    bool
	}{
		{"far enough apart", apart, true},
		{"too near", apart - 1, false},
	} {
		p := new(Record)
		now := run(p, 0, enough+test.samples, quick, step/100)
		for range 5 {
			p.Slow(now, false)
			now = run(p, now, test.samples, quick, step/100)
		}
		if got := p.Allowed(); got != test.want {
			t.Errorf("%s: Allowed() = %v, want %v", test.name, got, test.want)
		}
	}
}

func TestSlowSamplesLose(t *testing.T) {
	for _, test := range []struct {
		name string
		took int64
		n    int // samples until the ban
	}{
		{"not short any more", fair, enough / 2},
		{"slow", slow, 4},
	} {
		p := new(Record)
		now := run(p, 0, enough+5, quick, step)
		now = run(p, now, test.n-1, test.took, step)
		if !p.Allowed() {
			t.Errorf("%s: banned before %d samples", test.name, test.n)
		}
		now = run(p, now, 1, test.took, step)
		if p.Allowed() {
			t.Errorf("%s: not banned after %d samples", test.name, test.n)
		}
		run(p, now, enough, quick, 1)
		if p.Allowed() {
			t.Errorf("%s: allowed again at once", test.name)
		}
	}
}

func TestSlowOfWhatWasNotEarned(t *testing.T) {
	p := new(Record)
	p.Slow(0, false)
	run(p, 0, enough, quick, step)
	if !p.Allowed() {
		t.Error("there was nothing to lose")
	}
}

func TestConcurrentUse(t *testing.T) {
	p := new(Record)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range int64(5000) {
				p.Sample(i, quick)
				if p.Allowed() && g == 0 && i%100 == 0 {
					p.Slow(i, false)
				}
			}
		})
	}
	wg.Wait()
}
