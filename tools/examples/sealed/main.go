// Command sealed keeps a secret from the proxy between a client and a server: the
// bodies are sealed from end to end, and go over the second half of the way as
// HTTP. The proxy also attacks them.
package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"log"

	tp "github.com/teleport-go/teleport/core"
	_ "github.com/teleport-go/teleport/mixers/standard"
	"github.com/teleport-go/teleport/plugins/proxy"
	"github.com/teleport-go/teleport/plugins/secure"
	"github.com/teleport-go/teleport/protos/httproto"
)

// curious is a forwarder that reads the bodies it forwards.
type curious struct {
	tp.Session
	again  bool   // send each call twice
	method string // call that instead
}

func (c *curious) Call(method string, arg, result any, set ...tp.MessageSetting) tp.CallCmd {
	body := arg.([]byte)
	fmt.Printf("the proxy sees %s, and the secret in its body: %t\n", method, bytes.Contains(body, []byte("1234")))
	if c.method != "" {
		method = c.method
	}
	if c.again {
		c.Session.Call(method, bytes.Clone(body), nil, set...)
	}
	return c.Session.Call(method, body, result, set...)
}

func main() {
	tp.SetLoggerLevel("OFF")
	secret := make([]byte, 32)
	rand.Read(secret)

	srv := listen(httproto.NewHTTProtoFunc(), sealing(secret))
	defer srv.Close()
	count := 0
	tp.HandleCall(srv, "/tür/öffnen", func(_ tp.CallCtx, pin *string) (string, error) {
		count++
		return "open with " + *pin, nil
	})
	tp.HandleCall(srv, "/alarm/off", func(tp.CallCtx, *string) (string, error) { return "off", nil })

	middle := tp.NewPeer(tp.PeerConfig{})
	defer middle.Close()
	c := &curious{Session: dial(middle, srv, httproto.NewHTTProtoFunc())}
	front := listen(nil, proxy.NewCallPlugin(func(*proxy.Label) proxy.CallForwarder { return c }))
	defer front.Close()

	cli := tp.NewPeer(tp.PeerConfig{}, sealing(secret))
	defer cli.Close()
	sess := dial(cli, front, nil)
	call := func(set ...tp.MessageSetting) {
		var answer string
		if rerr := sess.Call("/tür/öffnen", "1234", &answer, set...).Rerror(); rerr != nil {
			fmt.Println(rerr.Code, rerr.Reason)
			return
		}
		fmt.Println(answer)
	}
	call()
	c.again = true
	call()
	c.again, c.method = false, "/alarm/off"
	call()
	fmt.Println("the door was opened", count, "times")
}

func sealing(secret []byte) tp.Plugin {
	keys, err := secure.NewKeys(secure.Key{ID: 1, Secret: secret})
	if err != nil {
		log.Fatal(err)
	}
	return secure.EndToEnd(keys)
}

func listen(proto tp.ProtoFunc, plugin ...tp.Plugin) tp.Peer {
	p := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1"}, plugin...)
	if err := p.Listen(protos(proto)...); err != nil {
		log.Fatal(err)
	}
	return p
}

func dial(from, to tp.Peer, proto tp.ProtoFunc) tp.Session {
	sess, rerr := from.Dial(to.Addrs()[0].String(), protos(proto)...)
	if rerr != nil {
		log.Fatal(rerr)
	}
	return sess
}

func protos(p tp.ProtoFunc) []tp.ProtoFunc {
	if p == nil {
		return nil // the default
	}
	return []tp.ProtoFunc{p}
}
