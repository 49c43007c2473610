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

// A server for other clients than peers: it takes JSON alone, and the errors of its
// own, 1404 and the like, have a status.
func ExampleNew() {
	protocol := httproto.New(httproto.Config{
		Codecs: []byte{codec.JSON},
		Status: func(code int32) int { return int(code) - 1000 },
	})
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: protocol})
	defer srv.Close()
	tp.HandleCall(srv, "/user", func(ctx tp.CallCtx, name *string) (string, error) {
		return "", tp.NewRerror(1404, "no such user", *name).Err()
	})
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	for _, contentType := range []string{"application/json", "text/plain"} {
		resp, err := http.Post(fmt.Sprintf("http://%s/user", srv.Addrs()[0]), contentType, strings.NewReader(`"ann"`))
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Println(resp.Status, string(body))
	}
	// Output:
	// 404 Not Found {"code":1404,"msg":"no such user","cause":"ann"}
	// 415 Unsupported Media Type {"code":415,"msg":"Unsupported Media Type","cause":"http: Content-Type \"text/plain\" is not taken: send application/json"}
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
