package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

const (
	streamMethod = "/bench.Echo/Count"
	fast         = "vtproto" // content subtype
)

func init() { encoding.RegisterCodecV2(fastCodec{}) }

// fastCodec encodes by vtprotobuf's generated code into the library's pooled buffers.
type fastCodec struct{}

func (fastCodec) Name() string { return fast }

func (fastCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*vt.Message)
	if !ok {
		return nil, fmt.Errorf("%s: %T is no message of the benchmark", fast, v)
	}
	n, pool := m.SizeVT(), mem.DefaultBufferPool()
	if mem.IsBelowBufferPoolingThreshold(n) {
		b, err := m.MarshalVT()
		return mem.BufferSlice{mem.SliceBuffer(b)}, err
	}
	b := pool.Get(n)
	if _, err := m.MarshalToSizedBufferVT((*b)[:n]); err != nil {
		pool.Put(b)
		return nil, err
	}
	return mem.BufferSlice{mem.NewBuffer(b, pool)}, nil
}

func (fastCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*vt.Message)
	if !ok {
		return fmt.Errorf("%s: %T is no message of the benchmark", fast, v)
	}
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	m.Reset()
	return m.UnmarshalVT(b.ReadOnlyData())
}

var counting = grpc.StreamDesc{StreamName: "Count", Handler: count, ServerStreams: true, ClientStreams: true}

// reused returns a function that receives into one message again and again.
func reused(s grpc.Stream) func() (*vt.Message, error) {
	m := new(vt.Message)
	return func() (*vt.Message, error) { return m, s.RecvMsg(m) }
}

func sending(s grpc.Stream) func(*vt.Message) error {
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
