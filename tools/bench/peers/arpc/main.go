// Command arpc serves and calls through github.com/lesismal/arpc for tools/bench.
package main

import (
	"net"
	"time"

	"github.com/lesismal/arpc"
	"github.com/lesismal/arpc/log"
	"google.golang.org/protobuf/proto"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/std"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

const (
	method  = "/echo"
	timeout = time.Minute
)

func main() { harness.Main(candidates()...) }

func candidates() []harness.Candidate {
	return []harness.Candidate{
		{
			Name: "arpc", Serve: func() (string, error) { return serve(false) }, Dial: dial, Streams: streams, Beside: beside, Broadcast: broadcast,
			Note: "handlers run in the connection's reader: a slow one holds up all others; streams by vtprotobuf, with queues of 1024 messages",
		},
		{
			Name: "arpc-async", Serve: func() (string, error) { return serve(true) }, Dial: dial,
			Note: "a goroutine a call",
		},
		{
			Name: "arpc-bytes", Serve: func() (string, error) { return serve(false) }, Streams: bytesStreams,
			Note: "streams of plain bytes, as arpc; the library receives each into a new slice",
		},
	}
}

// codec is standard protobuf, and vtprotobuf for the messages of streams.
type codec struct{}

func (codec) Marshal(v any) ([]byte, error) {
	if m, ok := v.(*vt.Message); ok {
		return m.MarshalVT()
	}
	return proto.Marshal(v.(proto.Message))
}

func (codec) Unmarshal(data []byte, v any) error {
	if m, ok := v.(*vt.Message); ok {
		m.Reset()
		return m.UnmarshalVT(data)
	}
	return proto.Unmarshal(data, v.(proto.Message))
}

// buffer is the size of arpc's read buffers: with the default of 8 KiB a read gets
// 12 messages.
const buffer = 64 << 10

func serve(async bool) (string, error) {
	log.SetLevel(log.LevelNone)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := arpc.NewServer()
	srv.Codec = codec{}
	configure(srv.Handler)
	srv.Handler.Handle(method, func(ctx *arpc.Context) {
		m := new(std.Message)
		if err := ctx.Bind(m); err != nil {
			ctx.Error(err)
			return
		}
		benchmsg.Sleep(m)
		m.Int2 = benchmsg.Answered
		ctx.Write(m)
	}, async)
	srv.Handler.HandleStream(streamMethod, count, true)
	srv.Handler.HandleStream(bulkMethod, takeBulk, true)
	handleGroup(srv)
	go srv.Serve(lis)
	return lis.Addr().String(), nil
}

// configure sets what arpc's own benchmark sets; batches are on by default.
func configure(h arpc.Handler) {
	h.EnablePool(true)
	h.SetRecvBufferSize(buffer)
	h.SetStreamQueueSize(streamQueue)
}

func newClient(addr string, handlers ...func(arpc.Handler)) (*arpc.Client, error) {
	log.SetLevel(log.LevelNone)
	h := arpc.DefaultHandler.Clone()
	configure(h)
	for _, handle := range handlers {
		handle(h)
	}
	client, err := arpc.NewClient(func() (net.Conn, error) { return net.DialTimeout("tcp", addr, timeout) }, h)
	if err != nil {
		return nil, err
	}
	client.Codec = codec{}
	return client, nil
}

func dial(addr string) (func() error, error) {
	client, err := newClient(addr)
	if err != nil {
		return nil, err
	}
	return caller(client), nil
}

func caller(client *arpc.Client) func() error {
	request := benchmsg.New[std.Message]()
	return func() error {
		reply := new(std.Message)
		if err := client.Call(method, request, reply, timeout); err != nil {
			return err
		}
		return benchmsg.Check(reply)
	}
}
