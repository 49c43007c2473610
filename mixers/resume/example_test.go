package resume_test

import (
	"context"
	"fmt"
	"net"
	"time"

	_ "github.com/teleport-go/teleport/codecs/jsoncodec"
	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/mixers/resume"
	_ "github.com/teleport-go/teleport/protos/rawproto"
)

// A connection breaks while a call runs, and the call gets its reply.
func ExampleOver() {
	tcp, err := tp.LookupNetwork("tcp")
	if err != nil {
		fmt.Println(err)
		return
	}
	var last net.Conn // of the network below
	dial := tcp.Dial
	tcp.Dial = func(ctx context.Context, d tp.DialConfig) (conn net.Conn, err error) {
		conn, err = dial(ctx, d)
		last = conn
		return conn, err
	}
	stats := new(resume.Stats)
	n := resume.Over(tcp, resume.Options{Stats: stats})

	srv := tp.NewPeer(tp.PeerConfig{Net: &n, LocalIP: "127.0.0.1"})
	defer srv.Close()
	tp.HandleCall(srv, "/hello", func(_ tp.CallCtx, name *string) (string, error) {
		last.(*net.TCPConn).CloseWrite() // to the server it looks as if the client had gone
		for stats.Resumed.Load() < 2 {
			time.Sleep(time.Millisecond)
		}
		return "hello, " + *name, nil
	})
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}

	cli := tp.NewPeer(tp.PeerConfig{Net: &n})
	defer cli.Close()
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		fmt.Println(rerr)
		return
	}
	reply, err := tp.Invoke[string](context.Background(), sess, "/hello", "gopher")
	fmt.Println(reply, err)
	fmt.Println("took over, on both sides:", stats.Resumed.Load())
	// Output:
	// hello, gopher <nil>
	// took over, on both sides: 2
}
