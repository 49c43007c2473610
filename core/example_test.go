package tp_test

import (
	"context"
	"errors"
	"fmt"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// A program imports …/mixers/standard, and needs no word on protocol and codec.
func quietly(c tp.PeerConfig) tp.PeerConfig {
	c.Protocol, c.DefaultBodyCodec, c.Logger = testwire.New, "testjson", newQuiet(nil)
	return c
}

// Arith is a controller: its methods are handlers.
type Arith struct {
	tp.CallCtx
}

// Add is called as /arith/add.
func (a *Arith) Add(arg *[]int) (int, *tp.Rerror) {
	sum := 0
	for _, n := range *arg {
		sum += n
	}
	return sum, nil
}

func ExampleNewPeer() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"})) // ListenPort 0 is a free one
	defer srv.Close()
	srv.RouteCall(new(Arith))
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}

	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		fmt.Println(rerr)
		return
	}
	var sum int
	rerr = sess.Call("/arith/add", []int{1, 2, 3}, &sum).Rerror()
	fmt.Println(sum, rerr)
	// Output: 6 <nil>
}

func ExampleHandleCall() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	tp.HandleCall(srv, "/div", func(ctx tp.CallCtx, arg *[2]int) (int, error) {
		if arg[1] == 0 {
			return 0, tp.NewRerror(1001, "division by zero", "").Err()
		}
		return arg[0] / arg[1], nil
	})
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}

	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		fmt.Println(rerr)
		return
	}
	ctx := context.Background()
	n, err := tp.Invoke[int](ctx, sess, "/div", [2]int{42, 6})
	fmt.Println(n, err)
	_, err = tp.Invoke[int](ctx, sess, "/div", [2]int{42, 0})
	fmt.Println(tp.Code(err), tp.ToRerror(err).Message)
	_, err = tp.Invoke[int](ctx, sess, "/mul", [2]int{42, 6})
	fmt.Println(errors.Is(err, tp.ErrNotFound))
	// Output:
	// 7 <nil>
	// 1001 division by zero
	// true
}

func ExampleHandlePush() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	tp.HandleCall(srv, "/subscribe", func(ctx tp.CallCtx, topic *string) (string, error) {
		rerr := ctx.Session().Push("/news", "all about "+*topic) // both sides are equal
		return "subscribed", rerr.Err()
	})
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}

	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	news := make(chan string)
	tp.HandlePush(cli, "/news", func(ctx tp.PushCtx, text *string) error {
		news <- *text
		return nil
	})
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		fmt.Println(rerr)
		return
	}
	sess.Call("/subscribe", "gophers", nil)
	fmt.Println(<-news)
	// Output: all about gophers
}

// members is a plugin that lets members in.
type members struct{}

func (members) Name() string { return "members" }

func (members) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror {
	if string(ctx.PeekMeta("card")) != "gold" {
		return tp.NewRerror(tp.CodeUnauthorized, "members only", "")
	}
	return nil
}

func ExampleRouter_subRoute() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	club := srv.SubRoute("club", members{})
	club.RouteCall(new(Arith))
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}

	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		fmt.Println(rerr)
		return
	}
	var sum int
	rerr = sess.Call("/club/arith/add", []int{1, 2}, &sum).Rerror()
	fmt.Println(rerr.Code, rerr.Message)
	rerr = sess.Call("/club/arith/add", []int{1, 2}, &sum, tp.WithSetMeta("card", "gold")).Rerror()
	fmt.Println(sum, rerr)
	// Output:
	// 401 members only
	// 3 <nil>
}
