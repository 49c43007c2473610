package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	_ "github.com/teleport-go/teleport/codecs/jsoncodec"
	_ "github.com/teleport-go/teleport/codecs/plaincodec"
	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/websocket"
	_ "github.com/teleport-go/teleport/protos/rawproto"
	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

// teleport are the carriers of this project's sessions.
func teleport() []harness.Candidate {
	raw := func(network string) harness.Candidate {
		return harness.Candidate{
			Name: network + "-bytes", Serve: func() (string, error) { return serve(network) },
			Dial: func(addr string) (func() error, error) { return dialBytes(network, addr) },
			Note: "a body of 581 plain bytes, echoed into reused buffers, over " + network,
		}
	}
	return []harness.Candidate{
		raw("tcp"), raw("ws"), raw("tls"), raw("wss"),
		{
			Name: "ws-json", Serve: func() (string, error) { return serve("ws") }, Dial: dialJSON,
			Note: "HandleCall and Invoke over teleport.json, JSON bodies",
		},
	}
}

// secure says whether a network is encrypted, and its name.
func secure(network string) (name string, tls bool) {
	switch network {
	case "tls":
		return "tcp", true
	case "wss":
		return "wss", true
	}
	return network, false
}

func serve(network string) (string, error) {
	tp.SetLoggerLevel("OFF") // an error fails a call, which is reported
	name, tls := secure(network)
	srv, err := tp.Open(tp.PeerConfig{LocalIP: "127.0.0.1", Network: name, Protocols: []string{"raw"}})
	if err != nil {
		return "", err
	}
	if tls {
		srv.SetTLSConfig(tp.GenerateTLSConfigForServer())
	}
	tp.HandleCallInto(srv, "/bytes", func(_ tp.CallCtx, arg, reply *[]byte) error {
		*reply = *arg
		return nil
	})
	tp.HandleCall(srv, "/json", func(_ tp.CallCtx, arg *benchmsg.Record) (*benchmsg.Record, error) {
		arg.ID = benchmsg.Answered
		return arg, nil
	})
	if err := srv.Listen(); err != nil {
		return "", err
	}
	return srv.Addrs()[0].String(), nil
}

var (
	clientsMu sync.Mutex
	clients   = map[string]tp.Peer{} // guarded by clientsMu
)

// client is the peer that makes all connections of a kind.
func client(network, proto string) tp.Peer {
	clientsMu.Lock()
	defer clientsMu.Unlock()
	if p := clients[network+proto]; p != nil {
		return p
	}
	tp.SetLoggerLevel("OFF")
	name, tls := secure(network)
	p := tp.NewPeer(tp.PeerConfig{Network: name, Protocols: []string{proto}})
	if tls {
		p.SetTLSConfig(tp.GenerateTLSConfigForClient())
	}
	clients[network+proto] = p
	return p
}

func dialBytes(network, addr string) (func() error, error) {
	s, r := client(network, "raw").Dial(addr)
	if r.HasError() {
		return nil, r.Err()
	}
	body := []byte(strings.Repeat("x", benchmsg.Size))
	replies := sync.Pool{New: func() any { return new([]byte) }}
	return func() error {
		reply := replies.Get().(*[]byte)
		defer replies.Put(reply)
		if err := tp.InvokeInto(context.Background(), s, "/bytes", &body, reply); err != nil {
			return err
		}
		if b := *reply; len(b) != len(body) || b[0] != 'x' || b[len(b)-1] != 'x' {
			return fmt.Errorf("reply of %d bytes, or damaged", len(b))
		}
		return nil
	}, nil
}

func dialJSON(addr string) (func() error, error) {
	s, r := client("ws", "json").Dial(addr)
	if r.HasError() {
		return nil, r.Err()
	}
	request := benchmsg.NewRecord()
	return func() error {
		reply, err := tp.Invoke[*benchmsg.Record](context.Background(), s, "/json", request)
		if err != nil {
			return err
		}
		return reply.Check()
	}, nil
}
