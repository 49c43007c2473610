package tptest

import (
	"context"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"

	tp "github.com/teleport-go/teleport/core"
)

func dialer(network string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		n, err := tp.LookupNetwork(network)
		if err != nil {
			return nil, err
		}
		return n.Dial(ctx, tp.DialConfig{Network: network, Addr: addr})
	}
}

func listenTo(network string, name func() string) func() (net.Listener, error) {
	return func() (net.Listener, error) {
		n, err := tp.LookupNetwork(network)
		if err != nil {
			return nil, err
		}
		return n.Listen(context.Background(), tp.ListenConfig{Network: network, LocalIP: name()})
	}
}

func loopback() string { return "127.0.0.1" }

// paths makes names for unix sockets.
func paths(t *testing.T) func() string {
	dir := t.TempDir()
	var n atomic.Int32
	return func() string { return filepath.Join(dir, strconv.Itoa(int(n.Add(1)))) }
}

func TestRunNetwork(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		n := NewNetwork()
		RunNetwork(t, n.Dial, func() (net.Listener, error) { return n.Listen("") })
		if left := n.Conns(); left > 0 {
			t.Errorf("%d ends of connections were not closed", left)
		}
	})
	t.Run("tcp", func(t *testing.T) { RunNetwork(t, dialer("tcp"), listenTo("tcp", loopback)) })
	if runtime.GOOS == "windows" {
		return
	}
	t.Run("unix", func(t *testing.T) { RunNetwork(t, dialer("unix"), listenTo("unix", paths(t))) })
	if runtime.GOOS == "linux" {
		t.Run("unixpacket", func(t *testing.T) {
			RunNetwork(t, dialer("unixpacket"), listenTo("unixpacket", paths(t)), Without(Stream))
		})
	}
}
