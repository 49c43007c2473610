package securelegacy_test

import (
	"fmt"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/securelegacy"
)

func Example() {
	plugin, err := securelegacy.New("16, 24, 32 bytes", securelegacy.Code(100001))
	if err != nil {
		fmt.Println(err)
		return
	}
	peer := tp.NewPeer(tp.PeerConfig{}, plugin)
	defer peer.Close()
	fmt.Println(peer.PluginContainer().GetByName("secure(encrypt/decrypt)") != nil)
	// Output: true
}
