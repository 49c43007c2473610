package tp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
)

// again is a plugin that reports each redial.
type again chan string

func (again) Name() string { return "again" }

func (a again) PostRedial(sess tp.PreSession) *tp.Rerror {
	a <- sess.ID()
	return nil
}

// A dialled session with RedialTimes that loses its connection dials again: its id
// and what is stored with it are kept, and calls made meanwhile wait.
func ExampleSession_redial() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	srv.RouteCall(new(Arith))

	redialled := make(again, 1)
	cfg := tp.PeerConfig{RedialTimes: -1, RedialInterval: time.Millisecond} // for ever
	cli := tp.NewPeer(quietly(cfg), redialled)
	defer cli.Close()
	sess := connect(srv, cli)
	sess.SetID("worker 7")
	sess.Swap().Store("since", "monday")

	sess.(tp.Breaker).Break(errors.New("a cable was pulled")) // as if the network had failed
	fmt.Println("redialled:", <-redialled)
	sum, err := tp.Invoke[int](context.Background(), sess, "/arith/add", []int{1, 2, 3})
	since, _ := sess.Swap().Load("since")
	fmt.Println(sum, err, since)
	// Output:
	// redialled: worker 7
	// 6 <nil> monday
}

// Drain stops new calls, waits for those under way and for running handlers, and
// closes the session.
func ExampleSession_drain() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	begun, goOn := make(chan bool), make(chan bool)
	tp.HandleCall(srv, "/work", func(tp.CallCtx, *string) (string, error) {
		begun <- true
		<-goOn
		return "done", nil
	})
	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	sess := connect(srv, cli)
	cmd := sess.AsyncCall("/work", "", new(string), nil)
	<-begun

	drained := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		drained <- sess.Drain(ctx)
	}()
	<-sess.CloseNotify()
	fmt.Println("a new call:", sess.Call("/work", "", nil).Rerror().Code)
	close(goOn)
	fmt.Println("drained:", <-drained)
	reply, rerr := cmd.Reply()
	fmt.Println("the call under way:", *reply.(*string), rerr)
	// Output:
	// a new call: 102
	// drained: <nil>
	// the call under way: done <nil>
}

// AsyncCall sends a CALL and returns. Finished commands come through the channel,
// in the order in which they end.
func ExampleCtxSession_asyncCall() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	srv.RouteCall(new(Arith))
	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	sess := connect(srv, cli)

	const n = 4
	done := make(chan tp.CallCmd, n)
	for i := range n {
		sess.AsyncCall("/arith/add", []int{i, 100}, new(int), done)
	}
	var sums []int
	for range n {
		reply, rerr := (<-done).Reply()
		if rerr != nil {
			fmt.Println(rerr)
			return
		}
		sums = append(sums, *reply.(*int))
	}
	slices.Sort(sums)
	fmt.Println(sums)
	// Output: [100 101 102 103]
}

// A deadline of the caller's context travels with the call. The error is 408 on
// both sides.
func ExampleInvoke_deadline() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	tp.HandleCall(srv, "/slow", func(ctx tp.CallCtx, _ *string) (string, error) {
		<-ctx.Context().Done() // work that looks at its context
		return "", ctx.Context().Err()
	})
	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	sess := connect(srv, cli)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := tp.Invoke[string](ctx, sess, "/slow", "")
	fmt.Println(tp.Code(err), errors.Is(err, context.DeadlineExceeded))
	// Output: 408 true
}

// InvokeInto decodes into a value of the caller's, so that one can serve many calls.
func ExampleInvokeInto() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	tp.HandleCallInto(srv, "/repeat", func(ctx tp.CallCtx, arg, reply *[]byte) error {
		*reply = append(append(*reply, *arg...), *arg...) // valid until the reply was sent
		return nil
	})
	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	sess := connect(srv, cli)
	var reply []byte // its memory is used again
	for _, word := range []string{"tick", "tock"} {
		if err := tp.InvokeInto(context.Background(), sess, "/repeat", []byte(word), &reply); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s\n", reply)
	}
	// Output:
	// ticktick
	// tocktock
}

// Messages of one session are handled concurrently. An Ordered route handles those
// of one session one at a time, in the order in which they were sent.
func ExampleOrdered() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	const n = 5
	var log []string // guarded by the order
	done := make(chan bool)
	tp.HandlePush(srv, "/log", func(_ tp.PushCtx, line *string) error {
		if log = append(log, *line); len(log) == n {
			close(done)
		}
		return nil
	}, tp.Ordered())
	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	sess := connect(srv, cli)
	for i := range n {
		sess.Push("/log", strconv.Itoa(i))
	}
	<-done
	fmt.Println(log)
	// Output: [0 1 2 3 4]
}

// RangeSession reaches every live session: a broadcast.
func ExamplePeer_rangeSession() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	var heard sync.WaitGroup
	tp.HandlePush(cli, "/news", func(_ tp.PushCtx, text *string) error {
		heard.Done()
		return nil
	})
	tp.HandleCall(srv, "/hello", func(tp.CallCtx, *string) (bool, error) { return true, nil })
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	const n = 3
	heard.Add(n)
	for range n {
		sess, rerr := cli.Dial(srv.Addrs()[0].String())
		if rerr != nil {
			fmt.Println(rerr)
			return
		}
		sess.Call("/hello", "", nil) // answered: the server has the session in its list
	}
	srv.RangeSession(func(sess tp.Session) bool {
		sess.Push("/news", "all")
		return true
	})
	heard.Wait()
	fmt.Println(srv.CountSession(), "sessions have heard it")
	// Output: 3 sessions have heard it
}

// A group has a prefix and plugins of its own, and may have groups in turn.
func ExampleSubRouter() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer srv.Close()
	v2 := srv.SubRoute("v2", stamp("two"))
	admin := v2.SubRoute("admin", members{})
	fmt.Println(v2.RouteCall(new(Arith)))
	fmt.Println(tp.HandleCall(admin, "/kick", func(tp.CallCtx, *string) (bool, error) { return true, nil }))
	fmt.Println(tp.HandlePush(admin.Root(), "/note", func(tp.PushCtx, *string) error { return nil }))
	// Output:
	// [/v2/arith/add]
	// /v2/admin/kick
	// /note
}

// SetUnknownCall handles what has no route: here it says so in its own words.
func ExampleRouter_setUnknownCall() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	srv.SetUnknownCall(func(ctx tp.UnknownCallCtx) (any, *tp.Rerror) {
		var arg []int
		if _, err := ctx.Bind(&arg); err != nil {
			return nil, tp.NewRerror(tp.CodeBadMessage, "Bad Message", err.Error())
		}
		return fmt.Sprintf("no %s for %d numbers", ctx.Path(), len(arg)), nil
	})
	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	text, err := tp.Invoke[string](context.Background(), connect(srv, cli), "/arith/sub", []int{3, 2})
	fmt.Println(text, err)
	// Output: no /arith/sub for 2 numbers <nil>
}

// A PeerConfig has tags for YAML and INI; encoding/json finds its fields by name.
// Durations are in nanoseconds there; a YAML package that knows time.Duration
// reads "5s".
func ExamplePeerConfig() {
	const text = `{
		"Network": "tcp4",
		"ListenPort": 9090,
		"RedialTimes": -1,
		"CloseTimeout": 5000000000,
		"TrustedProxies": ["10.0.0.0/8"]
	}`
	var cfg tp.PeerConfig
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		fmt.Println(err)
		return
	}
	peer, err := tp.Open(quietly(cfg)) // checks it; nothing is bound yet
	if err != nil {
		fmt.Println(err)
		return
	}
	defer peer.Close()
	fmt.Println(cfg.Network, cfg.ListenPort, cfg.RedialTimes, cfg.CloseTimeout, cfg.TrustedProxies)
	cfg.TrustedProxies = []string{"the proxy"}
	_, err = tp.Open(quietly(cfg))
	fmt.Println(err != nil)
	// Output:
	// tcp4 9090 -1 5s [10.0.0.0/8]
	// true
}

// Two peers over a pipe in memory: no port, no network. Package tptest has a whole
// network in memory as well, with latency, loss and partitions.
func ExamplePeer_serveConn() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer srv.Close()
	srv.RouteCall(new(Arith))
	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()

	a, b := tptest.Pipe()
	srv.ServeConn(a)
	sess := cli.ServeConn(b)
	sum, err := tp.Invoke[int](context.Background(), sess, "/arith/add", []int{1, 2})
	fmt.Println(sum, err)
	// Output: 3 <nil>
}

// A network of one's own: here one in memory, whose connections are cut while
// nobody looks. In a test, tptest.Network.Register does the registration.
func ExampleRegisterNetwork() {
	memory := tptest.NewNetwork(tptest.Latency(time.Millisecond))
	tp.RegisterNetwork(tp.Network{
		Name: "example-memory",
		Dial: func(ctx context.Context, d tp.DialConfig) (net.Conn, error) {
			return memory.Dial(ctx, d.Addr)
		},
		Listen: func(_ context.Context, l tp.ListenConfig) (net.Listener, error) {
			return memory.Listen(l.LocalIP + ":0")
		},
	})
	srv := tp.NewPeer(quietly(tp.PeerConfig{Network: "example-memory"}))
	defer srv.Close()
	srv.RouteCall(new(Arith))
	redialled := make(again, 1)
	cli := tp.NewPeer(quietly(tp.PeerConfig{Network: "example-memory", RedialTimes: -1}), redialled)
	defer cli.Close()
	sess := connect(srv, cli)
	memory.CutAll()
	<-redialled
	sum, err := tp.Invoke[int](context.Background(), sess, "/arith/add", []int{1, 2})
	fmt.Println(sum, err)
	// Output: 3 <nil>
}
