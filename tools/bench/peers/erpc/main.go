// Command erpc serves and calls through github.com/andeya/erpc/v7 for tools/bench.
package main

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/andeya/erpc/v7"
	"google.golang.org/protobuf/proto"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/std"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

func main() { harness.Main(candidates()...) }

func candidates() []harness.Candidate {
	return []harness.Candidate{{
		Name: "erpc", Serve: serve, Dial: dial(),
		Note: "its protobuf codec is gogo's, which does not support standard messages: the message implements its interfaces by standard protobuf",
	}}
}

// Message is the standard message with the methods that gogo's codec calls.
type Message struct{ std.Message }

// Marshal encodes it.
func (m *Message) Marshal() ([]byte, error) { return proto.Marshal(&m.Message) }

// Unmarshal decodes it.
func (m *Message) Unmarshal(data []byte) error { return proto.Unmarshal(data, &m.Message) }

// Echo has the controller.
type Echo struct{ erpc.CallCtx }

// Say replies with its argument, one field changed.
func (*Echo) Say(m *Message) (*Message, *erpc.Status) {
	benchmsg.Sleep(m)
	m.Int2 = benchmsg.Answered
	return m, nil
}

// configure sets what erpc's own benchmark sets.
func configure() {
	erpc.SetLoggerLevel("OFF")
	erpc.SetGopool(100<<20, 10*time.Minute)
}

func serve() (string, error) {
	configure()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	p := erpc.NewPeer(erpc.PeerConfig{DefaultBodyCodec: "protobuf"})
	p.RouteCall(new(Echo))
	go accept(p, lis)
	return lis.Addr().String(), nil
}

// accept replaces ListenAndServe, which does not report the port that the system chose.
func accept(p erpc.Peer, lis net.Listener) {
	for {
		conn, err := lis.Accept()
		if err != nil {
			return
		}
		p.ServeConn(conn)
	}
}

// dial shares one peer among the connections.
func dial() func(addr string) (func() error, error) {
	peer := sync.OnceValue(func() erpc.Peer {
		configure()
		return erpc.NewPeer(erpc.PeerConfig{DefaultBodyCodec: "protobuf"})
	})
	return func(addr string) (func() error, error) {
		s, stat := peer().Dial(addr)
		if !stat.OK() {
			return nil, errors.New(stat.String())
		}
		request := new(Message)
		proto.Merge(&request.Message, benchmsg.New[std.Message]())
		return func() error {
			reply := new(Message)
			if stat := s.Call("/echo/say", request, reply).Status(); !stat.OK() {
				return errors.New(stat.String())
			}
			return benchmsg.Check(reply)
		}, nil
	}
}
