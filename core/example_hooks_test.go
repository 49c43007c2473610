package tp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// connect makes srv listen and cli dial it.
func connect(srv, cli tp.Peer) tp.Session {
	if err := srv.Listen(); err != nil {
		panic(err)
	}
	sess, rerr := cli.Dial(srv.Addrs()[0].String())
	if rerr != nil {
		panic(rerr.String())
	}
	return sess
}

var errNoTimeout = errors.New("set DefaultCallTimeout")

// inventory implements the hooks of a peer's beginning.
type inventory struct{}

func (inventory) Name() string { return "inventory" }

func (inventory) PreNewPeer(cfg *tp.PeerConfig, _ *tp.PluginContainer) error {
	if cfg.DefaultCallTimeout == 0 {
		return errNoTimeout
	}
	return nil
}

func (inventory) PostReg(h *tp.Handler) error {
	fmt.Println(h.RouterTypeName(), h.Name(), h.ArgElemType(), h.ReplyType())
	return nil
}

func (inventory) PostListen(addr net.Addr) error {
	fmt.Println("listens on", addr.Network())
	return nil
}

// The hooks of a peer's beginning may check the configuration, see every route as
// it is registered, and each address that is bound.
func ExamplePostRegPlugin() {
	_, err := tp.Open(quietly(tp.PeerConfig{}), inventory{})
	fmt.Println(errors.Is(err, errNoTimeout))

	cfg := quietly(tp.PeerConfig{LocalIP: "127.0.0.1", DefaultCallTimeout: time.Second})
	srv := tp.NewPeer(cfg, inventory{})
	defer srv.Close()
	srv.RouteCall(new(Arith))
	tp.HandlePush(srv, "/note", func(tp.PushCtx, *string) error { return nil })
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// true
	// CALL /arith/add []int int
	// PUSH /note string <nil>
	// listens on tcp
}

// badge shows a token to the server, before the session is ready.
type badge struct{ token string }

func (badge) Name() string { return "badge" }

func (b badge) PostDial(sess tp.PreSession) *tp.Rerror {
	var welcome string
	rerr := sess.PreCall("/login", b.token, &welcome)
	fmt.Printf("%q %v\n", welcome, rerr)
	return rerr
}

// gate lets those in that have the token.
type gate struct{}

func (gate) Name() string { return "gate" }

func (gate) PostAccept(sess tp.PreSession) *tp.Rerror {
	m := sess.PreReceive(func(tp.Header) any { return new(string) })
	if rerr := m.Rerror(); rerr.HasError() {
		return rerr
	}
	if token := *m.Body().(*string); token != "secret" {
		rerr := tp.NewRerror(403, "Forbidden", "wrong token")
		sess.PreReply(m, nil, rerr)
		return rerr // closes the connection
	}
	sess.SetID("ann")
	sess.Swap().Store("may", "add") // for the hooks and handlers of the session
	return sess.PreReply(m, "hello, ann", nil)
}

// Authentication before the reader: until PostAccept has returned nil no message
// of the peer is handled, and the session is in nobody's list. HandshakeTimeout
// bounds both hooks. Package plugins/auth does the same with its own message type.
func ExamplePostAcceptPlugin() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}), gate{})
	defer srv.Close()
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	for _, token := range []string{"secret", "guess"} {
		cli := tp.NewPeer(quietly(tp.PeerConfig{}), badge{token})
		_, rerr := cli.Dial(srv.Addrs()[0].String())
		fmt.Println(rerr)
		cli.Close()
	}
	// Output:
	// "hello, ann" <nil>
	// <nil>
	// "" {"code":403,"message":"Forbidden","reason":"wrong token"}
	// {"code":403,"message":"Forbidden","reason":"wrong token"}
}

// farewell sends the reason why each session has ended.
type farewell chan string

func (farewell) Name() string { return "farewell" }

func (f farewell) PostDisconnect(sess tp.BaseSession) *tp.Rerror {
	reason := sess.CloseReason()
	f <- fmt.Sprintf("%s: %v", reason.Side, reason)
	return nil
}

// PostDisconnect runs once when a session has ended, on either side.
func ExamplePostDisconnectPlugin() {
	here, there := make(farewell, 1), make(farewell, 1)
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}), there)
	defer srv.Close()
	cli := tp.NewPeer(quietly(tp.PeerConfig{}), here)
	defer cli.Close()
	connect(srv, cli).Close()
	fmt.Println("client:", <-here)
	fmt.Println("server:", <-there)
	// Output:
	// client: local: closed by this side
	// server: remote: closed by peer
}

// tenant marks what leaves with the name of a tenant.
type tenant string

func (tenant) Name() string { return "tenant" }

func (t tenant) PreWriteCall(ctx tp.WriteCtx) *tp.Rerror {
	ctx.Output().Meta().Set("tenant", string(t))
	return nil
}

func (t tenant) PreWritePush(ctx tp.WriteCtx) *tp.Rerror { return t.PreWriteCall(ctx) }

// The hooks before a message is sent may change its metadata, codec and pipe, or
// refuse it.
func ExamplePreWriteCallPlugin() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	tp.HandleCall(srv, "/whose", func(ctx tp.CallCtx, _ *struct{}) (string, error) {
		return string(ctx.PeekMeta("tenant")), nil
	})
	cli := tp.NewPeer(quietly(tp.PeerConfig{}), tenant("acme"))
	defer cli.Close()
	whose, err := tp.Invoke[string](context.Background(), connect(srv, cli), "/whose", nil)
	fmt.Println(whose, err)
	// Output: acme <nil>
}

// moved leads an older route to the one that replaces it.
type moved struct{}

func (moved) Name() string { return "moved" }

func (moved) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror {
	if rest, ok := strings.CutPrefix(ctx.Path(), "/v1/"); ok {
		ctx.UriObject().Path = "/arith/" + rest
	}
	return nil
}

// PostReadCallHeader sees the header of a CALL before its route is looked up, and
// may change the route.
func ExamplePostReadCallHeaderPlugin() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}), moved{})
	defer srv.Close()
	srv.RouteCall(new(Arith))
	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	sum, err := tp.Invoke[int](context.Background(), connect(srv, cli), "/v1/add", []int{1, 2})
	fmt.Println(sum, err)
	// Output: 3 <nil>
}

// rights lets only sessions call that may.
type rights struct{}

func (rights) Name() string { return "rights" }

func (rights) PreReadCallBody(ctx tp.ReadCtx) *tp.Rerror {
	if may, ok := ctx.Session().Swap().Load("may"); !ok || !strings.Contains(ctx.Path(), may.(string)) {
		return tp.NewRerror(403, "Forbidden", ctx.Path())
	}
	return nil
}

// PreReadCallBody sees a CALL whose route is found, before its argument is decoded:
// the place to refuse it cheaply. Here by what PostAccept has stored with the session.
func ExamplePreReadCallBodyPlugin() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}), gate{})
	defer srv.Close()
	srv.RouteCall(new(Arith), rights{})
	tp.HandleCall(srv, "/drop", func(tp.CallCtx, *string) (bool, error) { return true, nil }, rights{})
	cli := tp.NewPeer(quietly(tp.PeerConfig{}), badge{"secret"})
	defer cli.Close()
	sess := connect(srv, cli)
	sum, err := tp.Invoke[int](context.Background(), sess, "/arith/add", []int{1, 2})
	fmt.Println(sum, err)
	_, err = tp.Invoke[bool](context.Background(), sess, "/drop", "tables")
	fmt.Println(err)
	// Output:
	// "hello, ann" <nil>
	// 3 <nil>
	// 403 Forbidden: /drop
}

// bounds refuses arguments that are too long.
type bounds struct{}

func (bounds) Name() string { return "bounds" }

func (bounds) PostReadCallBody(ctx tp.ReadCtx) *tp.Rerror {
	if list, ok := ctx.Input().Body().(*[]int); ok && len(*list) > 3 {
		return tp.NewRerror(1002, "too many numbers", fmt.Sprint(len(*list)))
	}
	return nil
}

// PostReadCallBody sees the decoded argument, on the goroutine of the handler.
func ExamplePostReadCallBodyPlugin() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	srv.RouteCall(new(Arith), bounds{})
	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	_, err := tp.Invoke[int](context.Background(), connect(srv, cli), "/arith/add", []int{1, 2, 3, 4})
	fmt.Println(err)
	// Output: 1002 too many numbers: 4
}

// closedFor answers calls while the service is closed, in place of their handlers.
type closedFor struct{ reason atomic.Pointer[string] }

func (*closedFor) Name() string { return "closed" }
func (*closedFor) NonBlocking() {}

func (c *closedFor) PreReadCallBody(tp.ReadCtx) *tp.Rerror {
	if reason := c.reason.Load(); reason != nil {
		return tp.Answer(*reason)
	}
	return nil
}

// A hook may answer a call: here with a page for the time of maintenance.
func ExampleAnswer() {
	var closed closedFor
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	tp.HandleCall(srv, "/page", func(tp.CallCtx, *string) (string, error) { return "<h1>Welcome</h1>", nil }, &closed)
	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	sess := connect(srv, cli)

	fmt.Println(tp.Invoke[string](context.Background(), sess, "/page", "home"))
	reason := "<h1>Back at nine</h1>"
	closed.reason.Store(&reason)
	fmt.Println(tp.Invoke[string](context.Background(), sess, "/page", "home"))
	// Output:
	// <h1>Welcome</h1> <nil>
	// <h1>Back at nine</h1> <nil>
}

// stamp tells the caller which server has answered.
type stamp string

func (stamp) Name() string { return "stamp" }

func (s stamp) PreWriteReply(ctx tp.WriteCtx) *tp.Rerror {
	ctx.Output().Meta().Set("server", string(s))
	return nil
}

// PreWriteReply sees each REPLY before it is sent, those of errors too.
func ExamplePreWriteReplyPlugin() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}), stamp("one"))
	defer srv.Close()
	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	cmd := connect(srv, cli).Call("/nowhere", nil, nil)
	fmt.Println(cmd.Rerror().Code, cmd.InputMeta())
	// Output: 404 server=one
}

// positive refuses results that cannot be right.
type positive struct{}

func (positive) Name() string { return "positive" }

func (positive) PostReadReplyBody(ctx tp.ReadCtx) *tp.Rerror {
	if n, ok := ctx.Input().Body().(*int); ok && *n < 0 {
		return tp.NewRerror(1003, "not a sum", fmt.Sprint(*n))
	}
	return nil
}

// PostReadReplyBody sees the decoded result, on the goroutine of the caller. An
// error becomes the call's.
func ExamplePostReadReplyBodyPlugin() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	srv.RouteCall(new(Arith))
	cli := tp.NewPeer(quietly(tp.PeerConfig{}), positive{})
	defer cli.Close()
	var sum int
	fmt.Println(connect(srv, cli).Call("/arith/add", []int{1, -2}, &sum).Rerror())
	// Output: {"code":1003,"message":"not a sum","reason":"-1"}
}

// quiet drops pushes that came without a topic.
type quiet struct{}

func (quiet) Name() string { return "quiet" }

func (quiet) PostReadPushHeader(ctx tp.ReadCtx) *tp.Rerror {
	if ctx.Query().Get("topic") == "" {
		return tp.NewRerror(1004, "no topic", "")
	}
	return nil
}

// The hooks of a PUSH are those of a CALL without a reply: an error drops the
// push, with a line in the log.
func ExamplePostReadPushHeaderPlugin() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}), quiet{})
	defer srv.Close()
	notes := make(chan string, 2)
	tp.HandlePush(srv, "/note", func(ctx tp.PushCtx, text *string) error {
		notes <- ctx.Query().Get("topic") + ": " + *text
		return nil
	})
	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	sess := connect(srv, cli)
	sess.Push("/note", "lost")
	sess.Push("/note?topic=go", "kept")
	fmt.Println(<-notes)
	// Output: go: kept
}

// ledger counts how calls and pushes have ended, by code.
type ledger struct {
	mu    sync.Mutex
	codes map[int32]int
	ended *sync.WaitGroup
}

func (*ledger) Name() string { return "ledger" }

func (l *ledger) PostExchange(_ tp.PreCtx, r *tp.Rerror) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.codes[tp.Code(r.Err())]++
	l.ended.Done()
}

// PostExchange runs once at the end of each CALL and PUSH, sent or served, for
// whatever reason it has ended.
func ExamplePostExchangePlugin() {
	var ended sync.WaitGroup
	ended.Add(3)
	count := &ledger{codes: map[int32]int{}, ended: &ended}
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}), count)
	defer srv.Close()
	srv.RouteCall(new(Arith))
	tp.HandleCall(srv, "/panic", func(tp.CallCtx, *string) (string, error) { panic("oh") })
	cli := tp.NewPeer(quietly(tp.PeerConfig{}))
	defer cli.Close()
	sess := connect(srv, cli)
	for _, method := range []string{"/arith/add", "/arith/sub", "/panic"} {
		sess.Call(method, nil, nil)
	}
	ended.Wait()
	fmt.Println(count.codes)
	// Output: map[0:1 404:1 500:1]
}

// PluginImpl makes a plugin of functions.
func ExamplePluginImpl() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	srv.RouteCall(new(Arith))
	cli := tp.NewPeer(quietly(tp.PeerConfig{}), &tp.PluginImpl{
		PluginName: "once",
		OnPreDial: func(_ net.Addr, remote string) *tp.Rerror {
			host, _, _ := net.SplitHostPort(remote)
			fmt.Println("dials", host)
			return nil
		},
	})
	defer cli.Close()
	connect(srv, cli)
	// Output: dials 127.0.0.1
}

// PostReady runs on each connection of a session, also after a redial, and may call.
func ExamplePostReadyPlugin() {
	srv := tp.NewPeer(quietly(tp.PeerConfig{LocalIP: "127.0.0.1"}))
	defer srv.Close()
	subscribed := make(chan string, 2)
	tp.HandleCall(srv, "/subscribe", func(_ tp.CallCtx, topic *string) (bool, error) {
		subscribed <- *topic
		return true, nil
	})
	cli := tp.NewPeer(quietly(tp.PeerConfig{RedialTimes: -1, RedialInterval: time.Millisecond}), &tp.PluginImpl{
		PluginName: "subscriber",
		OnPostReady: func(sess tp.Session) {
			_ = sess.Call("/subscribe", "prices", nil).Rerror() // fails if the connection breaks again: then it runs again
		},
	})
	defer cli.Close()
	sess := connect(srv, cli)
	fmt.Println("dialled:", <-subscribed)
	sess.(tp.Breaker).Break(errors.New("a cable"))
	fmt.Println("redialled:", <-subscribed)
	// Output:
	// dialled: prices
	// redialled: prices
}
