package main

import (
	tp "github.com/henrylee2cn/teleport"
	"github.com/henrylee2cn/teleport/proto/jsonproto"
	"github.com/henrylee2cn/teleport/socket"
	"github.com/henrylee2cn/teleport/utils"
	"github.com/henrylee2cn/teleport/xfer/gzip"
)

func main() {
	gzip.Reg('g', "gzip", 5)
	socket.SetNoDelay(false)
	cli := tp.NewPeer(tp.PeerConfig{RedialTimes: -1})
	defer cli.Close()
	sess, rerr := cli.Dial(":9090", jsonproto.NewJSONProtoFunc())
	if rerr != nil {
		tp.Fatalf("%v", rerr)
	}
	var result int
	cmd := sess.Call("/math/divide", []int{6, 2}, &result, tp.WithXferPipe('g'), tp.WithSetMeta("who", "me"))
	if rerr := cmd.Rerror(); rerr != nil {
		tp.Fatalf("%d %s", rerr.Code, rerr.Message)
	}
	show(cmd.InputMeta())
	args := utils.AcquireArgs()
	defer show(args)
	args.Set("k", "v")
	utils.ReleaseArgs(args)
}

func show(meta *utils.Args) {
	meta.VisitAll(func(k, v []byte) { tp.Printf("%s=%s", k, v) })
}
