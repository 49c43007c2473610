package main

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// phase is how far the cores were apart around a window. The virtual cores of a
// shared machine move: what a cache line takes between them says where they are.
type phase struct {
	Before, After time.Duration // round trip of a cache line; 0 if it could not be measured
	Name          string        // near, far, changed or unknown; by all windows of the run
}

const (
	pingBatches = 15
	pingTrips   = 100
	pingLimit   = 100 * time.Millisecond // for all; who shares a core with somebody else gives up
)

// ping measures the round trip of a cache line between two threads: one counts to
// odd numbers, the other to even ones. It is 0 where there is a single core.
func ping() time.Duration {
	if runtime.NumCPU() < 2 {
		return 0
	}
	var line struct {
		_ [64]byte
		n atomic.Int64
		_ [64]byte
	}
	var over atomic.Bool
	limit := time.AfterFunc(pingLimit, func() { over.Store(true) })
	defer limit.Stop()
	await := func(n int64) bool {
		for line.n.Load() != n {
			if over.Load() {
				return false
			}
		}
		return true
	}
	var batches []time.Duration
	var wg sync.WaitGroup
	wg.Go(func() {
		ownCore(0) // its thread ends with it
		for i := range int64(pingBatches * pingTrips) {
			if !await(2*i + 1) {
				return
			}
			line.n.Store(2*i + 2)
		}
	})
	wg.Go(func() {
		ownCore(1)
		var at time.Time
		for i := range int64(pingBatches * pingTrips) {
			if i%pingTrips == 0 {
				at = time.Now()
			}
			line.n.Store(2*i + 1)
			if !await(2*i + 2) {
				return
			}
			if i%pingTrips == pingTrips-1 {
				batches = append(batches, time.Since(at)/pingTrips)
			}
		}
	})
	wg.Wait()
	if len(batches) < 3 {
		return 0
	}
	slices.Sort(batches[1:]) // the first one warms up
	return batches[1:][len(batches[1:])/2]
}

// apart is how many times farther the far cores must be for there to be two phases.
const apart = 1.6

// namePhases sorts the windows' phases into near and far, where the run has seen
// both: it cuts the sorted round trips where the two parts are most alike within.
func namePhases(list []*phase) {
	var logs []float64
	for _, p := range list {
		for _, d := range []time.Duration{p.Before, p.After} {
			if d > 0 {
				logs = append(logs, math.Log(float64(d)))
			}
		}
	}
	border := borderOf(logs)
	side := func(d time.Duration) string {
		switch {
		case d == 0:
			return "unknown"
		case math.Log(float64(d)) < border:
			return "near"
		}
		return "far"
	}
	for _, p := range list {
		p.Name = side(p.Before)
		if after := side(p.After); after != p.Name {
			p.Name = "changed"
			if p.Before == 0 || p.After == 0 {
				p.Name = "unknown"
			}
		}
	}
}

// borderOf is between the two clusters of the values; above all if there is one.
func borderOf(logs []float64) float64 {
	slices.Sort(logs)
	best, border := math.Inf(1), math.Inf(1)
	for i := 1; i < len(logs); i++ {
		low, high := logs[:i], logs[i:]
		if spread := spreadOf(low) + spreadOf(high); spread < best && mean(high)-mean(low) >= math.Log(apart) {
			best, border = spread, (low[i-1]+high[0])/2
		}
	}
	return border
}

func mean(list []float64) (m float64) {
	for _, v := range list {
		m += v
	}
	return m / float64(len(list))
}

// spreadOf is the sum of the squared distances to the mean.
func spreadOf(list []float64) (sum float64) {
	m := mean(list)
	for _, v := range list {
		sum += (v - m) * (v - m)
	}
	return sum
}
