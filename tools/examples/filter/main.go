// Command filter has a transfer filter of its own, and a pipe of two.
package main

import (
	"encoding/base64"
	"fmt"
	"log"
	"strings"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/xfer"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

// b64 makes text of the bytes on the wire.
type b64 struct{}

// b64ID is its id on the wire.
const b64ID = 'b'

func init() { xfer.Register(b64{}) }

func (b64) ID() byte     { return b64ID }
func (b64) Name() string { return "base64" }

func (b64) OnPack(b []byte) ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

func (b64) OnUnpack(b []byte) ([]byte, error) {
	return base64.StdEncoding.AppendDecode(nil, b)
}

func main() {
	tp.SetLoggerLevel("ERROR")
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"})
	defer srv.Close()
	tp.HandleCall(srv, "/upper", func(ctx tp.CallCtx, arg *string) (string, error) {
		fmt.Printf("pipe %v, shorter than the text: %v\n", ctx.Input().XferPipe().Names(), int(ctx.Input().Size()) < len(*arg))
		return strings.ToUpper(*arg), nil // the reply goes through the same pipe
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
	arg := strings.Repeat("again and ", 20)
	for _, pipe := range [][]byte{nil, {b64ID}, {b64ID, xfer.Gzip}, {xfer.MD5}} {
		var result string
		if rerr := sess.Call("/upper", arg, &result, tp.WithXferPipe(pipe...)).Rerror(); rerr != nil {
			log.Fatal(rerr)
		}
		fmt.Println(result[:9])
	}
}
