// Command kitex serves and calls through github.com/cloudwego/kitex for tools/bench.
package main

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/klog"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/server"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/std"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

const timeout = time.Minute

func main() { harness.Main(candidates()...) }

func candidates() []harness.Candidate {
	return []harness.Candidate{{
		Name: "kitex", Serve: serve, Dial: dial,
		Note: "its multiplexed transport on netpoll, with its TTHeader protocol; one client for each connection",
	}}
}

type echo struct{}

func (*echo) say(_ context.Context, m *std.Message) (*std.Message, error) {
	benchmsg.Sleep(m)
	m.Int2 = benchmsg.Answered
	return m, nil
}

func serve() (string, error) {
	klog.SetOutput(io.Discard)
	lis, err := net.Listen("tcp", "127.0.0.1:0") // netpoll takes it over
	if err != nil {
		return "", err
	}
	srv := server.NewServer(
		server.WithListener(lis),
		server.WithMuxTransport(),
		server.WithServerBasicInfo(&rpcinfo.EndpointBasicInfo{ServiceName: serviceName}),
	)
	if err := srv.RegisterService(service, handler(new(echo))); err != nil {
		return "", err
	}
	addr := lis.Addr().String()
	go srv.Run()
	return addr, nil
}

func dial(addr string) (func() error, error) {
	klog.SetOutput(io.Discard)
	c, err := client.NewClient(service,
		client.WithDestService(serviceName),
		client.WithHostPorts(addr),
		client.WithMuxConnection(1),
		client.WithConnectTimeout(timeout),
	)
	if err != nil {
		return nil, err
	}
	request := benchmsg.New[std.Message]()
	call := func() error {
		args, result := &message{request}, new(message)
		if err := c.Call(context.Background(), method, args, result); err != nil {
			return err
		}
		return benchmsg.Check(result.Message)
	}
	return call, call() // the first call makes the connection
}
