// Command drpc serves and calls through storj.io/drpc for tools/bench.
package main

import (
	"context"
	"net"

	"google.golang.org/protobuf/proto"
	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcmux"
	"storj.io/drpc/drpcserver"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/std"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

const method = "/bench.Echo/Say"

func main() { harness.Main(candidates()...) }

func candidates() []harness.Candidate {
	return []harness.Candidate{
		{
			Name: "drpc", Serve: serve, Dial: dial, Streams: streams, Apart: true,
			Note: "one call at a time on a connection: the callers of a shared connection take turns, and each stream has a connection of its own; its streams by vtprotobuf, a write a message",
		},
		{
			Name: "drpc-manual", Serve: serve, Streams: manualStreams, Apart: true,
			Note: "the same streams, flushed by hand (ManualFlush): a message leaves when 64 KiB of them have been sent, or before an answer is awaited",
		},
	}
}

// encoding is standard protobuf, with the append method of drpc's generated code.
type encoding struct{}

func (encoding) Marshal(v drpc.Message) ([]byte, error) { return proto.Marshal(v.(proto.Message)) }
func (encoding) Unmarshal(data []byte, v drpc.Message) error {
	return proto.Unmarshal(data, v.(proto.Message))
}
func (encoding) MarshalAppend(dst []byte, v drpc.Message) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend(dst, v.(proto.Message))
}

type echo struct{}

func (echo) Say(_ context.Context, m *std.Message) (*std.Message, error) {
	benchmsg.Sleep(m)
	m.Int2 = benchmsg.Answered
	return m, nil
}

// description is what protoc-gen-go-drpc would write for a service with two methods.
type description struct{}

func (description) NumMethods() int { return 2 }

func (description) Method(n int) (string, drpc.Encoding, drpc.Receiver, any, bool) {
	if n == 1 {
		return streamMethod, fastEncoding{}, func(srv any, _ context.Context, in1, _ any) (drpc.Message, error) {
			return nil, srv.(echo).Count(in1.(drpc.Stream))
		}, echo.Count, true
	}
	return method, encoding{}, func(srv any, ctx context.Context, in1, _ any) (drpc.Message, error) {
		return srv.(echo).Say(ctx, in1.(*std.Message))
	}, echo.Say, n == 0
}

func serve() (string, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	mux := drpcmux.New()
	if err := mux.Register(echo{}, description{}); err != nil {
		return "", err
	}
	go drpcserver.New(mux).Serve(context.Background(), lis)
	return lis.Addr().String(), nil
}

func dial(addr string) (func() error, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := drpcconn.New(conn)
	request := benchmsg.New[std.Message]()
	return func() error {
		reply := new(std.Message)
		if err := c.Invoke(context.Background(), method, encoding{}, request, reply); err != nil {
			return err
		}
		return benchmsg.Check(reply)
	}, nil
}
