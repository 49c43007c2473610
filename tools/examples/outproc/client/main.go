// Command client calls the host. It has md5 and cbor in its own process, and does not
// know that the host has not.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	_ "github.com/teleport-go/teleport/codecs/cborcodec"
	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/xfer"
	_ "github.com/teleport-go/teleport/protos/rawproto"
	_ "github.com/teleport-go/teleport/xfers/md5"
)

// Sum is the host's reply.
type Sum struct {
	Sum  int  `json:"sum"`
	Even bool `json:"even"`
}

func main() {
	tp.SetLoggerLevel("OFF")
	cli, err := tp.Open(tp.PeerConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer cli.Close()
	sess, rerr := cli.Dial(os.Args[1])
	if rerr.HasError() {
		log.Fatal(rerr)
	}
	sum, err := tp.Invoke[Sum](context.Background(), sess, "/sum", []int{1, 2, 3},
		tp.WithBodyCodec(codec.CBOR), tp.WithXferPipe(xfer.MD5))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("client: %+v\n", sum)
}
