package main

import (
	"net"

	tp "github.com/henrylee2cn/teleport"
	"github.com/henrylee2cn/teleport/codec"
	"github.com/henrylee2cn/teleport/mixer/websocket"
	"github.com/henrylee2cn/teleport/plugin/secure"
	"github.com/henrylee2cn/teleport/proto/thriftproto"
)

func main() {
	cfg := tp.PeerConfig{Network: "quic", DefaultBodyCodec: "thrift"}
	srv := tp.NewPeer(cfg, secure.NewPlugin(100, "cipherkey1234567"))
	tp.Printf("%s %v", cfg.ListenerAddr(), new(codec.PlainCodec))
	conn, _ := net.Dial("tcp", ":9090")
	sess, err := srv.ServeConn(conn, thriftproto.NewBinaryProtoFunc())
	tp.Printf("%v %v %v", sess, err, websocket.NewServer("/ws", cfg))
	tp.FirstSweep = nil
	tp.Sparkle()
}
