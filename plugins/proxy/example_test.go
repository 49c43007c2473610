package proxy_test

import (
	"fmt"
	"hash/fnv"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/plugins/proxy"
)

// Clients are spread over a few sessions with the backend. newPeer and dial stand
// for tp.NewPeer, Listen and Dial with the addresses of your network.
func Example() {
	backend := newPeer()
	defer backend.Close()
	tp.HandleCall(backend, "/greet", func(_ tp.CallCtx, name *string) (string, error) {
		return "hello, " + *name, nil
	})

	inside := newPeer()
	defer inside.Close()
	sessions := []tp.Session{dial(inside, backend), dial(inside, backend)}

	front := newPeer(proxy.NewPlugin(func(label *proxy.Label) proxy.Forwarder {
		h := fnv.New32()
		h.Write([]byte(label.SessionID))
		return sessions[h.Sum32()%uint32(len(sessions))]
	}))
	defer front.Close()

	client := newPeer()
	defer client.Close()
	var greeting string
	r := dial(client, front).Call("/greet", "world", &greeting).Rerror()
	fmt.Println(greeting, r)
	// Output: hello, world <nil>
}
