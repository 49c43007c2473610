package secure_test

import (
	"fmt"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/secure"
)

func Example() {
	keys, err := secure.NewKeys(secure.Key{ID: 1, Secret: []byte("16, 24 or 32 bytes of randomness")})
	if err != nil {
		fmt.Println(err)
		return
	}
	peer := tp.NewPeer(tp.PeerConfig{}, secure.New(keys, secure.Enforce()))
	defer peer.Close()

	// Later, on all peers the one, then on all the other:
	keys.Prepare(secure.Key{ID: 2, Secret: []byte("another 32 bytes of randomness..")})
	keys.Switch()
	fmt.Println(keys.Current())
	// Output: 2 0
}
