// Command typed has handlers and calls with types and errors of Go: no
// reflection, no pointers to results.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

// Order is a body: anything its codec can encode. The default codec is json.
type Order struct {
	Item  string
	Count int
}

// CodeSoldOut is an error code of our own; the framework's are below 1000.
const CodeSoldOut = 1001

func main() {
	tp.SetLoggerLevel("ERROR")

	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"})
	defer srv.Close()
	tp.HandleCall(srv, "/shop/buy", func(ctx tp.CallCtx, o *Order) (string, error) {
		if o.Count > 10 {
			return "", tp.NewRerror(CodeSoldOut, "sold out", "there are 10 left").Err()
		}
		// Call the client back, on the connection that it called on.
		yes, err := tp.Invoke[bool](ctx.Context(), ctx.Session(), "/client/confirm", o)
		if err != nil || !yes {
			return "not bought", err
		}
		return fmt.Sprintf("bought %d %s", o.Count, o.Item), nil
	})
	if err := srv.Listen(); err != nil { // a free port
		log.Fatal(err)
	}

	cli := tp.NewPeer(tp.PeerConfig{})
	defer cli.Close()
	tp.HandleCall(cli, "/client/confirm", func(_ tp.CallCtx, o *Order) (bool, error) {
		fmt.Printf("the server asks: %d %s?\n", o.Count, o.Item)
		return true, nil
	})
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		log.Fatal(rerr)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, count := range []int{3, 30} {
		answer, err := tp.Invoke[string](ctx, sess, "/shop/buy", Order{"apples", count})
		if err != nil {
			fmt.Printf("code %d: %v\n", tp.Code(err), err)
			continue
		}
		fmt.Println(answer)
	}
	_, err := tp.Invoke[string](ctx, sess, "/shop/sell", Order{"apples", 1})
	fmt.Println("no such method:", errors.Is(err, tp.ErrNotFound))
}
