package main

import (
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/secure"
	"github.com/teleport-go/teleport/protos/httproto"
	"github.com/teleport-go/teleport/protos/jsonproto"
	"github.com/teleport-go/teleport/protos/pbproto"
	"github.com/teleport-go/teleport/protos/rawproto"
	"github.com/teleport-go/teleport/protos/thriftproto"
)

func Example() {
	main()
	// Output:
	// the proxy sees /tür/öffnen, and the secret in its body: false
	// open with 1234
	// the proxy sees /tür/öffnen, and the secret in its body: false
	// 400 secure: message was received before, or is too old
	// the proxy sees /tür/öffnen, and the secret in its body: false
	// 400 secure: key 1: wrong key, or the message was altered
	// the door was opened 2 times
}

// Sealed bodies pass with every protocol, whatever it makes of a service method.
func TestProtocols(t *testing.T) {
	hop := func(k *secure.Keys) tp.Plugin { return secure.New(k) }
	end := func(k *secure.Keys) tp.Plugin { return secure.EndToEnd(k) }
	for name, proto := range map[string]tp.ProtoFunc{
		"raw":         rawproto.NewRawProtoFunc(),
		"raw of eRPC": rawproto.NewRawProtoFunc(rawproto.V7),
		"json":        jsonproto.NewJSONProtoFunc(),
		"protobuf":    pbproto.NewPbProtoFunc(),
		"thrift":      thriftproto.NewBinaryProtoFunc(),
		"http":        httproto.NewHTTProtoFunc(),
	} {
		for kind, plugin := range map[string]func(*secure.Keys) tp.Plugin{"hop": hop, "end to end": end} {
			t.Run(name+", "+kind, func(t *testing.T) {
				keys, err := secure.NewKeys(secure.Key{ID: 1, Secret: make([]byte, 32)})
				if err != nil {
					t.Fatal(err)
				}
				srv := listen(proto, plugin(keys))
				defer srv.Close()
				tp.HandleCall(srv, "/é ü", func(_ tp.CallCtx, arg *string) (string, error) { return *arg, nil })
				pushed := make(chan string, 1)
				tp.HandlePush(srv, "/é ü", func(_ tp.PushCtx, arg *string) error { pushed <- *arg; return nil })
				cli := tp.NewPeer(tp.PeerConfig{DefaultCallTimeout: 10 * time.Second}, plugin(keys))
				defer cli.Close()
				sess := dial(cli, srv, proto)
				for _, method := range []string{"/é ü", "/é%20ü?q=a b&r=\"<>\\^`{|}é", "/%C3%A9%20%c3%bc"} {
					var got string
					if r := sess.Call(method, "é", &got).Rerror(); r != nil || got != "é" {
						t.Errorf("%s: %q, %s", method, got, r)
					}
				}
				if name == "http" { // has no pushes
					return
				}
				if r := sess.Push("/é ü", "hi"); r != nil {
					t.Fatal(r)
				}
				select {
				case got := <-pushed:
					if got != "hi" {
						t.Errorf("pushed %q", got)
					}
				case <-time.After(10 * time.Second):
					t.Error("the push has not come")
				}
			})
		}
	}
}
