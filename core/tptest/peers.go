package tptest

import (
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// Peers returns a peer that listens, one that has dialled it, and the dialled
// session, all closed at the end of the test. One cfg is the configuration of both
// peers; two are the server's and the client's. Without a Network, the peers use a
// network in memory of their own; with "tcp", a free port of the loopback address. The
// other defaults are those of NewPeer. Routes can be registered on both peers
// afterwards.
func Peers(t testing.TB, cfg ...tp.PeerConfig) (srv, cli tp.Peer, sess tp.Session) {
	t.Helper()
	var server, client tp.PeerConfig
	switch len(cfg) {
	case 0:
	case 1:
		server, client = cfg[0], cfg[0]
	default:
		server, client = cfg[0], cfg[1]
	}
	if server.Network == "" && server.Net == nil {
		server.Network = NewNetwork().Register(t)
	}
	if client.Network == "" && client.Net == nil {
		client.Network, client.Net = server.Network, server.Net
	}
	client.ListenPort = 0
	srv, cli = NewPeer(t, server), NewPeer(t, client)
	return srv, cli, Dial(t, cli, Listen(t, srv))
}

// NewPeer returns a peer that is closed at the end of the test. Where cfg does not set
// them, its protocol and codec are those of the core's own tests, its network is tcp on
// 127.0.0.1, its warnings and errors go to t.Log, and connecting has no bound: how long
// it takes is what the test makes of its network. A failure ends the test.
func NewPeer(t testing.TB, cfg tp.PeerConfig, plugin ...tp.Plugin) tp.Peer {
	t.Helper()
	if cfg.Protocol == nil && cfg.Protocols == nil {
		cfg.Protocol = testwire.New
	}
	if cfg.DefaultBodyCodec == "" {
		cfg.DefaultBodyCodec = codecName
	}
	testwire.Register()
	if cfg.Net == nil && (cfg.Network == "" || cfg.Network == "tcp") && cfg.LocalIP == "" {
		cfg.LocalIP = "127.0.0.1"
	}
	if cfg.DefaultDialTimeout == 0 {
		cfg.DefaultDialTimeout = -1
	}
	if cfg.Logger == nil {
		cfg.Logger = Logger(t)
	}
	p, err := tp.Open(cfg, plugin...)
	if err != nil {
		t.Fatalf("open peer: %v", err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Logf("close peer: %v", err)
		}
	})
	return p
}

// codecName is the codec of peers that name none.
var codecName = testwire.JSONCodec{}.Name()

// Listen makes p listen, and returns the address to dial. A failure ends the test.
func Listen(t testing.TB, p tp.Peer, pf ...tp.ProtoFunc) (addr string) {
	t.Helper()
	if err := p.Listen(pf...); err != nil {
		t.Fatalf("listen: %v", err)
	}
	addrs := p.Addrs()
	return addrs[len(addrs)-1].String()
}

// Dial makes p dial addr, and returns the session. A failure ends the test.
func Dial(t testing.TB, p tp.Peer, addr string, pf ...tp.ProtoFunc) tp.Session {
	t.Helper()
	sess, r := p.Dial(addr, pf...)
	if r.HasError() {
		t.Fatalf("dial %s: %s", addr, r)
	}
	return sess
}
