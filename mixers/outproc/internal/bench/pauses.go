//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/teleport-go/teleport/mixers/outproc"
)

// pauseTable measures starts, and how long 16 callers get no answer when a guest is
// killed or replaced.
func pauseTable() {
	var starts []float64
	var rss int64
	for range *sets * 4 {
		begun := time.Now()
		h := load()
		_, err := outside().OnPack(item)
		must(err)
		starts = append(starts, time.Since(begun).Seconds()*1000)
		rss = h.Health().Processes[0].RSS
		must(h.Close())
	}
	replicas := func(g *outproc.Guest) { g.Replicas = 2 }
	fmt.Println("| | ms |\n|---|--:|")
	fmt.Printf("| Load to the first answer | %.1f |\n", median(starts))
	fmt.Printf("| longest pause of 16 callers at kill -9 | %.1f |\n", pauses(kill))
	fmt.Printf("| the same with Replicas: 2 | %.1f |\n", pauses(kill, replicas))
	fmt.Printf("| longest pause at Reload | %.1f |\n", pauses(func(h *outproc.Handle) { must(h.Reload(background)) }))
	fmt.Printf("| longest pause without an event, for comparison | %.1f |\n", pauses(func(*outproc.Handle) { time.Sleep(50 * time.Millisecond) }))
	fmt.Printf("\nResident memory of the guest after its first item: %.1f MiB\n", float64(rss)/(1<<20))
}

func kill(h *outproc.Handle) {
	before := h.Restarts()
	for _, p := range h.Health().Processes {
		if p.Active {
			must(syscall.Kill(p.PID, syscall.SIGKILL))
		}
	}
	for h.Restarts() == before || h.Health().State != outproc.Ready {
		time.Sleep(time.Millisecond)
	}
}

// pauses returns the median of the longest pauses between two answers, in milliseconds.
func pauses(event func(*outproc.Handle), change ...func(*outproc.Guest)) float64 {
	var list []float64
	for range *sets * 2 {
		list = append(list, longestPause(event, change...))
	}
	return median(list)
}

func longestPause(event func(*outproc.Handle), change ...func(*outproc.Guest)) float64 {
	h := load(change...)
	defer h.Close()
	f := outside()
	var stop atomic.Bool
	var mu sync.Mutex
	var last time.Time
	var longest time.Duration
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for !stop.Load() {
				_, err := f.OnPack(item)
				must(err)
				mu.Lock()
				now := time.Now()
				if !last.IsZero() {
					longest = max(longest, now.Sub(last))
				}
				last = now
				mu.Unlock()
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	mu.Lock()
	longest = 0
	mu.Unlock()
	event(h)
	stop.Store(true)
	wg.Wait()
	return longest.Seconds() * 1000
}

// restartTable kills a guest n times, and prints what is left.
func restartTable(n int) {
	h := load()
	f := outside()
	kill(h) // there is a poller for each processor, made when it gets its first lane
	must(h.Reload(background))
	begun := time.Now()
	before := leftovers()
	for i := range n {
		kill(h)
		_, err := f.OnPack(item)
		must(err)
		if i%4 == 3 { // five within a minute would be a quarantine
			must(h.Reload(background))
		}
	}
	for end := time.Now().Add(5 * time.Second); leftovers() != before && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Printf("%d restarts and %d reloads in %v: before %s; after %s\n", n, n/4, time.Since(begun).Round(time.Second), before, leftovers())
	must(h.Close())
	if _, err := f.OnPack(item); !errors.Is(err, outproc.ErrGuestUnavailable) {
		must(fmt.Errorf("after Close: %w", err))
	}
}

// leftovers counts what a restart could leave behind.
func leftovers() string {
	count := func(pattern string) int {
		list, err := filepath.Glob(pattern)
		must(err)
		return len(list)
	}
	base := os.Getenv("XDG_RUNTIME_DIR")
	if base == "" {
		base = os.TempDir()
	}
	return fmt.Sprintf("%d goroutines, %d descriptors, %d directories", runtime.NumGoroutine(), count("/proc/self/fd/*"), count(filepath.Join(base, "teleport-guests-*")))
}
