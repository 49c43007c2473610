package ignorecase_test

import (
	"fmt"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/ignorecase"
)

type Aaa struct{ tp.CallCtx }

func (a *Aaa) XxZz(arg *string) (string, *tp.Rerror) {
	return a.ServiceMethod() + " " + *arg, nil
}

// The routes of a group are found whatever the case of their letters.
func Example() {
	t := new(testing.T) // programs use tp.NewPeer, Listen and Dial
	network := tptest.NewNetwork().Register(t)

	srv := tptest.NewPeer(t, tp.PeerConfig{Network: network})
	defer srv.Close()
	group := srv.SubRoute("test", ignorecase.NewIgnoreCase())
	fmt.Println(group.RouteCall(new(Aaa)))

	cli := tptest.NewPeer(t, tp.PeerConfig{Network: network})
	defer cli.Close()
	var reply string
	rerr := tptest.Dial(t, cli, tptest.Listen(t, srv)).Call("/Test/AAA/xx_ZZ?Who=Me", "hello", &reply).Rerror()
	fmt.Println(reply, rerr)
	// Output:
	// [/test/aaa/xx_zz]
	// /test/aaa/xx_zz?Who=Me hello <nil>
}
