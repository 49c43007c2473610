package kcp_test

import (
	"fmt"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/kcp"
)

func ExampleNew() {
	n := kcp.New(kcp.Options{Key: []byte("from a secret store, 16 bytes or more")})
	peer := tp.NewPeer(tp.PeerConfig{Net: &n, ListenPort: 9090})
	defer peer.Close()
	fmt.Println(n.Name)
	// Output: kcp
}

// Peers of v7 are dialled and accepted with its own parameters.
func ExampleV7() {
	n := kcp.New(kcp.V7())
	peer := tp.NewPeer(tp.PeerConfig{Net: &n})
	defer peer.Close()
	fmt.Println(n.Name)
	// Output: kcp
}
