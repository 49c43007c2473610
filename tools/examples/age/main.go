// Command age limits the life of handlers, calls and sessions.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

func main() {
	tp.SetLoggerLevel("OFF")
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", DefaultContextAge: time.Second})
	defer srv.Close()
	tp.HandleCall(srv, "/test/stubborn", func(ctx tp.CallCtx, d *time.Duration) (string, error) {
		<-time.After(*d) // it ignores its context and runs to its end; the caller does not wait for it
		return "done", nil
	})
	tp.HandleCall(srv, "/test/polite", func(ctx tp.CallCtx, d *time.Duration) (string, error) {
		select {
		case <-time.After(*d):
			return "done", nil
		case <-ctx.Context().Done():
			return "", ctx.Context().Err() // the deadline of the server or that of the caller
		}
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
	try := func(what, method string, takes, timeout time.Duration) {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		answer, err := tp.Invoke[string](ctx, sess, method, takes)
		if err != nil {
			answer = fmt.Sprintf("%d %s", tp.Code(err), tp.CodeText(tp.Code(err)))
		}
		fmt.Printf("%s: %s\n", what, answer)
	}
	try("in time", "/test/polite", 0, time.Minute)
	try("over the server's age", "/test/polite", time.Minute, time.Minute)
	try("over it, stubborn", "/test/stubborn", 1500*time.Millisecond, time.Minute)
	try("over the caller's deadline", "/test/polite", time.Minute, 10*time.Millisecond)
	try("afterwards", "/test/polite", 0, time.Minute)

	// A session over its age is closed as by Close, and not redialled.
	sess.SetSessionAge(50 * time.Millisecond)
	<-sess.CloseNotify()
	try("the session", "/test/polite", 0, time.Minute)
	fmt.Println("because of:", sess.CloseReason())
}
