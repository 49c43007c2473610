package main

import (
	"github.com/andeya/erpc/v7"
	"github.com/andeya/erpc/v7/codec"
	"github.com/andeya/erpc/v7/socket"
)

func main() {
	erpc.SetLoggerLevel("ERROR")
	cli := erpc.NewPeer(erpc.PeerConfig{DefaultBodyCodec: "protobuf", RedialTimes: -1})
	defer cli.Close()
	cli.RoutePush(new(Push))
	sess, stat := cli.Dial(":9090")
	if !stat.OK() {
		erpc.Fatalf("%v", stat)
	}
	var result int
	if stat := sess.Call("/math/divide", []int{6, 2}, &result, erpc.WithBodyCodec(codec.ID_JSON)).Status(); !stat.OK() {
		erpc.Fatalf("%d %s", stat.Code(), stat.Cause().Error())
	}
	cmds := make(chan erpc.CallCmd, 1)
	sess.AsyncCall("/math/divide", []int{6, 0}, &result, cmds)
	cmd := <-cmds
	if cmd.StatusOK() || erpc.IsConnError(cmd.Status()) {
		erpc.Fatalf("no error")
	}
	report(cmd.Output())
}

func report(m socket.Message) bool { return m.StatusOK() == true }

// Push serves pushes.
type Push struct{ erpc.PushCtx }

// Status handles /push/status.
func (p *Push) Status(arg *string) *erpc.Status {
	erpc.Printf("%s", *arg)
	return nil
}
