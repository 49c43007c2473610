package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	tp "github.com/teleport-go/teleport/core"
	// Not mixers/standard: its filters and codecs would have the places of guests' parts.
	_ "github.com/teleport-go/teleport/codecs/jsoncodec"
	_ "github.com/teleport-go/teleport/protos/rawproto"
)

// serverCmd prints its address and serves until its standard input ends, which
// happens when the process that started it ends.
type serverCmd struct{}

func (serverCmd) Run() error {
	tp.SetLoggerLevel("OFF") // the demo prints what happens
	srv, err := tp.Open(tp.PeerConfig{LocalIP: "127.0.0.1"})
	if err != nil {
		return err
	}
	srv.RouteCall(new(Math))
	tp.HandleCall(srv, "/demo/greet", greet)
	tp.HandleCall(srv, "/demo/sleep", sleep)
	tp.HandleCall(srv, "/demo/mallocs", func(tp.CallCtx, *struct{}) (uint64, error) { return mallocs(), nil })
	tp.HandleCall(srv, "/demo/pid", func(tp.CallCtx, *struct{}) (int, error) { return os.Getpid(), nil })
	tp.SetShutdown(20*time.Second, nil, nil)
	tp.HandleCall(srv, "/demo/restart", func(tp.CallCtx, *struct{}) (string, error) {
		go tp.Reboot() // ends this process when the new one has the sessions
		return "", nil
	})
	if err := srv.Listen(); err != nil {
		return err
	}
	fmt.Println(srv.Addrs()[0])
	io.Copy(io.Discard, os.Stdin)
	return srv.Close()
}

// Math is the handler of the first example, with a division that panics at zero.
type Math struct{ tp.CallCtx }

// Add adds, and pushes the author of the call to all clients.
func (m *Math) Add(arg *[]int) (int, *tp.Rerror) {
	var sum int
	for _, a := range *arg {
		sum += a
	}
	if author := m.Query().Get("author"); author != "" {
		m.Peer().RangeSession(func(s tp.Session) bool {
			s.Push("/push/status", fmt.Sprintf("%s has added %d numbers", author, len(*arg)))
			return true
		})
	}
	return sum, nil
}

// Divide panics if the divisor is 0.
func (m *Math) Divide(arg *[2]int) (int, *tp.Rerror) {
	return arg[0] / arg[1], nil
}

// greet asks the client for its name, over the connection that the call came on.
func greet(ctx tp.CallCtx, _ *struct{}) (string, error) {
	name, err := tp.Invoke[string](ctx.Context(), ctx.Session(), "/client/name", nil)
	if err != nil {
		return "", err
	}
	return "hello " + name, nil
}

func sleep(ctx tp.CallCtx, d *time.Duration) (string, error) {
	select {
	case <-time.After(*d):
		return "slept", nil
	case <-ctx.Context().Done():
		return "", ctx.Context().Err()
	}
}

// mallocs returns the number of allocations of this process so far.
func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}
