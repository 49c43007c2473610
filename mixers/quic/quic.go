package quic

import (
	"cmp"
	"context"
	"net"
	"time"

	quicgo "github.com/quic-go/quic-go"

	tp "github.com/teleport-go/teleport/core"
)

func init() { tp.RegisterNetwork(New(Options{})) }

// Options are the properties of a network. The zero value has the defaults.
type Options struct {
	// IdleTimeout is how long nothing may arrive before a connection counts as broken;
	// the shorter one of both sides holds. Default 30s.
	IdleTimeout time.Duration

	// KeepAlive is how long nothing may arrive before this side asks for a sign of life.
	// Default 10s; negative: never, so that a session without messages ends after
	// IdleTimeout.
	KeepAlive time.Duration

	// V7 makes Dial speak to a listener of v7: application protocol h2, and no first
	// byte. Such a listener does not learn of the connection before the first message.
	V7 bool
}

const (
	defaultIdleTimeout      = 30 * time.Second
	defaultKeepAlive        = 10 * time.Second
	defaultHandshakeTimeout = 10 * time.Second

	protocol   = "teleport/1" // ALPN
	protocolV7 = "h2"

	firstByte = 0
)

// grace is how long a connection that was closed waits for the other side to have read
// everything.
const grace = 2 * time.Second

// New makes a network with options of its own:
//
//	n := quic.New(quic.Options{KeepAlive: 25 * time.Second})
//	peer := tp.NewPeer(tp.PeerConfig{Net: &n})
//
// PeerConfig.HandshakeTimeout limits the QUIC and TLS handshakes together with the first
// byte, on both sides. All connections that it dials from the same local address share a UDP
// socket, which is closed with the last of them.
func New(o Options) tp.Network {
	n := newNetwork(o)
	return tp.Network{
		Name:   "quic",
		OwnTLS: true,
		Dial: func(ctx context.Context, d tp.DialConfig) (net.Conn, error) {
			c, err := n.dial(ctx, d)
			if err != nil {
				return nil, err // never a nil *Conn in an interface
			}
			return c, nil
		},
		Listen: func(_ context.Context, l tp.ListenConfig) (net.Listener, error) {
			lis, err := n.listen(l)
			if err != nil {
				return nil, err
			}
			return lis, nil
		},
	}
}

// network is what New makes.
type network struct {
	o    Options // with the defaults
	pool pool
}

// handshakeTimeout returns d, or the default where no peer has set it.
func handshakeTimeout(d time.Duration) time.Duration {
	if d <= 0 {
		return defaultHandshakeTimeout
	}
	return d
}

func newNetwork(o Options) *network {
	o.IdleTimeout = cmp.Or(o.IdleTimeout, defaultIdleTimeout)
	o.KeepAlive = max(cmp.Or(o.KeepAlive, defaultKeepAlive), 0)
	return &network{o: o}
}

// config returns the QUIC configuration of a side: the dialling side opens one stream, and
// the accepting one a unidirectional stream.
func (n *network) config(dialled bool, handshake time.Duration) *quicgo.Config {
	c := &quicgo.Config{
		MaxIdleTimeout:        n.o.IdleTimeout,
		KeepAlivePeriod:       n.o.KeepAlive,
		HandshakeIdleTimeout:  handshake / 2, // quic-go ends a handshake after twice that
		MaxIncomingStreams:    1,
		MaxIncomingUniStreams: -1, // none
	}
	if dialled {
		c.HandshakeIdleTimeout = handshake // dial bounds the whole
		c.MaxIncomingStreams, c.MaxIncomingUniStreams = -1, 1
	}
	return c
}
