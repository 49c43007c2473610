package main

import (
	tp "github.com/henrylee2cn/teleport"
	"github.com/henrylee2cn/teleport/codec"
	"github.com/henrylee2cn/teleport/plugin/auth"
)

func main() {
	srv := tp.NewPeer(tp.PeerConfig{ListenPort: 9090}, auth.NewCheckerPlugin(check, tp.WithBodyCodec(codec.ID_PLAIN)))
	go srv.ListenAndServe()

	cli := tp.NewPeer(tp.PeerConfig{RedialTimes: 3}, auth.NewBearerPlugin(bear, tp.WithBodyCodec(codec.ID_PLAIN)))
	if _, rerr := cli.Dial(":9090"); tp.IsConnRerror(rerr) {
		tp.Fatalf("%v", rerr)
	}
}

func bear(sess auth.Session, fn auth.SendOnce) *tp.Rerror {
	var ret string
	return fn("token of "+sess.RemoteAddr().String(), &ret)
}

func check(sess auth.Session, fn auth.RecvOnce) (interface{}, *tp.Rerror) {
	var info string
	if rerr := fn(&info); rerr != nil {
		return nil, rerr
	}
	if info == "" {
		return nil, tp.NewRerror(403, "auth fail", "no token")
	}
	sess.Swap().Store("token", info)
	return "pass", nil
}
