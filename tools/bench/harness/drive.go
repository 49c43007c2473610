package harness

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Load is what a client has measured in one window.
type Load struct {
	Calls          int64
	Elapsed        time.Duration
	Mean, P50, P99 time.Duration // of every eighth call
	P999, Min, Max time.Duration
	Usage          Usage
	Bulk           int64 `json:",omitempty"` // bytes that a bulk stream has moved meanwhile
}

// Ready is what a client reports before it waits for the line that starts the window.
type Ready struct {
	Connecting time.Duration // time for all connections and the first call over each
}

// sampled is the number of a caller's calls of which one is timed.
const sampled = 8

// longest is the longest time of a call that is recorded; longer ones count as it.
const longest = time.Minute

// caller is what one of the goroutines of a window does.
type caller struct {
	call func() error // again and again
	end  func() error // at the end, within the measured time; nil: nothing
}

// drive runs the callers for the window, and waits for their last calls.
func drive(callers []caller, window time.Duration) (Load, error) {
	var stop atomic.Bool
	var mu sync.Mutex
	var first error
	var failed int
	var total int64
	all := hdrhistogram.New(1, int64(longest), 3)
	var wg sync.WaitGroup
	begin := time.Now()
	for _, c := range callers {
		wg.Go(func() {
			n, times, err := callUntil(&stop, c.call)
			if err == nil && c.end != nil {
				err = c.end()
			}
			mu.Lock()
			defer mu.Unlock()
			total += n
			for _, d := range times {
				all.RecordValue(int64(min(d, longest)))
			}
			if err != nil {
				failed++
				if first == nil {
					first = err
				}
			}
		})
	}
	timer := time.AfterFunc(window, func() { stop.Store(true) })
	defer timer.Stop()
	wg.Wait()
	if first != nil {
		return Load{}, fmt.Errorf("harness: %d of %d callers failed: %w", failed, len(callers), first)
	}
	return Load{
		Calls: total, Elapsed: time.Since(begin), Mean: time.Duration(all.Mean()),
		P50: time.Duration(all.ValueAtQuantile(50)), P99: time.Duration(all.ValueAtQuantile(99)),
		P999: time.Duration(all.ValueAtQuantile(99.9)), Min: time.Duration(all.Min()), Max: time.Duration(all.Max()),
	}, nil
}

// callUntil calls, at least once, until it is stopped or a call fails.
func callUntil(stop *atomic.Bool, call func() error) (n int64, times []time.Duration, err error) {
	for n == 0 || !stop.Load() {
		if n%sampled != 0 {
			if err = call(); err != nil {
				return n, times, err
			}
		} else {
			at := time.Now()
			if err = call(); err != nil {
				return n, times, err
			}
			times = append(times, time.Since(at))
		}
		n++
	}
	return n, times, nil
}
