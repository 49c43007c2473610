//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "attack: it reads the memory of processes from /proc, so it runs on Linux only")
	os.Exit(1)
}
