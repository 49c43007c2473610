// Command async sends many calls without waiting, and takes the answers in the
// order in which they come.
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
	tp.SetLoggerLevel("ERROR")
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"})
	defer srv.Close()
	tp.HandleCall(srv, "/test/sleep", func(ctx tp.CallCtx, ms *int) (string, error) {
		select {
		case <-time.After(time.Duration(*ms) * time.Millisecond):
			return fmt.Sprintf("slept %d ms", *ms), nil
		case <-ctx.Context().Done(): // the end of the session, or of the caller's deadline
			return "", ctx.Context().Err()
		}
	})
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}

	cli := tp.NewPeer(tp.PeerConfig{CountTime: true})
	defer cli.Close()
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		log.Fatal(rerr)
	}

	done := make(chan tp.CallCmd, 3) // it must be buffered
	for _, ms := range []int{2000, 1, 1000} {
		sess.AsyncCall("/test/sleep", ms, new(string), done)
	}
	for range 3 {
		call := <-done
		result, rerr := call.Reply()
		if rerr != nil {
			log.Fatal(rerr)
		}
		fmt.Println(*result.(*string), "of a call that took that long:", call.CostTime() >= time.Millisecond)
	}

	// A call ends with its context, if that is first.
	ctx, cancel := context.WithCancel(context.Background())
	call := sess.AsyncCall("/test/sleep", 1000, new(string), nil, tp.WithContext(ctx))
	cancel()
	<-call.Done()
	fmt.Println(call.Rerror())
}
