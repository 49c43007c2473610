// Command connect serves and calls through connectrpc.com/connect for tools/bench.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

const (
	method       = "/bench.Echo/Say"
	streamMethod = "/bench.Echo/Count"
)

// window is the size of the windows of HTTP/2, of a stream and of a connection. The
// server's default is 1 MiB for both.
const window = 4 << 20

func main() { harness.Main(candidates()...) }

func candidates() []harness.Candidate {
	return []harness.Candidate{{
		Name: "connect", Serve: serve, Dial: dial, Streams: streams,
		Note: "the Connect protocol on net/http over HTTP/2 without TLS, windows of 4 MiB, no compression; vtprotobuf",
	}}
}

// codec is vtprotobuf's generated code, under the name of the protobuf codec; the library's
// own errors are standard protobuf.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) ([]byte, error) { return codec{}.MarshalAppend(nil, v) }

func (codec) MarshalAppend(dst []byte, v any) ([]byte, error) {
	switch m := v.(type) {
	case *vt.Message:
		was, n := len(dst), m.SizeVT()
		dst = append(dst, make([]byte, n)...)
		_, err := m.MarshalToSizedBufferVT(dst[was:])
		return dst, err
	case proto.Message:
		return proto.MarshalOptions{}.MarshalAppend(dst, m)
	}
	return nil, fmt.Errorf("%T is no protobuf message", v)
}

func (codec) Unmarshal(data []byte, v any) error {
	switch m := v.(type) {
	case *vt.Message:
		m.Reset()
		return m.UnmarshalVT(data)
	case proto.Message:
		return proto.Unmarshal(data, m)
	}
	return fmt.Errorf("%T is no protobuf message", v)
}

func http2() (*http.Protocols, *http.HTTP2Config) {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p, &http.HTTP2Config{MaxReceiveBufferPerConnection: window, MaxReceiveBufferPerStream: window}
}

func serve() (string, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	mux.Handle(method, connect.NewUnaryHandlerSimple(method, func(_ context.Context, m *vt.Message) (*vt.Message, error) {
		benchmsg.Sleep(m)
		m.Int2 = benchmsg.Answered
		return m, nil
	}, connect.WithCodec(codec{})))
	mux.Handle(streamMethod, connect.NewBidiStreamHandler(streamMethod, func(_ context.Context, s *connect.BidiStream[vt.Message, vt.Message]) error {
		return harness.ServeStream(s.Receive, s.Send)
	}, connect.WithCodec(codec{})))
	srv := &http.Server{Handler: mux}
	srv.Protocols, srv.HTTP2 = http2()
	go srv.Serve(lis)
	return lis.Addr().String(), nil
}

// newClient returns a client with one connection to addr.
func newClient(addr, procedure string) *connect.Client[vt.Message, vt.Message] {
	t := &http.Transport{DisableCompression: true}
	t.Protocols, t.HTTP2 = http2()
	return connect.NewClient[vt.Message, vt.Message](&http.Client{Transport: t}, "http://"+addr+procedure, connect.WithCodec(codec{}))
}

func dial(addr string) (func() error, error) {
	c, request := newClient(addr, method), benchmsg.New[vt.Message]()
	call := func() error {
		reply, err := c.CallUnary(context.Background(), connect.NewRequest(request))
		if err != nil {
			return err
		}
		return benchmsg.Check(reply.Msg)
	}
	return call, call() // the first call connects
}

func streams(addr string, n int) (list []harness.Stream, err error) {
	c := newClient(addr, streamMethod)
	for range n {
		s := c.CallBidiStream(context.Background())
		stream := harness.MessageStream(s.Send, s.Receive)
		if _, err := stream.Ask(); err != nil { // the first message opens the stream
			return nil, err
		}
		list = append(list, stream)
	}
	return list, nil
}
