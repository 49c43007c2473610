package main

import (
	"context"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

// handleStreams handles the streams of messages and of bytes.
func handleStreams(srv tp.Peer) {
	tp.HandleStream(srv, "/stream/messages", func(_ tp.StreamCtx, s *tp.Stream[vt.Message, *vt.Message]) error {
		return harness.ServeStream(s.Recv, s.Send)
	})
	tp.HandleStream(srv, "/stream/pooled", func(_ tp.StreamCtx, s *tp.Stream[vt.Message, *vt.Message]) error {
		return harness.ServeStream(reusing(s), s.Send)
	})
	tp.HandleStream(srv, "/stream/bytes", func(_ tp.StreamCtx, s *tp.Stream[[]byte, *[]byte]) error {
		return harness.ServeBytes(receivingBytes(s), sendingBytes(s))
	})
}

func typedStreams(addr string, n int) ([]harness.Stream, error) {
	return openStreams(addr, n, "/stream/messages", func(s *tp.Stream[vt.Message, *vt.Message]) harness.Stream {
		return harness.MessageStream(s.Send, s.Recv)
	})
}

func bytesStreams(addr string, n int) ([]harness.Stream, error) {
	return openStreams(addr, n, "/stream/bytes", bytesStream(benchmsg.Size))
}

// openStreams opens n streams of one session.
func openStreams[In, Out any](addr string, n int, method string, use func(*tp.Stream[In, Out]) harness.Stream) (list []harness.Stream, err error) {
	s, r := clients[codec.NameProtobuf]().Dial(addr)
	if r.HasError() {
		return nil, r.Err()
	}
	for range n {
		stream, err := tp.OpenStream[Out, In](context.Background(), s, method)
		if err != nil {
			return nil, err
		}
		list = append(list, use(stream))
	}
	return list, nil
}

func bytesStream(size int) func(*tp.Stream[[]byte, *[]byte]) harness.Stream {
	return func(s *tp.Stream[[]byte, *[]byte]) harness.Stream {
		return harness.BytesStream(size, sendingBytes(s), receivingBytes(s))
	}
}

func sendingBytes(s *tp.Stream[[]byte, *[]byte]) func([]byte) error {
	var v []byte // Send does not keep it
	return func(b []byte) error {
		v = b
		return s.Send(&v)
	}
}

func receivingBytes(s *tp.Stream[[]byte, *[]byte]) func() ([]byte, error) {
	var b []byte
	return func() ([]byte, error) {
		err := s.RecvInto(&b)
		return b, err
	}
}

// typedBeside is a typed call beside a stream of bytes.
func typedBeside(addr string) (call func() error, stream harness.Stream, err error) {
	s, r := clients[codec.NameProtobuf]().Dial(addr)
	if r.HasError() {
		return nil, stream, r.Err()
	}
	opened, err := tp.OpenStream[*[]byte, []byte](context.Background(), s, "/stream/bytes")
	if err != nil {
		return nil, stream, err
	}
	return callTyped(s), bytesStream(harness.ChunkSize)(opened), nil
}

// pooledStreams receive into one message again and again.
func pooledStreams(addr string, n int) ([]harness.Stream, error) {
	return openStreams(addr, n, "/stream/pooled", func(s *tp.Stream[vt.Message, *vt.Message]) harness.Stream {
		return harness.MessageStream(s.Send, reusing(s))
	})
}

func reusing(s *tp.Stream[vt.Message, *vt.Message]) func() (*vt.Message, error) {
	m := new(tp.Reused[vt.Message])
	return func() (*vt.Message, error) { return &m.Value, s.RecvInto(m) }
}
