//go:build unix

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/mixers/outproc"
	"github.com/teleport-go/teleport/protos/rawproto"
)

var item = bytes.Repeat([]byte("teleport"), 75)

func load(change ...func(*outproc.Guest)) *outproc.Handle {
	g := outproc.Guest{Path: self(), Env: []string{envRole + "=guest"}}
	for _, f := range change {
		f(&g)
	}
	h, err := outproc.Load(background, g)
	must(err)
	return h
}

func outside() xfer.XferFilter {
	f, err := xfer.Get(240)
	must(err)
	return f
}

// itemTable measures one item.
func itemTable() {
	out := sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}
	pack := func(f xfer.XferFilter) func() error {
		return func() error {
			b := out.Get().(*[]byte)
			_, err := f.(xfer.Appender).AppendPack(*b, item)
			out.Put(b)
			return err
		}
	}
	h := load()
	spawned := outside()
	unary, unaryPID, stopUnary := dialUnary()
	defer stopUnary()
	ways := []*way{
		{name: "import", once: pack(add{})},
		{name: "spawn", once: pack(spawned), guest: h.Health().Processes[0].PID},
		{name: "go-plugin, gRPC unary", once: unary, guest: unaryPID},
	}
	measure(ways, 1, 64)
	must(h.Close())

	// A second guest has the same parts, so the first one has to be closed.
	dir, err := os.MkdirTemp("", "op")
	must(err)
	defer os.RemoveAll(dir)
	address := "unix://" + filepath.Join(dir, "guest")
	cmd := exec.Command(self(), "serve", address)
	cmd.Env = append(os.Environ(), envRole+"=guest")
	stderr, err := cmd.StderrPipe()
	must(err)
	must(cmd.Start())
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	_, err = bufio.NewReader(stderr).ReadString('\n') // it listens
	must(err)
	h, err = outproc.Load(background, outproc.Guest{Connect: address})
	must(err)
	connected := &way{name: "connect (unix)", once: pack(outside()), guest: cmd.Process.Pid}
	measure([]*way{connected}, 1, 64)
	must(h.Close())

	fmt.Println("| an item of 600 bytes | serially, µs (CPU) | 64 callers, µs (CPU) | items/s |\n|---|--:|--:|--:|")
	for _, w := range []*way{ways[0], ways[1], connected, ways[2]} {
		one, many := median(w.got[1]), median(w.got[64])
		fmt.Printf("| %s | %.1f (%.1f) | %.1f (%.1f) | %.0f k |\n", w.name, 1e6/one, median(w.cpu[1]), 1e6/many, median(w.cpu[64]), many/1000)
	}
	fmt.Println()
}

// sessionTable measures the calls of a session with and without the filter.
func sessionTable() {
	h := load()
	defer h.Close()
	xfer.Register(add{241, "add inside"})
	cfg := tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: rawproto.NewRawProtoFunc(), Logger: slog.New(slog.DiscardHandler)}
	srv, err := tp.Open(cfg)
	must(err)
	defer srv.Close()
	tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, arg *[]byte) ([]byte, error) { return *arg, nil })
	must(srv.Listen())
	cli, err := tp.Open(cfg)
	must(err)
	defer cli.Close()
	sess, r := cli.Dial(srv.Addrs()[0].String())
	must(r.Err())
	call := func(pipe ...byte) func() error {
		var set []tp.MessageSetting
		if len(pipe) > 0 {
			set = append(set, tp.WithXferPipe(pipe...))
		}
		return func() error {
			_, err := tp.Invoke[[]byte](background, sess, "/echo", item, set...)
			return err
		}
	}
	ways := []*way{{name: "none", once: call()}, {name: "in process", once: call(241)}, {name: "spawn", once: call(240)}}
	measure(ways, 1, 64)
	fmt.Println("| filter of a session | calls/s, serially | 64 callers |\n|---|--:|--:|")
	for _, w := range ways {
		fmt.Printf("| %s | %.1f k | %.1f k |\n", w.name, median(w.got[1])/1000, median(w.got[64])/1000)
	}
	fmt.Println()
}
