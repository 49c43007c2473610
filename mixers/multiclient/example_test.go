package multiclient_test

import (
	"fmt"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/multiclient"
)

func Example() {
	cli := tp.NewPeer(tp.PeerConfig{})
	defer cli.Close()
	c := multiclient.New(cli, "127.0.0.1:9090", 4, 0)
	fmt.Println(c.Addr(), c.Stats().Worker, "sessions before the first call")
	c.Close()
	fmt.Println(c.Call("/file/read", "report.pdf", nil).Rerror().Reason)
	// Output:
	// 127.0.0.1:9090 0 sessions before the first call
	// multiclient: the client is closed
}
