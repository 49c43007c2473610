// Command grpc serves and calls through google.golang.org/grpc for tools/bench.
package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/std"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

const method = "/bench.Echo/Say"

func main() { harness.Main(candidates()...) }

func candidates() []harness.Candidate {
	return []harness.Candidate{
		{
			Name: "grpc", Serve: serve, Dial: dial, Streams: streams, Beside: beside,
			Note: "without TLS; default buffers and windows, which adapt; a goroutine a call; its streams by vtprotobuf in pooled buffers",
		},
		{
			Name: "grpc-bytes", Serve: serve, Streams: bytesStreams,
			Note: "streams of plain bytes, received into one slice",
		},
	}
}

// service is what protoc-gen-go-grpc would write for a service with one method.
var service = grpc.ServiceDesc{
	ServiceName: "bench.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Say",
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			m := new(std.Message)
			if err := decode(m); err != nil {
				return nil, err
			}
			benchmsg.Sleep(m)
			m.Int2 = benchmsg.Answered
			return m, nil
		},
	}},
	Streams: []grpc.StreamDesc{counting, bulk},
}

func serve() (string, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := grpc.NewServer()
	srv.RegisterService(&service, nil)
	go srv.Serve(lis)
	return lis.Addr().String(), nil
}

// newClient returns a client with a connection.
func newClient(addr string) (*grpc.ClientConn, error) {
	c, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return c, connect(c)
}

func dial(addr string) (func() error, error) {
	c, err := newClient(addr)
	if err != nil {
		return nil, err
	}
	return caller(c), nil
}

func caller(c *grpc.ClientConn) func() error {
	request := benchmsg.New[std.Message]()
	return func() error {
		reply := new(std.Message)
		if err := c.Invoke(context.Background(), method, request, reply); err != nil {
			return err
		}
		return benchmsg.Check(reply)
	}
}

// connect makes the connection, which the client would put off until the first call.
func connect(c *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for c.Connect(); c.GetState() != connectivity.Ready; {
		if state := c.GetState(); state != connectivity.Ready && !c.WaitForStateChange(ctx, state) {
			return fmt.Errorf("no connection: %v: %w", state, ctx.Err())
		}
	}
	return nil
}
