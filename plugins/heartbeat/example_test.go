package heartbeat_test

import (
	"errors"
	"fmt"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/heartbeat"
)

func Example() {
	t := new(testing.T) // programs use tp.NewPeer, Listen and Dial
	network := tptest.NewNetwork()
	cfg := tp.PeerConfig{Network: network.Register(t)}

	srv := tptest.NewPeer(t, cfg, heartbeat.NewPong())
	defer srv.Close()
	cli := tptest.NewPeer(t, cfg, heartbeat.NewPing(1, true)) // programs: every 30 s
	defer cli.Close()
	sess := tptest.Dial(t, cli, tptest.Listen(t, srv))

	conn := network.Find(sess.LocalAddr().String())
	conn.Freeze() // the cable is pulled
	defer conn.Thaw()
	<-sess.CloseNotify()
	why := sess.CloseReason()
	fmt.Println(why.Side, errors.Is(why, heartbeat.ErrSilent))
	// Output: network true
}
