package main

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

const (
	streamMethod = "/bench.Echo/Count"
	bulkMethod   = "/bench.Echo/Bulk"
	fast         = "vtproto" // content subtype
)

func init() { encoding.RegisterCodecV2(fastCodec{}) }

// fastCodec encodes messages by vtprotobuf's generated code, and bytes as they are, into the
// library's pooled buffers.
type fastCodec struct{}

func (fastCodec) Name() string { return fast }

func (fastCodec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case *vt.Message:
		n, pool := v.SizeVT(), mem.DefaultBufferPool()
		if mem.IsBelowBufferPoolingThreshold(n) {
			b, err := v.MarshalVT()
			return mem.BufferSlice{mem.SliceBuffer(b)}, err
		}
		b := pool.Get(n)
		if _, err := v.MarshalToSizedBufferVT((*b)[:n]); err != nil {
			pool.Put(b)
			return nil, err
		}
		return mem.BufferSlice{mem.NewBuffer(b, pool)}, nil
	case []byte:
		return mem.BufferSlice{mem.Copy(v, mem.DefaultBufferPool())}, nil
	}
	return nil, fmt.Errorf("%s: %T is no message of the benchmark", fast, v)
}

func (fastCodec) Unmarshal(data mem.BufferSlice, v any) error {
	switch v := v.(type) {
	case *vt.Message:
		b := data.MaterializeToBuffer(mem.DefaultBufferPool())
		defer b.Free()
		v.Reset()
		return v.UnmarshalVT(b.ReadOnlyData())
	case *[]byte:
		*v = slices.Grow((*v)[:0], data.Len())[:data.Len()]
		data.CopyTo(*v)
		return nil
	}
	return fmt.Errorf("%s: %T is no message of the benchmark", fast, v)
}

var (
	counting = grpc.StreamDesc{StreamName: "Count", Handler: count, ServerStreams: true, ClientStreams: true}
	bulk     = grpc.StreamDesc{StreamName: "Bulk", Handler: takeBulk, ServerStreams: true, ClientStreams: true}
)

// messages is a stream as both sides have it.
type messages interface {
	SendMsg(m any) error
	RecvMsg(m any) error
}

// reused returns a function that receives into one message again and again.
func reused(s messages) func() (*vt.Message, error) {
	m := new(vt.Message)
	return func() (*vt.Message, error) { return m, s.RecvMsg(m) }
}

func sending(s messages) func(*vt.Message) error {
	return func(m *vt.Message) error { return s.SendMsg(m) }
}

func count(_ any, s grpc.ServerStream) error { return harness.ServeStream(reused(s), sending(s)) }

func streams(addr string, n int) (list []harness.Stream, err error) {
	c, err := newClient(addr)
	if err != nil {
		return nil, err
	}
	for range n {
		s, err := c.NewStream(context.Background(), &counting, streamMethod, grpc.CallContentSubtype(fast))
		if err != nil {
			return nil, err
		}
		list = append(list, harness.MessageStream(sending(s), reused(s)))
	}
	return list, nil
}

func takeBulk(_ any, s grpc.ServerStream) error {
	return harness.ServeBytes(reusedBytes(s), sendingBytes(s))
}

func reusedBytes(s messages) func() ([]byte, error) {
	var b []byte
	return func() ([]byte, error) {
		err := s.RecvMsg(&b)
		return b, err
	}
}

func sendingBytes(s messages) func([]byte) error {
	return func(b []byte) error { return s.SendMsg(b) }
}

// bytesStream opens a stream of messages of size bytes.
func bytesStream(c *grpc.ClientConn, size int) (stream harness.Stream, err error) {
	s, err := c.NewStream(context.Background(), &bulk, bulkMethod, grpc.CallContentSubtype(fast))
	if err != nil {
		return stream, err
	}
	return harness.BytesStream(size, sendingBytes(s), reusedBytes(s)), nil
}

func bytesStreams(addr string, n int) (list []harness.Stream, err error) {
	c, err := newClient(addr)
	if err != nil {
		return nil, err
	}
	for range n {
		s, err := bytesStream(c, benchmsg.Size)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

func beside(addr string) (call func() error, stream harness.Stream, err error) {
	c, err := newClient(addr)
	if err != nil {
		return nil, stream, err
	}
	stream, err = bytesStream(c, harness.ChunkSize)
	return caller(c), stream, err
}
