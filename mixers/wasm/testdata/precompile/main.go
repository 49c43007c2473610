// Command precompile fills a cache: precompile FILE DIRECTORY.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/teleport-go/teleport/mixers/wasm"
)

func main() {
	h, err := wasm.Load(context.Background(), wasm.Module{Path: os.Args[1], Cache: os.Args[2]})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	h.Close()
}
