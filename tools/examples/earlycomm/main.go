// Command earlycomm exchanges messages before the session begins: in PostDial and
// PostAccept the two sides agree on the client's name, before any other message.
package main

import (
	"context"
	"fmt"
	"log"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

// introduce is the client's plugin.
type introduce struct{ name string }

var _ tp.PostDialPlugin = introduce{}

func (introduce) Name() string { return "introduce" }

// PostDial sends the client's name, and expects a welcome.
func (i introduce) PostDial(sess tp.PreSession) *tp.Rerror {
	var answer string
	if rerr := sess.PreCall("/early/name", i.name, &answer); rerr != nil {
		return rerr
	}
	fmt.Println("client: the server says", answer)
	return nil
}

// doorman is the server's.
type doorman struct{}

var _ tp.PostAcceptPlugin = doorman{}

func (doorman) Name() string { return "doorman" }

// PostAccept gives the session the client's name as its id. An error closes the
// connection; here the client gets it first.
func (doorman) PostAccept(sess tp.PreSession) *tp.Rerror {
	msg := sess.PreReceive(func(tp.Header) any { return new(string) }, context.Background())
	if rerr := msg.Rerror(); rerr != nil {
		return rerr
	}
	name := *msg.Body().(*string)
	fmt.Println("server:", tp.TypeText(msg.Mtype()), msg.ServiceMethod(), name)
	if name == "Mallory" {
		rerr := tp.NewRerror(tp.CodeUnauthorized, tp.CodeText(tp.CodeUnauthorized), "not you")
		sess.PreReply(msg, nil, rerr)
		return rerr
	}
	sess.SetID(name)
	return sess.PreReply(msg, "welcome "+name, nil)
}

func main() {
	tp.SetLoggerLevel("OFF")
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"}, doorman{})
	defer srv.Close()
	tp.HandleCall(srv, "/who", func(ctx tp.CallCtx, _ *struct{}) (string, error) {
		return "you are " + ctx.Session().ID(), nil
	})
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	for _, name := range []string{"Ann", "Mallory"} {
		cli := tp.NewPeer(tp.PeerConfig{}, introduce{name})
		defer cli.Close()
		sess, rerr := cli.Dial(srv.Addrs()[0].String())
		if rerr != nil {
			fmt.Println("client:", rerr.Code, rerr.Reason)
			continue
		}
		who, err := tp.Invoke[string](context.Background(), sess, "/who", nil)
		fmt.Println("client:", who, err)
	}
	_, there := srv.GetSession("Ann")
	fmt.Println("server: Ann is here:", there)
}
