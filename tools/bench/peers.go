package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
)

// peer is a program with candidates of a foreign framework: a module with a
// workspace of its own, in a folder of peers.
type peer struct {
	folder string
	names  []string // of its candidates
	asked  bool     // they are measured only where -peers names them
	also   string   // letters of the configurations they have beside those of calls
}

var peers = []peer{
	{folder: "arpc", names: []string{"arpc", "arpc-async", "arpc-bytes"}, also: "tplg"},
	{folder: "erpc", names: []string{"erpc"}},
	{folder: "rpcx", names: []string{"rpcx"}},
	{folder: "grpc", names: []string{"grpc", "grpc-bytes"}, also: "tpl"},
	{folder: "connect", names: []string{"connect"}, also: "tpl"},
	{folder: "kitex", names: []string{"kitex"}},
	{folder: "drpc", names: []string{"drpc", "drpc-manual"}, also: "tp"},
	{folder: "nats", names: []string{"nats"}, also: "g"},
	{folder: "websocket", names: []string{"tcp-bytes", "ws-bytes", "tls-bytes", "wss-bytes", "ws-json", "gorilla", "coder", "gws", "nbio"}, asked: true},
	{folder: "carriers", names: []string{"carrier-tcp", "carrier-unix", "carrier-tls", "carrier-ws", "carrier-wss", "carrier-quic", "carrier-kcp"}, asked: true},
	{folder: "loops", names: []string{"loops-peer", "loops-evio", "loops-gnet", "loops-nbio"}, asked: true},
}

// maxBuilds is the number of peers built at a time; each go command uses all
// processors.
const maxBuilds = 2

// build builds the programs of the candidates that are not in this one. It sets err
// in the candidates of a program that does not build.
func build(ctx context.Context, list []candidate) {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards list and the progress line
	free := make(chan struct{}, maxBuilds)
	for _, p := range peers {
		if !slices.ContainsFunc(list, func(c candidate) bool { return slices.Contains(p.names, c.name) }) {
			continue
		}
		wg.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			mu.Lock()
			fmt.Fprintf(os.Stderr, "\rbuilding %-24s", p.folder)
			mu.Unlock()
			program, err := p.build(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				fmt.Fprintf(os.Stderr, "\r%v\n", err)
			}
			for i := range list {
				if slices.Contains(p.names, list[i].name) {
					list[i].program, list[i].err = program, err
				}
			}
		})
	}
	wg.Wait()
	fmt.Fprintf(os.Stderr, "\r%-33s\r", "")
}

// build builds the program of a peer in a folder of the user's cache, where the go
// command finds it again if it is up to date.
func (p peer) build(ctx context.Context) (program string, err error) {
	source, err := peersFolder()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	sum := sha256.Sum256([]byte(source)) // each work tree has its own
	program = filepath.Join(cache, "teleport-bench", hex.EncodeToString(sum[:6]), p.folder)
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		return "", err
	}
	dir := filepath.Join(source, p.folder)
	if _, err := output(ctx, dir, []string{"GOWORK=" + filepath.Join(dir, "go.work")}, "go", "build", "-o", program, "."); err != nil {
		return "", fmt.Errorf("%s does not build: %w", p.folder, err)
	}
	return program, nil
}

// peersFolder returns the folder of the peers' source: beside that of this program,
// or below the working directory.
func peersFolder() (string, error) {
	var places []string
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		places = append(places, filepath.Join(filepath.Dir(file), "peers"))
	}
	if wd, err := os.Getwd(); err == nil {
		places = append(places, filepath.Join(wd, "peers"), filepath.Join(wd, "tools", "bench", "peers"))
	}
	for _, place := range places {
		if _, err := os.Stat(filepath.Join(place, peers[0].folder, "go.work")); err == nil {
			return place, nil
		}
	}
	return "", errors.New("the source of tools/bench/peers is not here: run from the root of the repository, or from tools/bench")
}
