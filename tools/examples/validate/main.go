// Command validate checks the arguments of handlers: by the tags of the binder
// plugin, and by go-playground/validator, which is plugged into it.
package main

import (
	"errors"
	"fmt"
	"log"

	"github.com/go-playground/validator/v10"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
	"github.com/teleport-go/teleport/plugins/binder"
)

// Order has tags of both.
type Order struct {
	User  string `param:"<meta:user><len:1:64>"` // filled from the metadata
	Count int    `param:"<range:1:99><rerr:1001:no such number>"`
	Email string `validate:"required,email"`
	Items []Item `validate:"min=1,dive"` // each of them
}

// Item is checked since Order says so.
type Item struct {
	Code string `validate:"isbn13"`
}

func main() {
	tp.SetLoggerLevel("ERROR")

	bind := binder.NewStructArgsBinder(nil)
	bind.SetValidator(validator.New(validator.WithRequiredStructEnabled()).Struct)
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"}, bind)
	defer srv.Close()
	tp.HandleCall(srv, "/order", func(_ tp.CallCtx, o *Order) (string, error) {
		return fmt.Sprintf("%d for %s", o.Count, o.User), nil
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
	book := []Item{{Code: "9780262510875"}}
	for _, o := range []Order{
		{Count: 1, Email: "ann@example.com", Items: book},
		{Count: 100, Email: "ann@example.com", Items: book},
		{Count: 1, Email: "ann", Items: book},
		{Count: 1, Email: "ann@example.com", Items: []Item{{Code: "9780262510876"}}},
	} {
		var answer string
		rerr := sess.Call("/order", o, &answer, tp.WithSetMeta("user", "Ann")).Rerror()
		switch {
		case rerr == nil:
			fmt.Println(answer)
		case errors.Is(rerr.Err(), tp.ErrBadMessage):
			fmt.Println(rerr.Code, rerr.Reason)
		default:
			fmt.Println(rerr.Code, rerr.Message)
		}
	}
}
