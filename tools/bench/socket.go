package main

import (
	"net"
	"sync"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/std"
)

// The row of the socket package alone: messages are packed and unpacked, without
// routes and without pending calls.

func socketServe() (string, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			go socketEcho(socket.NewSocket(conn))
		}
	}()
	return lis.Addr().String(), nil
}

func socketEcho(s socket.Socket) {
	defer s.Close()
	in, out := socket.NewMessage(), socket.NewMessage()
	for {
		if err := readStd(s, in); err != nil {
			return
		}
		m := in.Body().(*std.Message)
		m.Int2 = benchmsg.Answered
		if err := writeStd(s, out, socket.TypeReply, in.Seq(), m); err != nil {
			return
		}
	}
}

func readStd(s socket.Socket, m socket.Message) error {
	m.Reset()
	m.SetBody(new(std.Message))
	return s.ReadMessage(m)
}

func writeStd(s socket.Socket, m socket.Message, mtype byte, seq int32, body *std.Message) error {
	m.Reset()
	m.SetMtype(mtype)
	m.SetSeq(seq)
	m.SetServiceMethod("/bench/echo")
	m.SetBodyCodec(codec.Protobuf)
	m.SetBody(body)
	return s.WriteMessage(m)
}

func socketDial(addr string) (func() error, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	s, request := socket.NewSocket(conn), benchmsg.New[std.Message]()
	in, out := socket.NewMessage(), socket.NewMessage()
	var mu sync.Mutex // a call is a request and the next message
	var seq int32
	return func() error {
		mu.Lock()
		defer mu.Unlock()
		seq++
		if err := writeStd(s, out, socket.TypeCall, seq, request); err != nil {
			return err
		}
		if err := readStd(s, in); err != nil {
			return err
		}
		return benchmsg.Check(in.Body().(*std.Message))
	}, nil
}
