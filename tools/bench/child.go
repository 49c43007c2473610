package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// usage is what a process has used so far.
type usage struct {
	CPU    time.Duration // user and system
	Allocs uint64
	Bytes  uint64
	RSS    uint64 // bytes resident now
}

func used() usage {
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return usage{
		CPU:    time.Duration(ru.Utime.Nano() + ru.Stime.Nano()),
		Allocs: ms.Mallocs, Bytes: ms.TotalAlloc, RSS: rss(),
	}
}

func (u usage) since(was usage) usage {
	return usage{u.CPU - was.CPU, u.Allocs - was.Allocs, u.Bytes - was.Bytes, u.RSS}
}

// rss reads the resident size from /proc; 0 where there is none.
func rss() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseUint(fields[1], 10, 64)
	return pages * uint64(os.Getpagesize())
}

// serveChild serves until its standard input ends; every line it reads there is
// answered with its usage.
func serveChild(args []string) error {
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	name := f.String("peer", "", "candidate")
	profile := f.String("profile", "", "CPU profile to write")
	if err := f.Parse(args); err != nil {
		return err
	}
	list, err := choose(*name)
	if err != nil {
		return err
	}
	addr, err := list[0].serve()
	if err != nil {
		return err
	}
	stop, err := startProfile(*profile)
	if err != nil {
		return err
	}
	defer stop()
	fmt.Println(addr)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if in.Text() == "gc" {
			debug.FreeOSMemory()
		}
		if err := json.NewEncoder(os.Stdout).Encode(used()); err != nil {
			return err
		}
	}
	return nil
}

func startProfile(file string) (stop func(), err error) {
	if file == "" {
		return func() {}, nil
	}
	w, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(w); err != nil {
		return nil, err
	}
	return func() { pprof.StopCPUProfile(); w.Close() }, nil
}

// load is what a client has measured in one window.
type load struct {
	Calls          int64
	Elapsed        time.Duration
	Mean, P50, P99 time.Duration
	P999, Max      time.Duration
	Usage          usage
}

// sampled is how many calls of a caller there are to one whose time is taken.
const sampled = 8

// loadChild connects, warms up, says so, waits for a line, and measures.
func loadChild(args []string) error {
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	name := f.String("peer", "", "candidate")
	addr := f.String("addr", "", "server")
	cfgName := f.String("config", "", "configuration")
	window := f.Duration("window", time.Second, "window")
	idle := f.Bool("idle", false, "connect only, then wait for the end of standard input")
	profile := f.String("profile", "", "CPU profile to write")
	if err := f.Parse(args); err != nil {
		return err
	}
	list, err := choose(*name)
	if err != nil {
		return err
	}
	cfg, err := parseConfig(*cfgName)
	if err != nil {
		return err
	}
	calls := make([]func() error, cfg.conns)
	for i := range calls {
		if calls[i], err = list[0].dial(*addr); err != nil {
			return fmt.Errorf("connection %d: %w", i+1, err)
		}
		if err := calls[i](); err != nil {
			return fmt.Errorf("connection %d: first call: %w", i+1, err)
		}
	}
	in := bufio.NewScanner(os.Stdin)
	if *idle {
		fmt.Println("ready")
		in.Scan()
		return nil
	}
	if _, err := drive(calls, cfg.callers, *window/3); err != nil {
		return err
	}
	fmt.Println("ready")
	in.Scan()
	stop, err := startProfile(*profile)
	if err != nil {
		return err
	}
	was := used()
	l, err := drive(calls, cfg.callers, *window)
	if err != nil {
		return err
	}
	l.Usage = used().since(was)
	stop()
	return json.NewEncoder(os.Stdout).Encode(l)
}

// drive lets callers call for the window.
func drive(calls []func() error, callers int, window time.Duration) (load, error) {
	var stop atomic.Bool
	var mu sync.Mutex
	var errs []error
	var total int64
	all := hdrhistogram.New(1, int64(time.Minute), 3)
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range callers {
		call := calls[i%len(calls)]
		wg.Go(func() {
			var n int64
			var times []time.Duration
			var failed error
			for !stop.Load() {
				timed := n%sampled == 0
				var at time.Time
				if timed {
					at = time.Now()
				}
				if failed = call(); failed != nil {
					break
				}
				if timed {
					times = append(times, time.Since(at))
				}
				n++
			}
			mu.Lock()
			defer mu.Unlock()
			total += n
			for _, d := range times {
				all.RecordValue(int64(d))
			}
			if failed != nil {
				errs = append(errs, failed)
			}
		})
	}
	time.AfterFunc(window, func() { stop.Store(true) })
	wg.Wait()
	if len(errs) > 0 {
		return load{}, fmt.Errorf("%d callers failed: %w", len(errs), errors.Join(errs[0]))
	}
	return load{
		Calls: total, Elapsed: time.Since(begin), Mean: time.Duration(all.Mean()),
		P50: time.Duration(all.ValueAtQuantile(50)), P99: time.Duration(all.ValueAtQuantile(99)),
		P999: time.Duration(all.ValueAtQuantile(99.9)), Max: time.Duration(all.Max()),
	}, nil
}
