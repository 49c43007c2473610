package standard_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

func Example() {
	tp.SetLoggerLevel("OFF")

	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"})
	defer srv.Close()
	tp.HandleCall(srv, "/upper", func(ctx tp.CallCtx, arg *string) (string, error) {
		return strings.ToUpper(*arg), nil
	})
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}

	cli := tp.NewPeer(tp.PeerConfig{})
	defer cli.Close()
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		log.Fatal(rerr)
	}
	fmt.Println(tp.Invoke[string](context.Background(), sess, "/upper", "json by raw"))
	fmt.Println(tp.Invoke[string](context.Background(), sess, "/upper", "gzip and md5", tp.WithXferPipe('g', 'm')))
	// Output:
	// JSON BY RAW <nil>
	// GZIP AND MD5 <nil>
}
