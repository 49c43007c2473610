package auth_test

import (
	"context"
	"fmt"
	"testing"
	"time"

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

// Credentials that end are renewed on the session, and taken away while it lives.
func ExampleGrant() {
	t := new(testing.T) // programs use tp.NewPeer, Listen and Dial
	network := tptest.NewNetwork().Register(t)

	srv := tptest.NewPeer(t, tp.PeerConfig{Network: network}, auth.NewCheckerPlugin(
		func(sess auth.Session, fn auth.RecvOnce) (any, *tp.Rerror) {
			var token string
			rerr := fn(&token)
			sess.SetID("ann")
			return auth.Grant{
				Until:  time.Now().Add(time.Hour), // the Bearer is called again before
				Claims: map[string]string{"token": token},
			}, rerr
		}))
	defer srv.Close()
	tp.HandleCall(srv, "/orders/read", func(ctx tp.CallCtx, _ *string) (string, error) {
		g, _ := auth.GrantOf(ctx)
		return g.Claims["token"], nil
	})
	tp.HandleCall(srv, "/orders/delete", func(tp.CallCtx, *string) (string, error) { return "deleted", nil })
	addr := tptest.Listen(t, srv)

	n := 0
	cli := tptest.NewPeer(t, tp.PeerConfig{Network: network}, auth.NewBearerPlugin(
		func(_ auth.Session, fn auth.SendOnce) *tp.Rerror {
			n++
			return fn(fmt.Sprint("token ", n), nil)
		}))
	defer cli.Close()
	sess, rerr := cli.Dial(addr)
	if rerr != nil {
		fmt.Println(rerr)
		return
	}
	ctx := context.Background()
	fmt.Println(tp.Invoke[string](ctx, sess, "/orders/read", ""))
	fmt.Println(auth.Renew(ctx, sess)) // what happens by itself within the hour
	fmt.Println(tp.Invoke[string](ctx, sess, "/orders/read", ""))

	if ann, ok := srv.GetSession("ann"); ok {
		auth.Narrow(ann, "/orders/read")
		fmt.Println(tp.Invoke[string](ctx, sess, "/orders/delete", ""))
		auth.Revoke(ann, nil)
	}
	<-sess.CloseNotify()
	fmt.Println(sess.CloseReason())
	// Output:
	// token 1 <nil>
	// <nil>
	// token 2 <nil>
	//  403 Forbidden: the credentials of the session do not allow /orders/delete
	// closed by peer: 401 Unauthorized: the credentials have been revoked
}
