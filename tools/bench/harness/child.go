// Package harness runs a program of the benchmark as a child process of the driver:
// it serves, or it calls and measures.
//
// A program passes its candidates to Main. Everything else is the same for all
// candidates, so a difference between two figures comes from the candidates. The
// driver and its child exchange lines over the child's standard input and output.
package harness

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync/atomic"
	"time"
)

// Mark is the prefix of every line from a child to the driver; other lines are the
// log of a framework.
const Mark = "@bench "

// Commands are the valid first arguments of Main's program.
var Commands = []string{"serve", "load", "list", "busy"}

// Main executes the command in the program's arguments, and exits:
//
//	list                    reports the candidates, a line each (Info)
//	serve -peer NAME        reports its address, then its Usage for every line it reads
//	                        (after a garbage collection if the line is "gc"), until
//	                        its standard input ends
//	load -peer NAME -addr ADDR -config CONFIG
//	                        connects, warms up, reports Ready, waits for a line, calls
//	                        for a window, reports its Load, and stays connected until
//	                        its standard input ends; with -idle it makes no such calls
//	busy                    reports true, then keeps one CPU busy until its standard
//	                        input ends
//
// Flags of serve and load: -profile and -heap name the files of a CPU and an allocation
// profile of the window (a server's profiles cover its whole life). Flag of serve: -conns,
// the number of connections to expect. Flags of load: -window, -size (bytes of the body,
// for DialSized), -uncalled (with -idle: no call over a new connection). Output of a
// framework to standard output goes to standard error.
//
// The driver also starts programs that were built from other commits, so commands and
// lines must stay compatible.
func Main(candidates ...Candidate) {
	out := os.Stdout
	os.Stdout = os.Stderr
	c := &child{candidates: candidates, in: bufio.NewScanner(os.Stdin), out: out}
	if err := c.run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

type child struct {
	candidates []Candidate
	in         *bufio.Scanner
	out        io.Writer
}

func (c *child) run(args []string) error {
	if len(args) == 0 {
		return errors.New("harness: want serve, load, list or busy; this program is started by tools/bench")
	}
	switch args[0] {
	case "serve":
		return c.serve(args[1:])
	case "load":
		return c.load(args[1:])
	case "busy":
		return c.busy()
	case "list":
		for _, candidate := range c.candidates {
			if err := c.report(candidate.Info()); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("harness: command %q is not known: want serve, load, list or busy", args[0])
}

// busy keeps one CPU busy until its standard input ends.
func (c *child) busy() error {
	var over atomic.Bool
	go func() {
		for c.in.Scan() {
		}
		over.Store(true)
	}()
	if err := c.report(true); err != nil {
		return err
	}
	for !over.Load() {
	}
	return nil
}

// report writes a line to the driver, as JSON.
func (c *child) report(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s%s\n", Mark, b)
	return err
}

func (c *child) serve(args []string) error {
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	name := f.String("peer", "", "candidate")
	conns := f.Int("conns", 1, "connections to expect")
	profiles := profileFlags(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	candidate, err := find(c.candidates, *name)
	if err != nil {
		return err
	}
	if err := allowFiles(*conns); err != nil {
		return err
	}
	addr, err := candidate.Serve()
	if err != nil {
		return err
	}
	stop, err := profiles.start()
	if err != nil {
		return err
	}
	if err := c.report(addr); err != nil {
		return err
	}
	for c.in.Scan() {
		if c.in.Text() == "gc" {
			debug.FreeOSMemory()
		}
		if err := c.report(used()); err != nil {
			return err
		}
	}
	return stop()
}

func (c *child) load(args []string) error {
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	name := f.String("peer", "", "candidate")
	addr := f.String("addr", "", "server")
	config := f.String("config", "", "configuration")
	window := f.Duration("window", time.Second, "window")
	size := f.Int("size", 0, "bytes of the body; 0 is benchmsg's message")
	idle := f.Bool("idle", false, "connect only, then wait for the end of standard input")
	uncalled := f.Bool("uncalled", false, "make no call over a new connection")
	profiles := profileFlags(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	candidate, err := find(c.candidates, *name)
	if err != nil {
		return err
	}
	cfg, err := ParseConfig(*config)
	if err != nil {
		return err
	}
	if err := candidate.can(cfg, *size); err != nil {
		return err
	}
	lines := c.lines()
	begin := time.Now()
	crew, err := candidate.crew(cfg, *addr, *size, !*uncalled)
	if err != nil {
		return err
	}
	ready := Ready{Connecting: time.Since(begin)}
	if !*idle {
		if _, err := drive(crew.callers, *window/3); err != nil {
			return err
		}
	}
	if err := c.report(ready); err != nil {
		return err
	}
	<-lines
	stop, err := profiles.start()
	if err != nil {
		return err
	}
	was, moved := used(), crew.bulk.moved()
	l, err := drive(crew.callers, *window)
	if err != nil {
		return err
	}
	l.Usage, l.Bulk = used().Since(was), crew.bulk.moved()-moved
	if err := errors.Join(stop(), c.report(l)); err != nil {
		return err
	}
	for range lines { // until the driver has ended the server
	}
	return nil
}

// lines returns the driver's lines. It ends the program when standard input ends:
// the driver has ended or is done with the child.
func (c *child) lines() <-chan string {
	lines := make(chan string)
	go func() { // ends with the program
		for c.in.Scan() {
			lines <- c.in.Text()
		}
		os.Exit(0)
	}()
	return lines
}

type profiles struct{ cpu, heap *string }

func profileFlags(f *flag.FlagSet) profiles {
	return profiles{
		f.String("profile", "", "CPU profile to write"),
		f.String("heap", "", "allocation profile to write"),
	}
}

// start starts the profiles that have a file; stop writes them.
func (p profiles) start() (stop func() error, err error) {
	var w *os.File
	if *p.cpu != "" {
		if w, err = os.Create(*p.cpu); err != nil {
			return nil, err
		}
		if err := pprof.StartCPUProfile(w); err != nil {
			return nil, err
		}
	}
	return func() error {
		if w != nil {
			pprof.StopCPUProfile()
			if err := w.Close(); err != nil {
				return err
			}
		}
		if *p.heap == "" {
			return nil
		}
		h, err := os.Create(*p.heap)
		if err != nil {
			return err
		}
		runtime.GC() // the profile shows the state of the last collection
		return errors.Join(pprof.Lookup("allocs").WriteTo(h, 0), h.Close())
	}, nil
}
