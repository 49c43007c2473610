package main

import (
	"context"
	"net"

	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcmanager"
	"storj.io/drpc/drpcstream"

	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

const streamMethod = "/bench.Echo/Count"

// fastEncoding is vtprotobuf's generated code.
type fastEncoding struct{}

func (fastEncoding) Marshal(v drpc.Message) ([]byte, error) { return v.(*vt.Message).MarshalVT() }

func (fastEncoding) MarshalAppend(dst []byte, v drpc.Message) ([]byte, error) {
	m := v.(*vt.Message)
	was, n := len(dst), m.SizeVT()
	dst = append(dst, make([]byte, n)...)
	_, err := m.MarshalToSizedBufferVT(dst[was:])
	return dst, err
}

func (fastEncoding) Unmarshal(data []byte, v drpc.Message) error {
	m := v.(*vt.Message)
	m.Reset()
	return m.UnmarshalVT(data)
}

func (echo) Count(s drpc.Stream) error { return harness.ServeStream(reused(s), sending(s)) }

// reused returns a function that receives into one message again and again. The library
// flushes what has been sent before.
func reused(s drpc.Stream) func() (*vt.Message, error) {
	m := new(vt.Message)
	return func() (*vt.Message, error) { return m, s.MsgRecv(m, fastEncoding{}) }
}

func sending(s drpc.Stream) func(*vt.Message) error {
	return func(m *vt.Message) error { return s.MsgSend(m, fastEncoding{}) }
}

func streams(addr string, n int) ([]harness.Stream, error) {
	return open(addr, n, drpcmanager.Options{})
}

func manualStreams(addr string, n int) ([]harness.Stream, error) {
	return open(addr, n, drpcmanager.Options{WriterBufferSize: 64 << 10, Stream: drpcstream.Options{ManualFlush: true}})
}

// open opens n streams, each on a connection of its own.
func open(addr string, n int, o drpcmanager.Options) (list []harness.Stream, err error) {
	for range n {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		s, err := drpcconn.NewWithOptions(conn, drpcconn.Options{Manager: o}).NewStream(context.Background(), streamMethod, fastEncoding{})
		if err != nil {
			return nil, err
		}
		list = append(list, harness.MessageStream(sending(s), reused(s)))
	}
	return list, nil
}
