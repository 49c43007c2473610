// Command teleport shows the framework at work, and manages guests of mixers/outproc:
//
//	go run ./tools/teleport demo
//	go run ./tools/teleport guests check guests.yaml
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/alecthomas/kong"
)

type commands struct {
	Demo   demoCmd   `cmd:"" help:"Show calls, pushes, errors, a broken connection, a restart with live sessions and a benchmark between two processes."`
	Guests guestsCmd `cmd:"" help:"Filters, codecs and other parts in programs of their own: list, lock, check, measure them."`
	Server serverCmd `cmd:"" name:"demo-server" hidden:"" help:"The server of the demo, started by it."`
}

func main() {
	var c commands
	k := kong.Parse(&c, kong.Name("teleport"), kong.Description("Two-way calls and pushes over sockets."), kong.UsageOnError())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	k.BindTo(ctx, (*context.Context)(nil))
	err := k.Run()
	stop()
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "teleport: interrupted")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
