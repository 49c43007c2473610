// Command carriers makes the same calls over each network of the project, for
// tools/bench: what a network costs beside tcp.
package main

import (
	"context"
	"fmt"
	"os"
	"sync"

	_ "github.com/teleport-go/teleport/codecs/pbcodec"
	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/kcp"
	"github.com/teleport-go/teleport/mixers/quic"
	_ "github.com/teleport-go/teleport/mixers/standard"
	"github.com/teleport-go/teleport/mixers/websocket"
	"github.com/teleport-go/teleport/tools/bench/benchmsg"
	"github.com/teleport-go/teleport/tools/bench/benchmsg/vt"
	"github.com/teleport-go/teleport/tools/bench/harness"
)

func main() { harness.Main(candidates()...) }

// carrier is a network.
type carrier struct {
	name, note string
	network    string
	net        func() *tp.Network // in place of network, if not nil
	tls        bool
}

var carriers = []carrier{
	{name: "tcp", network: "tcp"},
	{name: "unix", network: "unix"},
	{name: "tls", note: "TLS 1.3", network: "tcp", tls: true},
	{name: "ws", note: "WebSocket, sub-protocol teleport.raw", net: func() *tp.Network { return websocket.Network(websocket.Options{}) }},
	{name: "wss", note: "WebSocket over TLS 1.3", net: func() *tp.Network { return websocket.Network(websocket.Options{}) }, tls: true},
	{name: "quic", note: "one stream a connection, one UDP socket for all dials", net: func() *tp.Network { n := quic.New(quic.Options{}); return &n }, tls: true},
	{name: "kcp", note: "AES-256-GCM by a key, no shards", net: func() *tp.Network { n := kcp.New(kcp.Options{Key: []byte("sixteen bytes and more")}); return &n }},
}

func candidates() (list []harness.Candidate) {
	for _, c := range carriers {
		c.net = sync.OnceValue(c.net0())
		list = append(list, harness.Candidate{Name: "carrier-" + c.name, Note: c.note, Serve: c.serve, Dial: c.dialer()})
	}
	return list
}

// net0 returns c.net, or a function that returns nil.
func (c carrier) net0() func() *tp.Network {
	if c.net == nil {
		return func() *tp.Network { return nil }
	}
	return c.net
}

// serve starts a server with the handler of teleport-typed.
func (c carrier) serve() (string, error) {
	tp.SetLoggerLevel("OFF") // an error fails a call, which is reported
	cfg := tp.PeerConfig{Network: c.network, Net: c.net(), LocalIP: "127.0.0.1"}
	if c.network == "unix" {
		cfg.LocalIP = fmt.Sprintf("@carrier-%d", os.Getpid()) // Linux: no file is left behind
	}
	srv, err := tp.Open(cfg)
	if err != nil {
		return "", err
	}
	if c.tls {
		srv.SetTLSConfig(tp.GenerateTLSConfigForServer())
	}
	tp.HandleCall(srv, "/typed/echo", func(_ tp.CallCtx, arg *vt.Message) (*vt.Message, error) {
		arg.Int2 = benchmsg.Answered
		return arg, nil
	})
	if err := srv.Listen(); err != nil {
		return "", err
	}
	return srv.Addrs()[0].String(), nil
}

// dialer returns a Dial whose connections are all of one peer.
func (c carrier) dialer() func(addr string) (func() error, error) {
	client := sync.OnceValue(func() tp.Peer {
		tp.SetLoggerLevel("OFF")
		cli := tp.NewPeer(tp.PeerConfig{Network: c.network, Net: c.net(), DefaultBodyCodec: "protobuf"})
		if c.tls {
			cli.SetTLSConfig(tp.GenerateTLSConfigForClient())
		}
		return cli
	})
	return func(addr string) (func() error, error) {
		sess, rerr := client().Dial(addr)
		if rerr.HasError() {
			return nil, rerr.Err()
		}
		request := benchmsg.New[vt.Message]()
		return func() error {
			reply, err := tp.Invoke[*vt.Message](context.Background(), sess, "/typed/echo", request)
			if err != nil {
				return err
			}
			return benchmsg.Check(reply)
		}, nil
	}
}
