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
	bulkMethod   = "/bench.Echo/Bulk"
)

// window is the size of the windows of HTTP/2, of a stream and of a connection. The
// server's default is 1 MiB for both.
const window = 4 << 20

func main() { harness.Main(candidates()...) }

func candidates() []harness.Candidate {
	return []harness.Candidate{{
		Name: "connect", Serve: serve, Dial: dial, Streams: streams, Beside: beside,
		Note: "the Connect protocol on net/http over HTTP/2 without TLS, windows of 4 MiB, no compression; vtprotobuf",
	}}
}

// codec is vtprotobuf's generated code, and bytes as they are, under the name of the
// protobuf codec; the library's own errors are standard protobuf.
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
	case *[]byte:
		return append(dst, *m...), nil
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
	case *[]byte:
		*m = append((*m)[:0], data...)
		return nil
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
	mux.Handle(bulkMethod, connect.NewBidiStreamHandler(bulkMethod, func(_ context.Context, s *connect.BidiStream[[]byte, []byte]) error {
		return harness.ServeBytes(receiving(s), sending(s))
	}, connect.WithCodec(codec{})))
	srv := &http.Server{Handler: mux}
	srv.Protocols, srv.HTTP2 = http2()
	go srv.Serve(lis)
	return lis.Addr().String(), nil
}

// newTransport returns a client of HTTP/2, which makes one connection.
func newTransport() *http.Client {
	t := &http.Transport{DisableCompression: true}
	t.Protocols, t.HTTP2 = http2()
	return &http.Client{Transport: t}
}

func newClient[T any](t *http.Client, addr, procedure string) *connect.Client[T, T] {
	return connect.NewClient[T, T](t, "http://"+addr+procedure, connect.WithCodec(codec{}))
}

func dial(addr string) (func() error, error) {
	call := caller(newTransport(), addr)
	return call, call() // the first call connects
}

func caller(t *http.Client, addr string) func() error {
	c, request := newClient[vt.Message](t, addr, method), benchmsg.New[vt.Message]()
	return func() error {
		reply, err := c.CallUnary(context.Background(), connect.NewRequest(request))
		if err != nil {
			return err
		}
		return benchmsg.Check(reply.Msg)
	}
}

func streams(addr string, n int) (list []harness.Stream, err error) {
	c := newClient[vt.Message](newTransport(), addr, streamMethod)
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

// bidi is a stream of bytes as both sides have it.
type bidi interface {
	Receive() (*[]byte, error)
	Send(*[]byte) error
}

func receiving(s bidi) func() ([]byte, error) {
	return func() ([]byte, error) {
		b, err := s.Receive()
		if err != nil {
			return nil, err
		}
		return *b, nil
	}
}

func sending(s bidi) func([]byte) error {
	return func(b []byte) error { return s.Send(&b) }
}

func beside(addr string) (call func() error, stream harness.Stream, err error) {
	t := newTransport()
	call = caller(t, addr)
	if err := call(); err != nil { // it connects
		return nil, stream, err
	}
	s := newClient[[]byte](t, addr, bulkMethod).CallBidiStream(context.Background())
	return call, harness.BytesStream(harness.ChunkSize, sending(s), receiving(s)), nil
}
