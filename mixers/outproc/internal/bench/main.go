//go:build unix

// Command bench measures what a part from another process costs, and prints the tables of
// the module's README.
//
//	go run ./internal/bench            all tables, about a minute
//	go run ./internal/bench -only items
//	go run ./internal/bench -restarts 1000
//
// An item is 600 bytes; the part adds a constant to each of them. The ways take turns, and
// a figure is the median of the sets.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/outproc/guest"
)

// envRole makes the program one of the guests.
const envRole = "OUTPROC_BENCH_ROLE"

var (
	sets     = flag.Int("sets", 5, "how often each thing is measured")
	slice    = flag.Duration("time", 300*time.Millisecond, "how long one measurement takes")
	only     = flag.String("only", "", "items, session or pauses: print that table alone")
	restarts = flag.Int("restarts", 0, "restart a guest so often, and count what is left")
)

func main() {
	switch os.Getenv(envRole) {
	case "guest":
		guest.Config{Name: "bench"}.Serve(add{240, "add outside"})
	case "unary":
		serveUnary()
		return
	}
	flag.Parse()
	slog.SetLogLoggerLevel(slog.LevelError)
	fmt.Printf("%s, %d processors\n\n", runtime.Version(), runtime.NumCPU())
	if *restarts > 0 {
		restartTable(*restarts)
		return
	}
	tables := []struct {
		name  string
		print func()
	}{{"items", itemTable}, {"session", sessionTable}, {"pauses", pauseTable}}
	for _, t := range tables {
		if *only == "" || *only == t.name {
			t.print()
		}
	}
}

// add is the filter that is measured.
type add struct {
	id   byte
	name string
}

func (a add) ID() byte     { return a.id }
func (a add) Name() string { return a.name }

func (add) AppendPack(dst, src []byte) ([]byte, error) {
	dst = slices.Grow(dst, len(src))
	for _, c := range src {
		dst = append(dst, c+1)
	}
	return dst, nil
}

func (add) AppendUnpack(dst, src []byte, _ int) ([]byte, error) {
	dst = slices.Grow(dst, len(src))
	for _, c := range src {
		dst = append(dst, c-1)
	}
	return dst, nil
}

func (a add) OnPack(data []byte) ([]byte, error)   { return a.AppendPack(nil, data) }
func (a add) OnUnpack(data []byte) ([]byte, error) { return a.AppendUnpack(nil, data, 0) }

var _ xfer.Appender = add{}

// way is one thing that is measured beside others.
type way struct {
	name  string
	once  func() error // safe for concurrent use
	guest int          // process id; 0: none

	got map[int][]float64 // operations a second, by the number of callers
	cpu map[int][]float64 // µs of CPU an operation, of this process and of the guest
}

// measure lets the ways take turns with each number of callers.
func measure(ways []*way, callers ...int) {
	for range *sets {
		for _, n := range callers {
			for _, w := range ways {
				if w.got == nil {
					w.got, w.cpu = map[int][]float64{}, map[int][]float64{}
				}
				before := cpu("self") + cpu(strconv.Itoa(w.guest))
				done, took := run(w.once, n)
				used := cpu("self") + cpu(strconv.Itoa(w.guest)) - before
				w.got[n] = append(w.got[n], float64(done)/took.Seconds())
				w.cpu[n] = append(w.cpu[n], float64(used.Microseconds())/float64(done))
			}
		}
	}
}

// cpu returns how much processor time a process has used; 0 where that is not known.
func cpu(process string) time.Duration {
	text, _ := os.ReadFile("/proc/" + process + "/stat")
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * (time.Second / 100)
}

func run(once func() error, callers int) (int64, time.Duration) {
	var done atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range callers {
		wg.Go(func() {
			n := int64(0)
			for time.Since(start) < *slice {
				must(once())
				n++
			}
			done.Add(n)
		})
	}
	wg.Wait()
	return done.Load(), time.Since(start)
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func self() string {
	path, err := os.Executable()
	must(err)
	return path
}

var background = context.Background()
