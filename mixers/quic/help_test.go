package quic

import (
	"net"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// The certificate is that of the process, as GenerateTLSConfigForServer makes it.
var serverConf, clientConf = tp.GenerateTLSConfigForServer(), tp.GenerateTLSConfigForClient()

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
		ServerTLS: serverConf,
		ClientTLS: clientConf,
		Grace:     grace,
		Keeps:     true,
	}
}

// Nothing is lost, every end is noticed, and a session keeps its client's new address: see
// RunDatagrams.
func TestDatagrams(t *testing.T) { tptest.RunDatagrams(t, under(Options{})) }

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
