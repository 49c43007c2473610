// Command bench measures calls between two processes on loopback, beside the
// frameworks that one would choose instead.
//
//	go run ./tools/bench -quick
//
// It starts a server and a client for every window. The candidates take turns in
// rounds, and the report has medians over the rounds. A raw echo without any
// framework, the floor, runs in the same rounds, and ratios are relative to it. Each
// peer is a program in a module of its own and is built first; one that does not
// build is a row that says so.
//
// With -against it compares the work tree with another commit instead:
//
//	go run ./tools/bench -against HEAD~1
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/teleport-go/teleport/tools/bench/harness"
)

func main() {
	if len(os.Args) > 1 && slices.Contains(harness.Commands, os.Args[1]) {
		harness.Main(own()...)
	}
	switch err := run(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	o, err := parseOptions(args, os.Stderr)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	live := newProgress(os.Stderr)
	if o.against != "" {
		live.print("building %s and the work tree", o.against)
		remove, err := o.buildSides(ctx)
		defer remove()
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if err != nil {
			return err
		}
	}
	return measureAll(ctx, o, os.Stdout, live)
}
