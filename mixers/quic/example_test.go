package quic_test

import (
	"fmt"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/quic"
)

// The network "quic" is registered by the import; a peer with other wishes has its own.
func ExampleNew() {
	patient := quic.New(quic.Options{IdleTimeout: 2 * time.Minute, KeepAlive: 30 * time.Second})
	peer := tp.NewPeer(tp.PeerConfig{Net: &patient, ListenPort: 9090})
	defer peer.Close()
	if err := peer.SetTLSConfig(tp.GenerateTLSConfigForServer()); err != nil {
		fmt.Println(err)
	}
	_, err := tp.LookupNetwork("quic")
	fmt.Println(err)
	// Output: <nil>
}

// roamer moves its session to the network that the program prefers.
type roamer struct{ conn *quic.Conn }

func (*roamer) Name() string { return "roamer" }

// PostDial keeps the connection; PostRedial does the same for the next one.
func (r *roamer) PostDial(s tp.PreSession) *tp.Rerror {
	r.conn = quic.Of(s)
	return nil
}

func ExampleOf() {
	peer := tp.NewPeer(tp.PeerConfig{Network: "quic"}, new(roamer))
	defer peer.Close()
	// later: r.conn.Migrate(ctx, "192.168.7.23")
}
