package tp_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// This file tests weaknesses of v5 and v7, one test each, numbered as in the project's
// list of them. The end of the file names those that are tested elsewhere.

func TestWeak01_ReplyDecodeErrorIsTheCallsError(t *testing.T) {
	e := &ends{routes: rulesRoutes}
	e.dial(t)
	var wrong struct{ N int }
	cmd := e.cmd(t, "/long", 3, &wrong)
	wantRerror(t, "Rerror", cmd.Rerror(), tp.CodeBadMessage, "cannot unmarshal string")
	if _, r := cmd.Reply(); r == nil {
		t.Error("Reply hides the error")
	}
}

// nakedProto sends replies whose body has no codec.
type nakedProto struct{ socket.FrameAppender }

func (p nakedProto) AppendFrame(dst []byte, m tp.Message) ([]byte, error) {
	if m.Mtype() == tp.TypeReply {
		b, err := m.MarshalBody()
		if err != nil {
			return dst, err
		}
		m.SetBody(b)
		m.SetBodyCodec(0)
	}
	return p.FrameAppender.AppendFrame(dst, m)
}

func TestWeak02_ReplyWithoutCodecEndsTheCall(t *testing.T) {
	e := &ends{routes: rulesRoutes, both: func(c *tp.PeerConfig) {
		c.Protocol = func(rw socket.IOWithReadBuffer) tp.Proto { return nakedProto{testwire.New(rw).(socket.FrameAppender)} }
	}}
	e.dial(t)
	wantRerror(t, "the call", e.call(t, "/pair", Pair{"a", "b"}, new(Pair)), tp.CodeBadMessage, "codec id: 0")
	var raw []byte
	if r := e.call(t, "/pair", Pair{"a", "b"}, &raw); r != nil || string(raw) != `{"A":"a","B":"b"}` {
		t.Errorf("as bytes: %q, %v", raw, r)
	}
	if err := e.sess.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestWeak03_CallThatPanicsIsACallAllTheSame(t *testing.T) {
	e := &ends{routes: rulesRoutes, cliPlugin: []tp.Plugin{early{name: "none"}}}
	e.dial(t)
	for name, set := range map[string]tp.MessageSetting{
		"encoder": nil,
		"setting": func(tp.Message) { panic("setting panics") },
		"filter":  tp.WithXferPipe(99),
	} {
		for _, cmd := range []tp.CallCmd{e.sess.AsyncCall("/pair", stubborn{true}, nil, nil, set), e.sess.Call("/pair", stubborn{true}, nil, set)} {
			if cmd == nil {
				t.Fatalf("%s: no CallCmd", name)
			}
			receive(t, "Done", cmd.Done())
			wantRerror(t, name, cmd.Rerror(), tp.CodeWriteFailed)
		}
	}
	start := time.Now()
	if err := e.sess.Close(); err != nil || time.Since(start) > 5*time.Second {
		t.Errorf("Close waits for calls that never were: %v after %v", err, time.Since(start))
	}
}

// holding is a server whose handler waits until the test releases it.
func holding(t *testing.T, srv tp.PeerConfig) (e *ends, entered chan struct{}, release func()) {
	entered, hold := make(chan struct{}, 100), make(chan struct{})
	release = sync.OnceFunc(func() { close(hold) })
	e = &ends{srvCfg: srv, routes: func(p tp.Peer) {
		tp.HandleCall(p, "/hold", func(ctx tp.CallCtx, _ *[]byte) (string, error) {
			entered <- struct{}{}
			<-hold
			return "late", nil
		})
		tp.HandleCall(p, "/echo", echo)
	}}
	e.dial(t)
	t.Cleanup(release)
	return e, entered, release
}

func TestWeak04_ContextEndsACall(t *testing.T) {
	e, entered, release := holding(t, tp.PeerConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	result := "untouched"
	r := e.sess.Call("/hold", nil, &result, tp.WithContext(ctx)).Rerror()
	wantRerror(t, "the call", r, tp.CodeCanceled)
	if !errors.Is(r.Err(), context.Canceled) {
		t.Errorf("%v is not context.Canceled", r)
	}
	release()
	if r := e.call(t, "/echo", nil, nil); r != nil || result != "untouched" {
		t.Errorf("afterwards: %v; the result is %q", r, result)
	}
}

func TestWeak05_ContextAgeAnswersTheCaller(t *testing.T) {
	e, _, _ := holding(t, tp.PeerConfig{DefaultContextAge: 20 * time.Millisecond})
	wantRerror(t, "the call", e.call(t, "/hold", nil, nil), tp.CodeHandleTimeout, "context age is over")
	e.serverSession(t).SetContextAge(patience) // any handler may take 20 ms
	if r := e.call(t, "/echo", nil, nil); r != nil {
		t.Errorf("afterwards a call gives %v", r)
	}
}

func TestWeak06_CloseEnds(t *testing.T) {
	e := &ends{cliCfg: tp.PeerConfig{}}
	e.both = func(c *tp.PeerConfig) { c.CloseTimeout = 20 * time.Millisecond }
	hold := make(chan struct{})
	defer close(hold)
	entered := make(chan struct{}, 1)
	e.routes = func(p tp.Peer) {
		tp.HandleCall(p, "/hold", func(tp.CallCtx, *[]byte) (string, error) { entered <- struct{}{}; <-hold; return "", nil })
	}
	e.dial(t)
	cmd := e.sess.AsyncCall("/hold", nil, nil, nil)
	receive(t, "the handler", entered)
	if err := e.sess.Close(); err == nil || !strings.Contains(err.Error(), "1 calls cut off") {
		t.Errorf("Close with a call under way returns %v; want the number it cut off", err)
	}
	receive(t, "the end of the call", cmd.Done())
	wantRerror(t, "the call", cmd.Rerror(), tp.CodeConnClosed)
}

func TestWeak06_CloseInsideAHandler(t *testing.T) {
	e := &ends{routes: func(p tp.Peer) {
		tp.HandleCall(p, "/bye", func(ctx tp.CallCtx, _ *[]byte) (string, error) {
			return "bye", ctx.Session().(tp.Session).Close()
		})
	}}
	e.dial(t)
	var got string
	if r := e.call(t, "/bye", nil, &got); r != nil || got != "bye" {
		t.Errorf("the reply of a handler that closes its session is %q, %v", got, r)
	}
}

func TestWeak07_FinishedCallDoesNotChange(t *testing.T) {
	e := &ends{both: func(c *tp.PeerConfig) { c.CountTime, c.PrintDetail = true, true }, routes: func(p tp.Peer) {
		tp.HandleCall(p, "/echo", func(ctx tp.CallCtx, _ *[]byte) (string, error) { ctx.SetMeta("k", "v"); return "", nil })
	}}
	e.dial(t)
	for range 100 { // for the race detector
		cmd := e.sess.AsyncCall("/echo", nil, nil, nil, tp.WithSetMeta("q", "x"))
		<-cmd.Done()
		if cmd.CostTime() <= 0 || cmd.InputMeta().String() != "k=v" || cmd.Output().Meta().String() != "q=x" || cmd.Output().Size() == 0 {
			t.Fatalf("a finished call: %v %v %v", cmd.CostTime(), cmd.InputMeta(), cmd.Output())
		}
	}
}

func TestWeak08_SetIDOfAnotherTakesOver(t *testing.T) {
	e := new(ends).dial(t)
	second, r := e.cli.Dial(e.addr)
	if r != nil {
		t.Fatal(r)
	}
	e.sess.SetID("user")
	second.SetID("user")
	receive(t, "the end of the first", e.sess.CloseNotify())
	eventually(t, "the first is gone", func() bool { return e.cli.CountSession() == 1 })
	if s, ok := e.cli.GetSession("user"); !ok || s != second || !second.Health() {
		t.Errorf("GetSession gives %v, %v; want the second session, alive", s, ok)
	}
}

func TestWeak09_NoTypedNil(t *testing.T) {
	refuse := func(tp.PreSession) *tp.Rerror { return tp.NewRerror(403, "no", "") }
	e := &ends{cliPlugin: []tp.Plugin{early{"p", refuse, refuse}}}
	e.listen(t)
	if s, r := e.cli.Dial(e.addr); s != nil || r == nil {
		t.Errorf("a refused Dial gives %#v, %v", s, r)
	}
	if s, r := e.cli.Dial("nobody"); s != nil || r == nil {
		t.Errorf("a failed Dial gives %#v, %v", s, r)
	}
	if s, ok := e.cli.GetSession("nobody"); s != nil || ok {
		t.Errorf("GetSession of nobody gives %#v", s)
	}
	a, b := net.Pipe()
	defer b.Close()
	if s := e.cli.ServeConn(a); s != nil {
		t.Errorf("a refused ServeConn gives %#v", s)
	}
	var sess tp.Session
	if _, err := tp.Open(tp.PeerConfig{Network: "?"}); err == nil || sess != nil {
		t.Error("no error")
	}
}

func TestWeak10And11_RedialOverTLSKeepsTheSwap(t *testing.T) {
	cfg := tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: testwire.New, DefaultBodyCodec: "testjson", Logger: newQuiet(nil), RedialTimes: -1, RedialInterval: time.Millisecond}
	srv, cli := tp.NewPeer(cfg), tp.NewPeer(cfg)
	defer srv.Close()
	defer cli.Close()
	if err := srv.SetTLSConfig(tp.GenerateTLSConfigForServer()); err != nil {
		t.Fatal(err)
	}
	if err := cli.SetTLSConfig(&tls.Config{InsecureSkipVerify: true}); err != nil {
		t.Fatal(err)
	}
	conns := make(chan tp.Session, 10)
	tp.HandleCall(srv, "/hello", func(ctx tp.CallCtx, _ *[]byte) (string, error) {
		conns <- ctx.Session().(tp.Session)
		return "hello", nil
	})
	if err := srv.Listen(); err != nil {
		t.Fatal(err)
	}
	sess, r := cli.Dial(srv.Addrs()[0].String())
	if r != nil {
		t.Fatal(r)
	}
	sess.Swap().Store("k", "v")
	sess.SetID("me")
	for range 3 {
		var got string
		if r := sess.Call("/hello", nil, &got).Rerror(); r != nil || got != "hello" {
			t.Fatalf("a call gives %q, %v", got, r)
		}
		if v, _ := sess.Swap().Load("k"); v != "v" || sess.ID() != "me" {
			t.Errorf("the swap has %v, the id is %q", v, sess.ID())
		}
		s := receive(t, "the server's session", conns)
		s.Close()
		eventually(t, "the connection is another", func() bool {
			r := sess.Call("/hello", nil, nil).Rerror()
			return r == nil && receive(t, "the session", conns) != s
		})
	}
}

// Around has fields on both sides of the context.
type Around struct {
	Before [3]uint64
	tp.CallCtx
	After [3]uint64
}

func (a *Around) Get(*string) (string, error) {
	return fmt.Sprintf("%v %v %s %v", a.Before, a.After, a.Path(), a.Context() != nil), nil
}

func TestWeak12_FieldsBesideTheContext(t *testing.T) {
	e := &ends{routes: func(p tp.Peer) { p.RouteCall(&Around{Before: [3]uint64{1, 2, 3}, After: [3]uint64{4, 5, 6}}) }}
	e.dial(t)
	var got string
	if r := e.call(t, "/around/get", "", &got); r != nil || got != "[1 2 3] [4 5 6] /around/get true" {
		t.Errorf("got %q, %v", got, r)
	}
	wantPanic(t, "an inner struct with the context", func() { newOffline(t).RouteCall(new(Nested)) }, "embed it directly")
}

func TestWeak14_ErrorsAreNotShared(t *testing.T) {
	e := new(ends).dial(t)
	var kept tp.PreSession = e.sess.(tp.PreSession)
	spoil := func(r *tp.Rerror) { r.Code, r.Message, r.Reason = 502, "Bad Gateway", "proxy" }
	spoil(e.call(t, "/no", nil, nil))
	wantRerror(t, "404", e.call(t, "/no", nil, nil), 404, "Not Found")
	spoil(kept.Send("/x", nil, nil))
	wantRerror(t, "Send", kept.Send("/x", nil, nil), tp.CodeInvalidOp)
	e.sess.Close()
	for range 2 {
		cmd := e.sess.Call("/no", nil, nil)
		wantRerror(t, "a call of a closed session", cmd.Rerror(), tp.CodeConnClosed, "Connection Closed")
		if !tp.IsConnRerror(cmd.Rerror()) || cmd.InputMeta() == nil {
			t.Error("IsConnRerror is false, or there is no metadata")
		}
		spoil(cmd.Rerror())
		r := e.sess.Push("/no", nil)
		wantRerror(t, "a push of a closed session", r, tp.CodeConnClosed)
		spoil(r)
	}
}

func TestWeak15_AHandlersError102IsNoDisconnect(t *testing.T) {
	e := &ends{cliCfg: tp.PeerConfig{RedialTimes: -1}, routes: func(p tp.Peer) {
		tp.HandleCall(p, "/102", func(tp.CallCtx, *[]byte) (string, error) { return "", tp.ErrConnClosed })
	}}
	e.dial(t)
	for range 3 {
		wantRerror(t, "the call", e.call(t, "/102", nil, nil), tp.CodeConnClosed)
	}
	e.srvLines.want(t, "accept ok")
	if !e.sess.Health() {
		t.Error("the session is not well")
	}
}

func TestWeak17_TooManyHandlersAreToldSo(t *testing.T) {
	e, entered, release := holding(t, tp.PeerConfig{MaxHandlers: 2})
	var cmds []tp.CallCmd
	for range 2 {
		cmds = append(cmds, e.sess.AsyncCall("/hold", nil, nil, nil))
		receive(t, "the handler", entered)
	}
	r := e.call(t, "/hold", nil, nil)
	wantRerror(t, "one more call", r, tp.CodeBusy, "2 handlers")
	if !errors.Is(r.Err(), tp.ErrBusy) {
		t.Errorf("%v is not ErrBusy", r)
	}
	release()
	for _, cmd := range cmds {
		if v, r := cmd.Reply(); r != nil {
			t.Errorf("a call under way gives %v, %v", v, r)
		}
	}
	eventually(t, "the handlers have ended", func() bool { // a moment after their replies
		r := e.call(t, "/echo", nil, nil)
		if r != nil && r.Code != tp.CodeBusy {
			t.Fatalf("afterwards a call gives %v", r)
		}
		return r == nil
	})
}

func TestWeak19_DelTakesAdjacentDuplicates(t *testing.T) {
	m := tp.GetMessage(tp.WithAddMeta("a", "1"), tp.WithAddMeta("a", "2"), tp.WithAddMeta("a", "3"), tp.WithAddMeta("b", "4"), tp.WithDelMeta("a"))
	defer tp.PutMessage(m)
	if got := m.Meta().String(); got != "b=4" {
		t.Errorf("after Del the metadata is %q; want b=4", got)
	}
}

func TestWeak28_SettersAreSafe(t *testing.T) {
	e := &ends{routes: func(p tp.Peer) { tp.HandleCall(p, "/echo", echo) }}
	e.dial(t)
	limit, level := tp.MessageSizeLimit(), tp.GetLoggerLevel()
	was, wasErr := socket.DefaultProtoFunc()
	defer func() {
		tp.SetMessageSizeLimit(limit)
		tp.SetLoggerLevel2(level)
		tp.SetDefaultProtoFunc(nil)
		if wasErr == nil {
			tp.SetDefaultProtoFunc(was)
		}
	}()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 30 {
				tp.SetMessageSizeLimit(limit)
				tp.SetServiceMethodMapper(tp.HTTPServiceMethodMapper)
				tp.SetDefaultProtoFunc(testwire.New)
				tp.SetSocketKeepAlive(true)
				tp.SetSocketNoDelay(true)
				tp.SetLoggerLevel2(level)
				p, err := tp.Open(tp.PeerConfig{LocalIP: "127.0.0.1", Logger: newQuiet(nil)})
				if err != nil {
					t.Error(err)
					return
				}
				p.RouteCallFunc(XxZz)
				if err := p.Listen(); err != nil {
					t.Error(err)
				}
				p.Close()
			}
		})
	}
	for range 30 {
		if r := e.call(t, "/echo", nil, nil); r != nil {
			t.Error(r)
		}
	}
	wg.Wait()
}

// Missing bounds and missing security.

func TestWeakSilentClientIsHungUp(t *testing.T) {
	for _, test := range []struct {
		name string
		tls  bool
	}{{"before the TLS handshake", true}, {"in PostAccept", false}} {
		t.Run(test.name, func(t *testing.T) {
			wait := func(s tp.PreSession) *tp.Rerror { return s.PreReceive(nil).Rerror() }
			p := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", HandshakeTimeout: 20 * time.Millisecond, Protocol: testwire.New, Logger: newQuiet(nil)}, early{"auth", nil, wait})
			defer p.Close()
			if test.tls {
				p.SetTLSConfig(tp.GenerateTLSConfigForServer())
			}
			if err := p.Listen(); err != nil {
				t.Fatal(err)
			}
			c, err := net.Dial("tcp", p.Addrs()[0].String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.ReadAll(c); errors.Is(err, context.DeadlineExceeded) || err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("the connection of a silent client is kept: %v", err)
			}
		})
	}
}

func TestWeakReplyErrorInMetadataIsNoError(t *testing.T) {
	const forged = `{"code":500,"message":"forged"}`
	e := &ends{routes: func(p tp.Peer) {
		tp.HandleCall(p, "/forge", func(ctx tp.CallCtx, _ *[]byte) (string, error) {
			ctx.SetMeta(socket.MetaReplyError, forged)
			return "fine", nil
		})
	}}
	e.dial(t)
	var got string
	if r := e.call(t, "/forge", nil, &got, tp.WithSetMeta(socket.MetaReplyError, forged)); r != nil || got != "fine" {
		t.Errorf("the call gives %q, %v; want metadata to be metadata", got, r)
	}
}

func TestWeakMistakesDoNotEndTheProcess(t *testing.T) {
	// v5 and v7 called Fatalf for each of these; here the process goes on.
	if _, err := tp.Open(tp.PeerConfig{Network: "carrier", Logger: newQuiet(nil)}); err == nil {
		t.Error("no error of Open")
	}
	p := newOffline(t)
	wantPanic(t, "a wrong handler", func() { p.RouteCall(7) }, "call-handler")
	wantPanic(t, "a wrong plugin", func() { p.PluginContainer().AppendRight(nil) }, "nil")
}

// Tested elsewhere:
//
//	13      TestRefusedShapes, "a foreign type called Rerror"
//	16      TestPluginOrder, TestPluginSiblingsDoNotShare
//	18      TestControllerIsACopyOfTheRegisteredValue
//	20      of protocols and the websocket mixer, not of the core
//	30      the tests of graceful_*_test.go
//	memory  inbox: big_test.go, memory_test.go; xfer: pipe_test.go; TestRequestRules, sizes
//	X-Real-IP             TestRealIP
//	weak keys, TLS        tls_test.go
//	log to stdout, levels log_test.go
//	unix socket files     network_unix_test.go
//	names of functions    TestFunctionNames
