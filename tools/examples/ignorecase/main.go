// Command ignorecase has a plugin: it implements two of the hooks that run when the
// header of a message has arrived, and reroutes the message.
package main

import (
	"fmt"
	"log"
	"strings"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

// NewIgnoreCase returns the plugin.
func NewIgnoreCase() *ignoreCase {
	return &ignoreCase{}
}

type ignoreCase struct{}

var (
	_ tp.PostReadCallHeaderPlugin = new(ignoreCase)
	_ tp.PostReadPushHeaderPlugin = new(ignoreCase)
)

func (i *ignoreCase) Name() string {
	return "ignoreCase"
}

func (i *ignoreCase) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror {
	// Dynamic transformation path is lowercase
	ctx.UriObject().Path = strings.ToLower(ctx.UriObject().Path)
	return nil
}

func (i *ignoreCase) PostReadPushHeader(ctx tp.ReadCtx) *tp.Rerror {
	// Dynamic transformation path is lowercase
	ctx.UriObject().Path = strings.ToLower(ctx.UriObject().Path)
	return nil
}

// Home is a handler.
type Home struct{ tp.CallCtx }

// Door is /home/door.
func (h *Home) Door(arg *string) (string, *tp.Rerror) {
	return "come in, " + *arg, nil
}

func main() {
	tp.SetLoggerLevel("ERROR")

	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"})
	defer srv.Close()
	srv.RouteCall(new(Home), NewIgnoreCase()) // for these routes; NewPeer(cfg, plugin) is for all
	srv.SubRoute("strict").RouteCall(new(Home))
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}

	cli := tp.NewPeer(tp.PeerConfig{})
	defer cli.Close()
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		log.Fatal(rerr)
	}
	for _, method := range []string{"/home/door", "/Home/DOOR", "/strict/home/door", "/Strict/Home/Door"} {
		var answer string
		if rerr := sess.Call(method, "Ann", &answer).Rerror(); rerr != nil {
			fmt.Printf("%s: %d %s\n", method, rerr.Code, rerr.Message)
			continue
		}
		fmt.Printf("%s: %s\n", method, answer)
	}
}
