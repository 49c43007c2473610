package main

import (
	"net"
	"net/rpc"

	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/std"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

func netRPCCandidates() []harness.Candidate {
	return []harness.Candidate{{
		Name: "net-rpc", Serve: netRPCServe, Dial: netRPCDial,
		Note: "its own gob codec; the server decodes in the connection's reader, and has a goroutine a call",
	}}
}

// NetRPCReply lets a handler reply with its argument without a copy: gob sends the
// value that a pointer points to.
type NetRPCReply struct{ Message *std.Message }

// NetRPCEcho is the service of net-rpc.
type NetRPCEcho struct{}

// Say replies with its argument, one field changed.
func (NetRPCEcho) Say(m *std.Message, reply *NetRPCReply) error {
	benchmsg.Sleep(m)
	m.Int2 = benchmsg.Answered
	reply.Message = m
	return nil
}

func netRPCServe() (string, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := rpc.NewServer()
	if err := srv.RegisterName("Echo", NetRPCEcho{}); err != nil {
		return "", err
	}
	go srv.Accept(lis)
	return lis.Addr().String(), nil
}

func netRPCDial(addr string) (func() error, error) {
	c, err := rpc.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	request := benchmsg.New[std.Message]()
	return func() error {
		var reply NetRPCReply
		if err := c.Call("Echo.Say", request, &reply); err != nil {
			return err
		}
		return benchmsg.Check(reply.Message)
	}, nil
}
