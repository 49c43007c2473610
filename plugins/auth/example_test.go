package auth_test

import (
	"context"
	"fmt"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/auth"
)

func Example() {
	t := new(testing.T) // programs use tp.NewPeer, Listen and Dial
	network := tptest.NewNetwork().Register(t)

	srv := tptest.NewPeer(t, tp.PeerConfig{Network: network}, auth.NewCheckerPlugin(
		func(sess auth.Session, fn auth.RecvOnce) (any, *tp.Rerror) {
			var token string
			if rerr := fn(&token); rerr != nil {
				return nil, rerr
			}
			if token != "secret" {
				return nil, tp.NewRerror(403, "Forbidden", "wrong token")
			}
			sess.Swap().Store("user", "ann") // for the handlers
			return "hello, ann", nil
		}))
	defer srv.Close()
	addr := tptest.Listen(t, srv)

	for _, token := range []string{"secret", "guess"} {
		cli := tptest.NewPeer(t, tp.PeerConfig{Network: network}, auth.NewBearerPlugin(
			func(_ auth.Session, fn auth.SendOnce) *tp.Rerror {
				var ret string
				rerr := fn(token, &ret)
				fmt.Printf("%q %v\n", ret, rerr)
				return rerr
			}))
		_, rerr := cli.Dial(addr)
		fmt.Println(rerr)
		cli.Close()
	}
	// Output:
	// "hello, ann" <nil>
	// <nil>
	// "" {"code":403,"message":"Forbidden","reason":"wrong token"}
	// {"code":403,"message":"Forbidden","reason":"wrong token"}
}

// One peer, and for each dial other credentials.
func ExampleWithCredentials() {
	t := new(testing.T) // programs use tp.NewPeer, Listen and Dial
	network := tptest.NewNetwork().Register(t)

	srv := tptest.NewPeer(t, tp.PeerConfig{Network: network}, auth.NewCheckerPlugin(
		func(sess auth.Session, fn auth.RecvOnce) (any, *tp.Rerror) {
			var user string
			rerr := fn(&user)
			sess.SetID(user)
			return nil, rerr
		}))
	defer srv.Close()
	tp.HandleCall(srv, "/whoami", func(ctx tp.CallCtx, _ *string) (string, error) { return ctx.Session().ID(), nil })
	addr := tptest.Listen(t, srv)

	cli := tptest.NewPeer(t, tp.PeerConfig{Network: network}, auth.NewBearerPlugin(
		func(sess auth.Session, fn auth.SendOnce) *tp.Rerror {
			return fn(auth.Credentials(sess.Context()), nil)
		}))
	defer cli.Close()
	for _, user := range []string{"ann", "bob"} {
		sess, rerr := cli.DialContext(auth.WithCredentials(context.Background(), user), addr)
		if rerr != nil {
			fmt.Println(rerr)
			return
		}
		fmt.Println(tp.Invoke[string](context.Background(), sess, "/whoami", ""))
	}
	// Output:
	// ann <nil>
	// bob <nil>
}

// A second login of a user ends the first session, which learns why and does not redial.
func ExampleNewCheckerPlugin_oneSessionPerUser() {
	t := new(testing.T) // programs use tp.NewPeer, Listen and Dial
	network := tptest.NewNetwork().Register(t)

	srv := tptest.NewPeer(t, tp.PeerConfig{Network: network}, auth.NewCheckerPlugin(
		func(sess auth.Session, fn auth.RecvOnce) (any, *tp.Rerror) {
			var user string
			rerr := fn(&user)
			sess.SetID(user) // closes the session that had it
			return nil, rerr
		}))
	defer srv.Close()
	addr := tptest.Listen(t, srv)

	login := func() tp.Session {
		cli := tptest.NewPeer(t, tp.PeerConfig{Network: network, RedialTimes: -1}, auth.NewBearerPlugin(
			func(_ auth.Session, fn auth.SendOnce) *tp.Rerror { return fn("ann", nil) }))
		sess, rerr := cli.Dial(addr)
		if rerr != nil {
			fmt.Println(rerr)
		}
		return sess
	}
	first := login()
	second := login()
	<-first.CloseNotify()
	fmt.Println(first.CloseReason())
	fmt.Println(tp.Code(first.CloseReason()), first.Health(), second.Health())

	if sess, ok := srv.GetSession("ann"); ok { // and by hand
		sess.CloseWith(tp.NewRerror(tp.CodeForbidden, "Forbidden", "your account is locked"))
	}
	<-second.CloseNotify()
	fmt.Println(second.CloseReason())
	// Output:
	// closed by peer: 409 Conflict: another session has taken the id
	// 409 false true
	// closed by peer: 403 Forbidden: your account is locked
}
