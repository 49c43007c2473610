package main

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// phase is the distance of the cores around a window. The virtual cores of a shared
// machine move; the round trip of a cache line between them shows how far apart
// they are.
type phase struct {
	Before, After time.Duration // round trip of a cache line; 0 if it could not be measured
	Name          string        // near, far, changed or unknown, relative to all windows of the run
}

const (
	pingBatches = 15
	pingTrips   = 100
	pingLimit   = 100 * time.Millisecond // for all of them; with a busy neighbour on a core there is no result
)

// ping measures the round trip of a cache line between two threads: one counts to
// odd numbers, the other to even ones. It returns 0 if that takes too long, or if
// there is only one core.
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

// apart is the least ratio of the round trips of two phases.
const apart = 1.6

// namePhases sets the names of the phases. If there are two clusters of round trips,
// they are near and far: the sorted round trips are cut where the sum of the squared
// distances within both parts is least.
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

// borderOf returns a value between the two clusters; +Inf if there is only one.
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

// spreadOf returns the sum of the squared distances to the mean.
func spreadOf(list []float64) (sum float64) {
	m := mean(list)
	for _, v := range list {
		sum += (v - m) * (v - m)
	}
	return sum
}
