package main

import (
	"fmt"
	"log"

	tp "github.com/teleport-go/teleport/core"
)

// newBackend starts a service behind the gateway. It trusts the gateway alone for
// the sender of a message and its address.
func newBackend(port uint16, routes func(tp.Peer)) tp.Peer {
	peer := tp.NewPeer(tp.PeerConfig{
		LocalIP: "127.0.0.1", ListenPort: port, TrustedProxies: []string{"127.0.0.1"},
	}, newPong())
	routes(peer)
	if err := peer.Listen(); err != nil {
		log.Fatal(err)
	}
	return peer
}

// Order is the argument of /orders/buy.
type Order struct {
	Item  string
	Count int
}

// orders sells, and notes what its customers look at.
func orders(noted chan<- string) func(tp.Peer) {
	return func(peer tp.Peer) {
		tp.HandleCall(peer, "/orders/buy", func(ctx tp.CallCtx, o *Order) (string, error) {
			if o.Count < 1 {
				return "", tp.NewRerror(1001, "nothing to buy", o.Item).Err()
			}
			return fmt.Sprintf("%s bought %d %s", ctx.PeekMeta(metaUser), o.Count, o.Item), nil
		})
		tp.HandlePush(peer, "/orders/viewed", func(ctx tp.PushCtx, item *string) error {
			noted <- fmt.Sprintf("%s looks at %s", ctx.PeekMeta(metaUser), *item)
			return nil
		})
	}
}

// prices makes reports, which are expensive.
func prices(peer tp.Peer) {
	tp.HandleCall(peer, "/prices/report", func(ctx tp.CallCtx, item *string) (string, error) {
		return *item + " cost 2", nil
	})
}
