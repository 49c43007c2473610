// Command bench measures calls between two processes on loopback, beside the
// frameworks that one would pick instead.
//
//	go run ./tools/bench -quick
//
// It starts a server and a client for every window, lets the candidates take turns
// in rounds, and reports medians. The raw echo without any framework runs in the
// same rounds: it is the floor that ratios are taken against. The peers are programs
// of their own modules, that are built first; one that does not build is a row that
// says so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"

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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second one ends at once
	return measureAll(ctx, o, os.Stdout, newProgress(os.Stderr))
}
