package tp

import (
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/teleport-go/teleport/core/internal/inlining"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// withLoops returns a server with event loops, and a client.
func withLoops(t *testing.T, loops int, change func(*PeerConfig)) *peerPair {
	t.Helper()
	testwire.Register()
	open := func(loops int) *peer {
		cfg := PeerConfig{LocalIP: "127.0.0.1", Loops: loops, DefaultBodyCodec: "testtext", Protocol: testwire.New, Logger: slog.New(slog.DiscardHandler)}
		if change != nil {
			change(&cfg)
		}
		p := NewPeer(cfg).(*peer)
		t.Cleanup(func() { p.Close() })
		HandleCall(p, "/echo", func(_ CallCtx, arg *string) (string, error) { return *arg, nil })
		return p
	}
	p := &peerPair{srv: open(loops), cli: open(0)}
	if err := p.srv.Listen(); err != nil {
		t.Fatal(err)
	}
	p.addr = p.srv.Addrs()[0].String()
	return p
}

// With event loops a single session is parked too, again after each burst.
func TestLoopsParkFewSessions(t *testing.T) {
	if runtime.GOOS != "linux" || inlining.Always {
		return
	}
	p := withLoops(t, 2, nil)
	c, s := p.dial(t)
	for round := range 3 {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for j := range 50 {
					wantEcho(t, c, fmt.Sprint(round, i, j))
				}
			})
		}
		wg.Wait()
		soon(t, "the session is parked", func() bool { return s.currentLink().isParked() })
	}
	big := string(make([]byte, 2<<20)) // more than a loop reads of one session
	wantEcho(t, c, big)
	soon(t, "the session is parked after a large message", func() bool { return s.currentLink().isParked() })
}

// Each loop has a listener of its own, whose connections it serves, and the peer one address.
func TestLoopsListen(t *testing.T) {
	const loops = 3
	p := withLoops(t, loops, nil)
	if n := len(p.srv.Addrs()); n != 1 {
		t.Errorf("%d addresses; want 1", n)
	}
	want := 1
	if canReusePort {
		want = loops
	}
	if n := len(p.srv.inheritable()); n != want {
		t.Errorf("%d listeners; want %d", n, want)
	}
	seen := map[uint32]int{}
	for i := range 60 {
		_, s := p.dial(t)
		seen[s.serial%loops]++
		if i%20 == 0 {
			wantEcho(t, s, "back")
		}
	}
	if canReusePort && len(seen) != loops {
		t.Errorf("the sessions of each loop are %v; want some for each of %d", seen, loops)
	}
	if err := p.srv.Close(); err != nil {
		t.Error(err)
	}
	if _, r := p.cli.Dial(p.addr); r == nil {
		t.Error("a listener is left after Close")
	}
}

// The port is that of the peer: another one that does not share it gets an error.
func TestLoopsKeepTheirPort(t *testing.T) {
	p := withLoops(t, 2, nil)
	other := NewPeer(PeerConfig{
		LocalIP: "127.0.0.1", ListenPort: uint16(tcpPort(t, p.srv)), Protocol: testwire.New,
		DefaultBodyCodec: "testtext", Logger: slog.New(slog.DiscardHandler),
	})
	defer other.Close()
	wantError(t, other.Listen(), "another process holds this port")
}

func tcpPort(t *testing.T, p *peer) (port int) {
	t.Helper()
	if _, err := fmt.Sscanf(p.Addrs()[0].String(), "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	return port
}

// Hooks that may block do not run on a loop.
func TestLoopsWithHooksThatBlock(t *testing.T) {
	p := withLoops(t, 1, nil)
	gate, inHook := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	p.srv.PluginContainer().AppendLeft(&PluginImpl{PluginName: "blocks", OnPostReadCallHeader: func(ReadCtx) *Rerror {
		if calls.Add(1) == 1 {
			close(inHook)
			<-gate
		}
		return nil
	}})
	c, _ := p.dial(t)
	d, _ := p.dial(t)
	first := make(chan *Rerror, 1)
	go func() { first <- c.Call("/echo", "x", nil).Rerror() }()
	<-inHook
	wantEcho(t, d, "beside a hook that blocks")
	close(gate)
	if r := <-first; r != nil {
		t.Error(r)
	}
}

func TestLoopsConfig(t *testing.T) {
	for _, test := range []struct{ loops, want int }{
		{0, min(runtime.GOMAXPROCS(0), maxPollers)}, {-1, min(runtime.GOMAXPROCS(0), maxPollers)}, {1, 1}, {7, 7},
	} {
		p := NewPeer(PeerConfig{Loops: test.loops, Logger: slog.New(slog.DiscardHandler)}).(*peer)
		if got := len(p.env.pollers); got != test.want {
			t.Errorf("Loops %d: %d pollers; want %d", test.loops, got, test.want)
		}
		p.Close()
	}
	_, err := Open(PeerConfig{Loops: maxLoops + 1})
	wantError(t, err, "loops: 1025, at most 1024 are possible")
}
