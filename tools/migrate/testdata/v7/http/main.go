package main

import (
	"strconv"

	"github.com/andeya/erpc/v7"
	"github.com/andeya/erpc/v7/proto/httproto"
)

type Home struct{ erpc.CallCtx }

func (h *Home) Test(arg *map[string]string) (map[string]interface{}, *erpc.Status) {
	n, err := strconv.Atoi((*arg)["n"])
	if err != nil {
		return nil, erpc.NewStatus(1002, "not a number", "n")
	}
	if n < 0 {
		return nil, erpc.NewStatus(1003, "negative", n)
	}
	return map[string]interface{}{"n": n}, nil
}

func main() {
	srv := erpc.NewPeer(erpc.PeerConfig{ListenPort: 9090})
	srv.RouteCall(new(Home))
	srv.ListenAndServe(httproto.NewHTTProtoFunc())
}
