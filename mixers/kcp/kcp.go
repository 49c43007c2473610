package kcp

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	kcpgo "github.com/xtaci/kcp-go/v5"

	tp "github.com/teleport-go/teleport/core"
)

func init() { tp.RegisterNetwork(New(Options{})) }

// Options are the properties of a network. The zero value has the defaults; both sides
// must have the same key and shards.
type Options struct {
	// Key makes that only peers with the same key understand each other: it encrypts and
	// authenticates each datagram. At least 16 bytes, secret and random. There is no
	// forward secrecy: somebody who learns the key can read what was recorded before.
	Key []byte

	// DataShards and ParityShards are for forward error correction: for so many packets
	// so many more are sent, from which lost ones are computed. Default none.
	DataShards, ParityShards int

	// IdleTimeout is how long nothing may arrive before a connection counts as broken.
	// Default 30s.
	IdleTimeout time.Duration

	// KeepAlive is how long nothing is sent before this side says that it is alive.
	// Default 10s; it must be shorter than the other side's IdleTimeout.
	KeepAlive time.Duration

	v7 bool
}

// V7 returns the options that v7 has: 10 data and 3 parity shards, no key, and no records.
// The package documentation says what that lacks.
func V7() Options { return Options{DataShards: 10, ParityShards: 3, v7: true} }

const (
	defaultIdleTimeout      = 30 * time.Second
	defaultKeepAlive        = 10 * time.Second
	defaultHandshakeTimeout = 10 * time.Second

	leastKey = 16

	// window is how many packets of a session may be under way in each direction.
	window = 512

	// datagramSize is the largest datagram that is sent: it passes most tunnels.
	datagramSize = 1400
	fecOverhead  = 8
)

// grace is how long a connection that was closed waits for the other side to have read
// everything.
const grace = 2 * time.Second

// graceV7 is how long the last packets to a peer of v7 are repeated, which does not say
// that it has read everything.
const graceV7 = grace / 4

// New makes a network with options of its own:
//
//	n := kcp.New(kcp.Options{Key: key})
//	peer := tp.NewPeer(tp.PeerConfig{Net: &n})
//
// Each dialled connection has a UDP socket of its own. PeerConfig.HandshakeTimeout limits
// the handshake on both sides.
func New(o Options) tp.Network {
	n := newNetwork(o)
	return tp.Network{
		Name: "kcp",
		Dial: func(ctx context.Context, d tp.DialConfig) (net.Conn, error) { return n.dial(ctx, d) },
		Listen: func(_ context.Context, l tp.ListenConfig) (net.Listener, error) {
			lis, err := n.listen(l)
			if err != nil {
				return nil, err // never a nil *listener in an interface
			}
			return lis, nil
		},
	}
}

// network is what New makes.
type network struct {
	o    Options // with the defaults
	warn sync.Once
}

func newNetwork(o Options) *network {
	o.IdleTimeout = cmp.Or(o.IdleTimeout, defaultIdleTimeout)
	o.KeepAlive = cmp.Or(o.KeepAlive, defaultKeepAlive)
	return &network{o: o}
}

// check returns an error for options that cannot work, and warns of a missing key.
func (n *network) check(log tp.Logger, tls bool) error {
	switch o := n.o; {
	case len(o.Key) > 0 && len(o.Key) < leastKey:
		return fmt.Errorf("kcp: the key has %d bytes; at least %d are needed", len(o.Key), leastKey)
	case o.DataShards < 0 || o.ParityShards < 0 || o.DataShards+o.ParityShards > 256:
		return fmt.Errorf("kcp: %d data and %d parity shards; both must be at least 0, and together at most 256", o.DataShards, o.ParityShards)
	case len(o.Key) == 0 && !tls && log != nil:
		n.warn.Do(func() {
			log.Warnf("kcp without a key: anybody can read, forge and end these sessions; use kcp.New(kcp.Options{Key: key}), or SetTLSConfig")
		})
	}
	return nil
}

// tune sets the properties of a KCP session.
func (n *network) tune(s *kcpgo.UDPSession) {
	hurry(s)
	s.SetWindowSize(window, window)
	if !n.o.v7 {
		size := datagramSize
		if n.o.ParityShards > 0 {
			size -= fecOverhead
		}
		if len(n.o.Key) > 0 {
			size -= sealOverhead
		}
		s.SetMtu(size)
	}
}

// calmAfter is how long a session is not used before it looks rarely whether there is a
// packet to repeat: an idle one would take as much CPU time as looking costs.
const calmAfter = time.Second

// hurry makes a session look every 10ms, and repeat a packet early: after 2 later ones have
// arrived. There is no congestion control.
func hurry(s *kcpgo.UDPSession) {
	s.SetNoDelay(1, 10, 2, 1)
	s.SetACKNoDelay(false)
}

// calm makes a session look every 200ms. It acknowledges at once what arrives meanwhile.
func calm(s *kcpgo.UDPSession) {
	s.SetNoDelay(1, 200, 2, 1)
	s.SetACKNoDelay(true)
}

// handshakeTimeout returns d, or the default where no peer has set it.
func handshakeTimeout(d time.Duration) time.Duration {
	if d <= 0 {
		return defaultHandshakeTimeout
	}
	return d
}
