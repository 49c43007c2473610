package main

import (
	"github.com/lesismal/arpc"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

const (
	streamMethod = "/count"
	bulkMethod   = "/bulk"
)

// streamQueue is the number of messages that wait in a stream. When it is full the
// connection's reader waits; the default is 4.
const streamQueue = 1024

func count(s *arpc.Stream) {
	harness.ServeStream(reused(s), sending(s)) // an error: the client has gone
}

// reused returns a function that receives into one message again and again.
func reused(s *arpc.Stream) func() (*vt.Message, error) {
	m := new(vt.Message)
	return func() (*vt.Message, error) { return m, s.Recv(m) }
}

func sending(s *arpc.Stream) func(*vt.Message) error {
	return func(m *vt.Message) error { return s.Send(m) }
}

func streams(addr string, n int) (list []harness.Stream, err error) {
	c, err := newClient(addr)
	if err != nil {
		return nil, err
	}
	for range n {
		s := c.NewStream(streamMethod)
		list = append(list, harness.MessageStream(sending(s), reused(s)))
	}
	return list, nil
}

func takeBulk(s *arpc.Stream) {
	harness.ServeBytes(receivingBytes(s), sendingBytes(s)) // an error: the client has gone
}

func receivingBytes(s *arpc.Stream) func() ([]byte, error) {
	return func() (b []byte, err error) {
		err = s.Recv(&b)
		return b, err
	}
}

func sendingBytes(s *arpc.Stream) func([]byte) error {
	return func(b []byte) error { return s.Send(b) }
}

func bytesStreams(addr string, n int) (list []harness.Stream, err error) {
	c, err := newClient(addr)
	if err != nil {
		return nil, err
	}
	for range n {
		list = append(list, bytesStream(c, benchmsg.Size))
	}
	return list, nil
}

// bytesStream opens a stream of messages of size bytes.
func bytesStream(c *arpc.Client, size int) harness.Stream {
	s := c.NewStream(bulkMethod)
	return harness.BytesStream(size, sendingBytes(s), receivingBytes(s))
}

func beside(addr string) (call func() error, stream harness.Stream, err error) {
	c, err := newClient(addr)
	if err != nil {
		return nil, stream, err
	}
	return caller(c), bytesStream(c, harness.ChunkSize), nil
}
