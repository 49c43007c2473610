package tp

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
)

// Go runs fn on a goroutine of its own; a panic is logged and ends that goroutine
// alone. It always returns true: there is no pool that could be exhausted.
func Go(fn func()) bool {
	go func() {
		defer func() {
			if v := recover(); v != nil {
				Errorf("panic in Go: %v\n%s", v, debug.Stack())
			}
		}()
		fn()
	}()
	return true
}

// ListenerAddress is a plugin that remembers the address a peer listens on, the
// last one if there are several. The zero value is ready for use. It is safe for
// concurrent use.
type ListenerAddress struct {
	mu   sync.RWMutex
	addr net.Addr
}

var _ PostListenPlugin = (*ListenerAddress)(nil)

// Name returns "ListenerAddress".
func (l *ListenerAddress) Name() string { return "ListenerAddress" }

// PostListen stores the address.
func (l *ListenerAddress) PostListen(addr net.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addr = addr
	return nil
}

// Addr returns the address; nil before the peer listens.
func (l *ListenerAddress) Addr() net.Addr {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.addr
}

// Host returns the address's host, "" before the peer listens or if it has none.
func (l *ListenerAddress) Host() string {
	host, _, _ := net.SplitHostPort(l.String())
	return host
}

// Port returns the address's port, "" before the peer listens or if it has none.
func (l *ListenerAddress) Port() string {
	_, port, _ := net.SplitHostPort(l.String())
	return port
}

// String returns the address as text, "" before the peer listens.
func (l *ListenerAddress) String() string { return addrText(l.Addr()) }

// NewInheritedListener listens on an address of the form host:port (a path on
// unix networks). A process started by Reboot gets the socket on which a peer of the old
// process listened there, if one did. If tlsConfig is not nil it must have a certificate,
// and the listener accepts TLS.
func NewInheritedListener(network, laddr string, tlsConfig *tls.Config) (net.Listener, error) {
	n, err := LookupNetwork(network)
	if err != nil {
		return nil, err
	}
	l, err := listenConfig(network, laddr)
	if err != nil {
		return nil, err
	}
	if tlsConfig != nil && !hasCertificate(tlsConfig) {
		return nil, errNoCertificate
	}
	l.TLS = tlsConfig
	lis, err := n.Listen(context.Background(), l)
	if err != nil || tlsConfig == nil || n.OwnTLS {
		return lis, err
	}
	return tls.NewListener(lis, tlsConfig), nil
}

// listenConfig splits an address into host and port.
func listenConfig(network, laddr string) (ListenConfig, error) {
	if network == "unix" || network == "unixpacket" {
		return ListenConfig{Network: network, LocalIP: laddr}, nil
	}
	host, port, err := net.SplitHostPort(laddr)
	if err != nil {
		return ListenConfig{}, fmt.Errorf("tp: listen %s %s: %w", network, laddr, err)
	}
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		return ListenConfig{}, fmt.Errorf("tp: listen %s %s: %w", network, laddr, err)
	}
	return ListenConfig{Network: network, LocalIP: host, ListenPort: uint16(n)}, nil
}

// FakeAddr is an address made of strings, for connections that have none. An empty
// string means tcp, 0.0.0.0, or 0.
type FakeAddr struct{ network, addr string }

var _ net.Addr = (*FakeAddr)(nil)

// NewFakeAddr returns an address of host and port.
func NewFakeAddr(network, host, port string) *FakeAddr {
	return &FakeAddr{cmp.Or(network, "tcp"), net.JoinHostPort(cmp.Or(host, "0.0.0.0"), cmp.Or(port, "0"))}
}

// NewFakeAddr2 returns the address addr, which must be empty or of the form host:port.
func NewFakeAddr2(network, addr string) (*FakeAddr, error) {
	if addr == "" {
		return NewFakeAddr(network, "", ""), nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("tp: fake address: %w", err)
	}
	return NewFakeAddr(network, host, port), nil
}

// Network returns the network's name.
func (a *FakeAddr) Network() string { return a.network }

// String returns host:port.
func (a *FakeAddr) String() string { return a.addr }

// Host returns the host.
func (a *FakeAddr) Host() string { host, _, _ := net.SplitHostPort(a.addr); return host }

// Port returns the port.
func (a *FakeAddr) Port() string { _, port, _ := net.SplitHostPort(a.addr); return port }
