package main

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/protos/httproto"
)

var registerMath = sync.OnceFunc(func() {
	httproto.Register("math", httproto.Config{Status: func(code int32) int {
		if code == 1001 {
			return http.StatusUnprocessableEntity
		}
		return 0
	}})
})

// A protocol with a configuration of its own has its part of the port by a name.
func TestConfiguredProtocol(t *testing.T) {
	registerMath()
	addr, cli := serve(t, tp.PeerConfig{Protocols: []string{"raw", "json", "protobuf", "math"}}), newClient(t)
	resp, err := http.Post("http://"+addr+"/math/add", "application/json", strings.NewReader("[-1]"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if want := `{"code":1001,"msg":"no negative numbers","cause":"-1"}`; resp.StatusCode != 422 || string(body) != want || err != nil {
		t.Errorf("%s %s, %v; want 422 %s", resp.Status, body, err, want)
	}
	for _, c := range clients {
		sess, r := cli.Dial(addr, c.proto)
		if r != nil {
			t.Fatalf("%s: %s", c.name, r)
		}
		if err := call(sess, c, "", 10); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		sess.Close()
	}
}
