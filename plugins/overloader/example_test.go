package overloader_test

import (
	"fmt"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/overloader"
)

func Example() {
	limiter := overloader.New(overloader.LimitConfig{
		MaxConn:       1000,
		MaxTotalQPS:   20_000,
		MaxHandlerQPS: []overloader.HandlerLimit{{ServiceMethod: "/report/make", MaxQPS: 5}},
	})
	peer := tp.NewPeer(tp.PeerConfig{ListenPort: 9090}, limiter)
	defer peer.Close()

	conf := limiter.LimitConfig() // later, while it serves
	conf.MaxTotalQPS = 30_000
	limiter.Update(conf)
	fmt.Println(limiter.LimitConfig().MaxTotalQPS, limiter.Counts().Conns)
	// Output: 30000 0
}
