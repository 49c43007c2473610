package httproto_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/protos/httproto"
)

// A peer serves any client of HTTP.
func Example() {
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: httproto.NewHTTProtoFunc()})
	defer srv.Close()
	tp.HandleCall(srv, "/hello", func(ctx tp.CallCtx, name *string) (string, error) {
		return "hello " + *name + ctx.Query().Get("end"), nil
	})
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	url := fmt.Sprintf("http://%s/hello?end=!", srv.Addrs()[0])
	resp, err := http.Post(url, "application/json", strings.NewReader(`"you"`))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(resp.Status, string(body), err)
	// Output: 200 OK "hello you!" <nil>
}

// A health check for balancers and curl: text, to GET and HEAD, without any header
// of peers.
func Example_health() {
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: httproto.NewHTTProtoFunc()})
	defer srv.Close()
	tp.HandleCall(srv, "/health", func(ctx tp.CallCtx, _ *[]byte) ([]byte, error) {
		ctx.SetBodyCodec(codec.Plain)
		return []byte("ok"), nil
	})
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	for _, method := range []string{"GET", "HEAD"} {
		req, _ := http.NewRequest(method, fmt.Sprintf("http://%s/health", srv.Addrs()[0]), nil)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Printf("%s %s %s %d %q\n", method, resp.Status, resp.Header.Get("Content-Type"), resp.ContentLength, body)
	}
	// Output:
	// GET 200 OK text/plain;charset=utf-8 2 "ok"
	// HEAD 200 OK text/plain;charset=utf-8 2 ""
}

func ExampleRegBodyCodec() {
	httproto.RegBodyCodec("application/vnd.example+json", codec.JSON)
	fmt.Printf("%c\n", httproto.GetBodyCodec("application/vnd.example+json; v=1", 0))
	fmt.Println(httproto.GetContentType(codec.JSON, ""))
	httproto.RegBodyCodec("application/json;charset=utf-8", codec.JSON) // as it was
	// Output:
	// j
	// application/vnd.example+json
}
