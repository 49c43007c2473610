package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/schollz/progressbar/v3"

	tp "github.com/teleport-go/teleport/core"
)

// latencies counts in microseconds, up to a minute, with two digits.
func latencies() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 2) }

// bench repeats the call of the first section for a while, from many goroutines.
func (d *demo) bench(ctx context.Context, callers int, duration time.Duration) error {
	d.heading(fmt.Sprintf("Benchmark: the same call, %d callers, one connection, %v", callers, duration))
	counts := make([]atomic.Int64, callers)
	done := func() (n int64) {
		for i := range counts {
			n += counts[i].Load()
		}
		return n
	}
	serverBefore, err := d.serverMallocs(ctx)
	if err != nil {
		return err
	}
	clientBefore := mallocs()

	running, stop := context.WithTimeout(ctx, duration)
	defer stop()
	progress := startProgress(d.out, duration, done)
	all, failure := latencies(), error(nil)
	var mu sync.Mutex // guards all and failure
	var wg sync.WaitGroup
	start := time.Now()
	for i := range callers {
		wg.Go(func() {
			mine, err := d.callAgain(running, &counts[i])
			mu.Lock()
			defer mu.Unlock()
			all.Merge(mine)
			if err != nil {
				failure = err
				stop()
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	progress()
	if err := ctx.Err(); err != nil {
		return err
	}
	if failure != nil {
		return fmt.Errorf("benchmark: %w", failure)
	}

	clientAfter := mallocs()
	serverAfter, err := d.serverMallocs(ctx)
	if err != nil {
		return err
	}
	n := done()
	rate := float64(n) / took.Seconds()
	micros := func(q float64) time.Duration {
		return time.Duration(all.ValueAtQuantile(q)) * time.Microsecond
	}
	d.say("client", "%d calls in %v", n, round(took))
	d.shown = append(d.shown,
		[2]string{"throughput", fmt.Sprintf("%.0f calls/s, %d callers on one connection, JSON bodies", rate, callers)},
		[2]string{"latency", fmt.Sprintf("p50 %v, p99 %v, longest %v", micros(50), micros(99), time.Duration(all.Max())*time.Microsecond)},
		[2]string{"allocations", fmt.Sprintf("%.1f a call in the client, %.1f in the server", per(clientAfter-clientBefore, n), per(serverAfter-serverBefore, n))},
	)
	return nil
}

// callAgain makes calls one after the other until ctx ends, and counts them.
func (d *demo) callAgain(ctx context.Context, count *atomic.Int64) (*hdrhistogram.Histogram, error) {
	h := latencies()
	numbers := []int{1, 2, 3, 4, 5}
	for ctx.Err() == nil {
		start := time.Now()
		sum, err := tp.Invoke[int](context.Background(), d.sess, "/math/add", numbers)
		if err != nil {
			return h, err
		}
		if sum != 15 {
			return h, fmt.Errorf("the sum of %v came back as %d", numbers, sum)
		}
		h.RecordValue(max(time.Since(start).Microseconds(), 1))
		count.Add(1)
	}
	return h, nil
}

func (d *demo) serverMallocs(ctx context.Context) (uint64, error) {
	return tp.Invoke[uint64](ctx, d.sess, "/demo/mallocs", nil)
}

func per(n uint64, calls int64) float64 { return float64(n) / float64(max(calls, 1)) }

// startProgress shows the progress of the benchmark: a bar on a terminal, else a
// line a second. The function that it returns ends it.
func startProgress(out io.Writer, duration time.Duration, done func() int64) (stop func()) {
	show, every := lines(out), time.Second
	if terminal(out) {
		show, every = bar(out, duration), 100*time.Millisecond
	}
	quit, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		tick := time.NewTicker(every)
		defer tick.Stop()
		start, last, before := time.Now(), time.Now(), int64(0)
		for {
			select {
			case <-tick.C:
				now, n := time.Now(), done()
				show(now.Sub(start), float64(n-before)/now.Sub(last).Seconds())
				last, before = now, n
			case <-quit:
				show(duration, -1)
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-over
	}
}

func terminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// lines prints time and rate, a line each; a negative rate is the end.
func lines(out io.Writer) func(time.Duration, float64) {
	return func(at time.Duration, rate float64) {
		if rate >= 0 {
			fmt.Fprintf(out, "  %4.0fs | %.0f calls/s\n", at.Seconds(), rate)
		}
	}
}

func bar(out io.Writer, duration time.Duration) func(time.Duration, float64) {
	b := progressbar.NewOptions64(duration.Milliseconds(),
		progressbar.OptionSetWriter(out), progressbar.OptionSetWidth(40), progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetPredictTime(false), progressbar.OptionClearOnFinish())
	return func(at time.Duration, rate float64) {
		if rate >= 0 {
			b.Describe(fmt.Sprintf("  %7.0f calls/s", rate))
		}
		b.Set64(min(at.Milliseconds(), duration.Milliseconds()))
	}
}
