package kcp

import (
	"net"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

var key = []byte("a key of 24 secret bytes")

var keyed = Options{Key: key}

const patience = 30 * time.Second

// under is the network with these options, to be tested.
func under(o Options) tptest.DatagramNetwork {
	return tptest.DatagramNetwork{
		Net: func(idleTimeout, keepAlive time.Duration) tp.Network {
			o := o
			if idleTimeout > 0 {
				o.IdleTimeout, o.KeepAlive = idleTimeout, keepAlive
			}
			return New(o)
		},
		Grace: grace,
	}
}

// Nothing is lost, and every end is noticed: see RunDatagrams.
func TestDatagrams(t *testing.T) { tptest.RunDatagrams(t, under(keyed)) }

func newPeer(t *testing.T, o Options, cfg tp.PeerConfig, plugin ...tp.Plugin) tp.Peer {
	t.Helper()
	return under(o).Peer(t, cfg, plugin...)
}

func newServer(t *testing.T, o Options, cfg tp.PeerConfig, plugin ...tp.Plugin) (srv tp.Peer, addr string) {
	t.Helper()
	return under(o).Server(t, cfg, plugin...)
}

func listen(t *testing.T, o Options) net.Listener {
	t.Helper()
	return under(o).Listen(t)
}

func dial(t *testing.T, o Options, addr string) net.Conn {
	t.Helper()
	return under(o).Dial(t, addr)
}
