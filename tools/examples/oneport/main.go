// Command oneport serves several protocols on one port: that of a client is
// recognised by its first bytes. Programs with a binary protocol, services that
// speak JSON, browsers and curl all call the same handler.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"time"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
	"github.com/teleport-go/teleport/protos/httproto"
	"github.com/teleport-go/teleport/protos/jsonproto"
	"github.com/teleport-go/teleport/protos/pbproto"
	"github.com/teleport-go/teleport/protos/rawproto"
)

// protocols are tried in this order; until a client has sent something, the first
// one is used.
var protocols = []string{"raw", "json", "protobuf", "http"}

func add(_ tp.CallCtx, arg *[]int) (int, error) {
	sum := 0
	for _, n := range *arg {
		if n < 0 {
			return 0, tp.NewRerror(1001, "no negative numbers", fmt.Sprint(n)).Err()
		}
		sum += n
	}
	return sum, nil
}

func main() {
	tp.SetLoggerLevel("ERROR")
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Protocols: protocols})
	defer srv.Close()
	tp.HandleCall(srv, "/math/add", add)
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	addr := srv.Addrs()[0].String()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cli := tp.NewPeer(tp.PeerConfig{})
	defer cli.Close()
	for _, c := range []struct {
		name  string
		proto tp.ProtoFunc
		pipe  []byte
	}{
		{"raw", rawproto.NewRawProtoFunc(), []byte{'m'}},
		{"raw of eRPC", rawproto.NewRawProtoFunc(rawproto.V7), []byte{'g'}},
		{"json", jsonproto.NewJSONProtoFunc(), []byte{'m'}},
		{"protobuf", pbproto.NewPbProtoFunc(), []byte{'g', 'm'}},
		{"http", httproto.NewHTTProtoFunc(), []byte{'g'}},
	} {
		sess, rerr := cli.Dial(addr, c.proto)
		if rerr != nil {
			log.Fatal(rerr)
		}
		sum, err := tp.Invoke[int](ctx, sess, "/math/add", []int{1, 2, 3}, tp.WithXferPipe(c.pipe...))
		fmt.Printf("%s: %d %v\n", c.name, sum, err)
		_, err = tp.Invoke[int](ctx, sess, "/math/add", []int{-1})
		fmt.Printf("%s: %v\n", c.name, err)
	}

	resp, err := http.Post("http://"+addr+"/math/add", "application/json", strings.NewReader("[1,2,3]"))
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Printf("net/http: %s %s %v\n", resp.Status, body, err)
}
