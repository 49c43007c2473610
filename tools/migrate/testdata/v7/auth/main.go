package main

import (
	"github.com/andeya/erpc/v7"
	"github.com/andeya/erpc/v7/plugin/auth"
)

func main() {
	srv := erpc.NewPeer(erpc.PeerConfig{ListenPort: 9090}, auth.NewCheckerPlugin(
		func(sess auth.Session, fn auth.RecvOnce) (ret interface{}, stat *erpc.Status) {
			var info string
			if stat = fn(&info); !stat.OK() {
				return nil, erpc.NewStatus(401, "unauthorized", stat.Cause())
			}
			return "pass", nil
		},
	))
	go srv.ListenAndServe()

	cli := erpc.NewPeer(erpc.PeerConfig{}, auth.NewBearerPlugin(
		func(sess auth.Session, fn auth.SendOnce) *erpc.Status { return fn("token", new(string)) },
	))
	_, stat := cli.Dial(":9090")
	if ok := stat.OK(); ok {
		erpc.Infof("welcome")
	}
}
