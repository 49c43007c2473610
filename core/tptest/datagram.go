package tptest

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// DatagramNetwork is a network over UDP that is tested: its connections, its peers, and the
// paths between them, through a [Relay].
type DatagramNetwork struct {
	// Net makes the network. The times are those after which a connection ends from which
	// nothing has come, and after which one that is silent shows that it lives; 0 are the
	// network's defaults.
	Net func(idleTimeout, keepAlive time.Duration) tp.Network
	// ServerTLS and ClientTLS are the peers' configurations, nil for a network without TLS.
	ServerTLS, ClientTLS *tls.Config
	// Grace is how long a Close waits at most for the other end.
	Grace time.Duration
	// Keeps says that a session goes on when the address of its client changes; else the
	// client redials.
	Keeps bool
}

// patience bounds each wait for what a good network does soon.
const patience = 30 * time.Second

// Peer makes a peer of the network with its default times, on 127.0.0.1, that is closed at
// the end of the test.
func (n DatagramNetwork) Peer(t testing.TB, cfg tp.PeerConfig, plugin ...tp.Plugin) tp.Peer {
	t.Helper()
	return n.peer(t, n.Net(0, 0), n.ClientTLS, cfg, plugin)
}

// Server makes a peer that listens, and replies to /echo with the text that is its argument.
func (n DatagramNetwork) Server(t testing.TB, cfg tp.PeerConfig, plugin ...tp.Plugin) (srv tp.Peer, addr string) {
	t.Helper()
	return n.server(t, n.Net(0, 0), cfg, plugin)
}

func (n DatagramNetwork) server(t testing.TB, network tp.Network, cfg tp.PeerConfig, plugin []tp.Plugin) (srv tp.Peer, addr string) {
	t.Helper()
	srv = n.peer(t, network, n.ServerTLS, cfg, plugin)
	tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, text *string) (string, error) { return *text, nil })
	return srv, Listen(t, srv)
}

func (n DatagramNetwork) peer(t testing.TB, network tp.Network, conf *tls.Config, cfg tp.PeerConfig, plugin []tp.Plugin) tp.Peer {
	t.Helper()
	cfg.Net, cfg.LocalIP = &network, "127.0.0.1"
	p := NewPeer(t, cfg, plugin...)
	if conf != nil {
		if err := p.SetTLSConfig(conf); err != nil {
			t.Fatalf("set the TLS configuration: %v", err)
		}
	}
	return p
}

// Listen makes a listener that is closed at the end of the test.
func (n DatagramNetwork) Listen(t testing.TB) net.Listener {
	t.Helper()
	lis, err := n.Net(0, 0).Listen(t.Context(), tp.ListenConfig{LocalIP: "127.0.0.1", TLS: n.ServerTLS})
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	t.Cleanup(func() { lis.Close() })
	return lis
}

// Dial makes a connection that is closed at the end of the test.
func (n DatagramNetwork) Dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := n.Net(0, 0).Dial(t.Context(), tp.DialConfig{Addr: addr, TLS: n.ClientTLS})
	if err != nil {
		t.Fatalf("dial %s: %v", addr, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Pair makes a connection through a relay.
func (n DatagramNetwork) Pair(t testing.TB) (dialled, accepted net.Conn, relay *Relay) {
	t.Helper()
	lis := n.Listen(t)
	relay = NewRelay(t, lis.Addr().String())
	dialled = n.Dial(t, relay.Addr())
	accepted, err := lis.Accept()
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	t.Cleanup(func() { accepted.Close() })
	return dialled, accepted, relay
}

// Echo calls /echo, as a server of a [DatagramNetwork] has it; the call must succeed.
func Echo(t testing.TB, sess tp.Session, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := tp.Invoke[string](ctx, sess, "/echo", text)
	if err != nil || got != text {
		t.Errorf("a call of /echo with %.40q: %.40q, %v", text, got, err)
	}
}

// echoes waits until a call of /echo succeeds again.
func (DatagramNetwork) echoes(t testing.TB, sess tp.Session) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		_, err := tp.Invoke[string](t.Context(), sess, "/echo", "again")
		took := time.Since(begun)
		switch {
		case err != nil && took > patience:
			t.Fatalf("no call has succeeded for %v: %v", took, err)
		case err != nil:
			continue
		case took > patience/2:
			t.Errorf("a call has succeeded after %v: that is the idle timeout, and no sign of the other side", took)
		}
		return
	}
}

// Receive waits for a value; what says which one.
func Receive[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v = <-c:
	case <-timer.C:
		t.Fatalf("%s has not come after %v", what, patience)
	}
	return v
}

// freePort returns a port that is free, and stays so while no server listens there: none of
// those that systems give to any client.
func freePort(t testing.TB) uint16 {
	t.Helper()
	var err error
	for range 100 {
		var c net.PacketConn
		port := uint16(10_000 + rand.IntN(20_000))
		if c, err = net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			c.Close()
			return port
		}
	}
	t.Fatal(err)
	return 0
}

func portOf(t testing.TB, addr string) uint16 {
	t.Helper()
	udp, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(udp.Port)
}
