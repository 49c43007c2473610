// Command handlers has every shape of a handler that is named after its Go name:
// methods of a struct, functions, and the two for messages without a route.
package main

import (
	"fmt"
	"log"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

// Aaa is a CALL struct: each method is a handler. A call gets a copy of the
// registered value, with the fields that were set before.
type Aaa struct {
	tp.CallCtx
	greeting string
}

// XxZz is /aaa/xx_zz.
func (x *Aaa) XxZz(arg *string) (string, *tp.Rerror) {
	return x.greeting + " " + *arg, nil
}

// Double is a CALL function.
func Double(ctx tp.CallCtx, arg *int) (int, *tp.Rerror) {
	return *arg * 2, nil
}

// Bbb is a PUSH struct.
type Bbb struct {
	tp.PushCtx
	got chan<- string
}

// YyZz is /bbb/yy_zz.
func (b *Bbb) YyZz(arg *string) *tp.Rerror {
	b.got <- "Bbb.YyZz got " + *arg
	return nil
}

func main() {
	tp.SetLoggerLevel("ERROR")
	got := make(chan string)

	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"})
	defer srv.Close()
	fmt.Println("CALL", srv.RouteCall(&Aaa{greeting: "hello"}))
	fmt.Println("CALL", srv.RouteCallFunc(Double))
	fmt.Println("CALL", srv.RouteCallFunc((*Aaa).XxZz)) // one method alone, on an empty struct
	fmt.Println("PUSH", srv.RoutePush(&Bbb{got: got}))
	srv.SetUnknownCall(func(ctx tp.UnknownCallCtx) (any, *tp.Rerror) {
		return fmt.Sprintf("nobody serves %s; its body is %s", ctx.ServiceMethod(), ctx.InputBodyBytes()), nil
	})
	srv.SetUnknownPush(func(ctx tp.UnknownPushCtx) *tp.Rerror {
		var v any
		if _, err := ctx.Bind(&v); err != nil {
			return tp.ToRerror(err)
		}
		got <- fmt.Sprintf("nobody serves the push %s of %v", ctx.ServiceMethod(), v)
		return nil
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
	for _, call := range []struct {
		method string
		arg    any
	}{{"/aaa/xx_zz", "struct"}, {"/double", 21}, {"/xx_zz", "method"}, {"/no/where", []int{1, 2}}} {
		var result any
		if rerr := sess.Call(call.method, call.arg, &result).Rerror(); rerr != nil {
			log.Fatal(rerr)
		}
		fmt.Printf("%s -> %v\n", call.method, result)
	}
	for _, method := range []string{"/bbb/yy_zz", "/no/where"} {
		if rerr := sess.Push(method, "a push"); rerr != nil {
			log.Fatal(rerr)
		}
		fmt.Println(<-got)
	}
}
