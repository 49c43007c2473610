// Command bytes sends bodies that no codec touches.
package main

import (
	"bytes"
	"fmt"
	"log"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

func main() {
	tp.SetLoggerLevel("ERROR")
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"})
	defer srv.Close()

	// []byte as argument or reply is the body as it is, whatever its codec.
	tp.HandleCall(srv, "/group/home/test", func(ctx tp.CallCtx, arg *[]byte) ([]byte, error) {
		ctx.Session().Push("/push/test", []byte("a push on the way"))
		return bytes.ToUpper(*arg), nil
	})
	// The sender names a codec nevertheless; the handler of unknown messages can see it.
	srv.SetUnknownCall(func(ctx tp.UnknownCallCtx) (any, *tp.Rerror) {
		var text string
		id, err := ctx.Bind(&text)
		if err != nil {
			return nil, tp.ToRerror(err)
		}
		return fmt.Appendf(nil, "%q in codec %q", text, id), nil
	})
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}

	pushed := make(chan []byte, 1)
	cli := tp.NewPeer(tp.PeerConfig{DefaultBodyCodec: "plain"})
	defer cli.Close()
	tp.HandlePush(cli, "/push/test", func(_ tp.PushCtx, arg *[]byte) error {
		pushed <- *arg // the handler may keep the argument
		return nil
	})
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		log.Fatal(rerr)
	}

	var result []byte
	if rerr := sess.Call("/group/home/test", []byte("call text"), &result).Rerror(); rerr != nil {
		log.Fatal(rerr)
	}
	fmt.Printf("%s\n%s\n", result, <-pushed)

	for _, call := range []struct {
		body  []byte
		codec byte
	}{{[]byte("plain text"), codec.Plain}, {[]byte(`"json text"`), codec.JSON}} {
		if rerr := sess.Call("/unknown", call.body, &result, tp.WithBodyCodec(call.codec)).Rerror(); rerr != nil {
			log.Fatal(rerr)
		}
		fmt.Printf("%s\n", result)
	}
}
