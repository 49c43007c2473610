package main

import (
	tp "github.com/henrylee2cn/teleport"
	"github.com/henrylee2cn/teleport/proto/httproto"
)

type Home struct{ tp.CallCtx }

func (h *Home) Test(arg *map[string]string) (map[string]interface{}, *tp.Rerror) {
	return map[string]interface{}{"your_id": string(h.PeekMeta("peer_id"))}, nil
}

func main() {
	srv := tp.NewPeer(tp.PeerConfig{ListenPort: 9090})
	srv.RouteCall(new(Home))
	srv.ListenAndServe(httproto.NewHTTProtoFunc(true))
}
