// Command rpcx serves and calls through github.com/smallnest/rpcx for tools/bench.
package main

import (
	"context"
	"net"
	"time"

	"github.com/smallnest/rpcx/client"
	"github.com/smallnest/rpcx/log"
	"github.com/smallnest/rpcx/protocol"
	"github.com/smallnest/rpcx/server"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/std"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

const (
	service = "Echo"
	method  = "Say"
)

func main() { harness.Main(candidates()...) }

func candidates() []harness.Candidate {
	return []harness.Candidate{{
		Name: "rpcx", Serve: serve, Dial: dial,
		Note: "handlers of its Context, which are called without reflection; a goroutine a call",
	}}
}

// say is a handler of rpcx's Context, which is called without reflection.
func say(ctx *server.Context) error {
	m := new(std.Message)
	if err := ctx.Bind(m); err != nil {
		return err
	}
	benchmsg.Sleep(m)
	m.Int2 = benchmsg.Answered
	return ctx.Write(m)
}

func serve() (string, error) {
	log.SetDummyLogger()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := server.NewServer()
	srv.AddHandler(service, method, say)
	go srv.ServeListener("tcp", lis)
	return lis.Addr().String(), nil
}

func dial(addr string) (func() error, error) {
	log.SetDummyLogger()
	option := client.DefaultOption
	option.SerializeType = protocol.ProtoBuffer
	option.ConnectTimeout = time.Minute
	c := client.NewClient(option)
	if err := c.Connect("tcp", addr); err != nil {
		return nil, err
	}
	request := benchmsg.New[std.Message]()
	return func() error {
		reply := new(std.Message)
		if err := c.Call(context.Background(), service, method, request, reply); err != nil {
			return err
		}
		return benchmsg.Check(reply)
	}, nil
}
