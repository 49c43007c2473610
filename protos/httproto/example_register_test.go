package httproto_test

import (
	"fmt"
	"io"
	"net/http"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/protos/httproto"
)

const soldOut = 1001

func init() {
	httproto.Register("shop", httproto.Config{Status: func(code int32) int {
		if code == soldOut {
			return http.StatusConflict
		}
		return 0 // what the package chooses
	}})
}

// The protocol with statuses of its own has a name: on one port with others it is
// Protocols: []string{"raw", "shop"}.
func ExampleRegister() {
	srv := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Protocols: []string{"shop"}})
	defer srv.Close()
	tp.HandleCall(srv, "/buy", func(tp.CallCtx, *string) (string, error) {
		return "", tp.NewRerror(soldOut, "sold out", "").Err()
	})
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	resp, err := http.Get(fmt.Sprintf("http://%s/buy", srv.Addrs()[0]))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(resp.Status, string(body), err)
	// Output: 409 Conflict {"code":1001,"msg":"sold out","cause":""} <nil>
}
