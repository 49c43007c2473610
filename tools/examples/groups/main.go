// Command groups has routes below a common prefix, with a plugin of their own.
package main

import (
	"fmt"
	"log"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
)

// Math_v2 is /math/v2: an underscore in a name separates, two are one.
type Math_v2 struct{ tp.CallCtx }

// Add__2 is /math/v2/add_2.
func (m *Math_v2) Add__2(arg *int) (int, *tp.Rerror) { return *arg + 2, nil }

// onlyWith lets a call pass that has a token in its metadata.
type onlyWith string

var _ tp.PreReadCallBodyPlugin = onlyWith("")

func (o onlyWith) Name() string { return "only with a token" }

// PreReadCallBody runs when the handler is found and the argument is not decoded yet.
func (o onlyWith) PreReadCallBody(ctx tp.ReadCtx) *tp.Rerror {
	if string(ctx.PeekMeta("token")) != string(o) {
		return tp.NewRerror(tp.CodeUnauthorized, tp.CodeText(tp.CodeUnauthorized), "wrong token")
	}
	return nil
}

func main() {
	tp.SetLoggerLevel("ERROR")

	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"})
	defer srv.Close()
	fmt.Println(srv.RouteCall(new(Math_v2)))
	admin := srv.SubRoute("admin", onlyWith("secret"))
	fmt.Println(admin.RouteCall(new(Math_v2)))
	fmt.Println(admin.SubRoute("deep").RouteCall(new(Math_v2)))
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}

	cli := tp.NewPeer(tp.PeerConfig{})
	defer cli.Close()
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		log.Fatal(rerr)
	}
	for _, method := range []string{"/math/v2/add_2", "/admin/math/v2/add_2", "/admin/deep/math/v2/add_2"} {
		for _, token := range []string{"", "secret"} {
			var sum int
			if rerr := sess.Call(method, 40, &sum, tp.WithSetMeta("token", token)).Rerror(); rerr != nil {
				fmt.Printf("%s, token %q: %d %s\n", method, token, rerr.Code, rerr.Reason)
				continue
			}
			fmt.Printf("%s, token %q: %d\n", method, token, sum)
		}
	}
}
