package tp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/xfer"
)

// This file is the specification's code, with the import changed: it must
// compile, and do what is said there.

// The interfaces of the specification, word for word.
type (
	seedProto interface {
		Version() (byte, string)
		Pack(tp.Message) error
		Unpack(tp.Message) error
	}
	seedXferFilter interface {
		ID() byte
		Name() string
		OnPack([]byte) ([]byte, error)
		OnUnpack([]byte) ([]byte, error)
	}
	seedCodec interface {
		ID() byte
		Name() string
		Marshal(v interface{}) ([]byte, error)
		Unmarshal(data []byte, v interface{}) error
	}
	seedPlugin interface {
		Name() string
	}
	seedPreNewPeerPlugin interface {
		tp.Plugin
		PreNewPeer(*tp.PeerConfig, *tp.PluginContainer) error
	}
	seedPeer interface {
		ServeConn(conn net.Conn, protoFunc ...tp.ProtoFunc) tp.Session
		DialContext(ctx context.Context, addr string, protoFunc ...tp.ProtoFunc) (tp.Session, *tp.Rerror)
		Dial(addr string, protoFunc ...tp.ProtoFunc) (tp.Session, *tp.Rerror)
		Listen(protoFunc ...tp.ProtoFunc) error
	}
	seedXferPipe interface {
		Append(filterID ...byte) error
		AppendFrom(src *xfer.XferPipe)
		IDs() []byte
		Len() int
		Names() []string
		OnPack(data []byte) ([]byte, error)
		OnUnpack(data []byte) ([]byte, error)
		Range(callback func(idx int, filter xfer.XferFilter) bool)
		Reset()
	}
)

var (
	_ seedProto                           = tp.Proto(nil)
	_ tp.Proto                            = seedProto(nil)
	_ tp.ProtoFunc                        = func(io.ReadWriter) tp.Proto { return nil }
	_ seedXferFilter                      = tp.XferFilter(nil)
	_ tp.XferFilter                       = seedXferFilter(nil)
	_ seedCodec                           = tp.Codec(nil)
	_ tp.Codec                            = seedCodec(nil)
	_ seedPlugin                          = tp.Plugin(nil)
	_ tp.Plugin                           = seedPlugin(nil)
	_ seedPreNewPeerPlugin                = tp.PreNewPeerPlugin(nil)
	_ tp.PreNewPeerPlugin                 = seedPreNewPeerPlugin(nil)
	_ seedPeer                            = tp.Peer(nil)
	_ seedXferPipe                        = xfer.NewXferPipe()
	_ func(tp.ProtoFunc)                  = tp.SetDefaultProtoFunc
	_ func(uint32)                        = tp.SetMessageSizeLimit
	_ func(bool)                          = tp.SetSocketKeepAlive
	_ func(time.Duration)                 = tp.SetSocketKeepAlivePeriod
	_ func(bool)                          = tp.SetSocketNoDelay
	_ func(int)                           = tp.SetSocketReadBuffer
	_ func(int)                           = tp.SetSocketWriteBuffer
	_ func(string, ...any)                = tp.Infof
	_ func(string, ...any)                = tp.Printf
	_ func(string, ...any)                = tp.Fatalf
	_ tp.ServiceMethodMapper              = tp.HTTPServiceMethodMapper
	_ tp.ServiceMethodMapper              = tp.RPCServiceMethodMapper
	_                                     = tp.SetServiceMethodMapper
	_                                     = tp.SetLoggerLevel
	_                                     = tp.GraceSignal
	_ func(byte) (tp.XferFilter, error)   = xfer.Get
	_ func(string) (tp.XferFilter, error) = xfer.GetByName
)

// A peer made before main, before any import may have registered.
var peer1 = tp.NewPeer(tp.PeerConfig{
	ListenPort: 0, // for server role
})

// Math handler
type Math struct {
	tp.CallCtx
}

// Add handles addition request
func (m *Math) Add(arg *[]int) (int, *tp.Rerror) {
	// test query parameter
	m.Infof("author: %s", m.Query().Get("author"))
	// add
	var r int
	for _, a := range *arg {
		r += a
	}
	// response
	return r, nil
}

var pushed = make(chan string, 10)

// Push push handler
type Push struct {
	tp.PushCtx
}

// Push handles '/push/status' message
func (p *Push) Status(arg *string) *tp.Rerror {
	pushed <- *arg
	return nil
}

func TestSeedServerAndClient(t *testing.T) {
	srvLog := new(lineLog)
	srv := tp.NewPeer(tp.PeerConfig{
		CountTime:   true,
		ListenPort:  0,
		PrintDetail: true,

		LocalIP: "127.0.0.1", Protocol: testwire.New, DefaultBodyCodec: "testjson", Logger: newQuiet(srvLog),
	})
	defer srv.Close()
	srv.RouteCall(new(Math))
	if err := srv.Listen(); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(srv.Addrs()[0].String())

	cli := tp.NewPeer(tp.PeerConfig{Protocol: testwire.New, DefaultBodyCodec: "testjson", Logger: newQuiet(nil)})
	defer cli.Close()
	cli.RoutePush(new(Push))

	sess, err := cli.Dial(":" + port)
	if err != nil {
		t.Fatalf("%v", err)
	}
	var result int
	rerr := sess.Call("/math/add?author=henrylee2cn",
		[]int{1, 2, 3, 4, 5},
		&result,
	).Rerror()
	if rerr != nil {
		t.Fatalf("%v", rerr)
	}
	if result != 15 {
		t.Errorf("1+2+3+4+5 is %d; want 15", result)
	}
	srvLog.want(t, "author: henrylee2cn")

	eventually(t, "the server has a session", func() bool { return srv.CountSession() == 1 })
	srv.RangeSession(func(sess tp.Session) bool {
		sess.Push(
			"/push/status",
			fmt.Sprintf("this is a broadcast, server time: %v", "now"),
		)
		return true
	})
	if got := receive(t, "the broadcast", pushed); got != "this is a broadcast, server time: now" {
		t.Errorf("the broadcast is %q", got)
	}
}

func TestSeedListenAndServeEnds(t *testing.T) {
	p := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: testwire.New, Logger: newQuiet(nil)})
	done := make(chan error, 1)
	go func() { done <- p.ListenAndServe() }()
	eventually(t, "it listens", func() bool { return len(p.Addrs()) == 1 })
	p.Close()
	if err := receive(t, "the end of ListenAndServe", done); err != tp.ErrListenClosed {
		t.Errorf("ListenAndServe returned %v; want ErrListenClosed", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("the second Close returned %v; want nil", err)
	}
}

func TestSeedPeerMadeBeforeMain(t *testing.T) {
	if peer1 == nil || peer1.Router() == nil {
		t.Fatal("there is no peer")
	}
	if err := usePeer1(); err != nil {
		t.Error(err)
	}
}

var usePeer1 = sync.OnceValue(func() error {
	return errors.Join(peer1.Listen(testwire.New), peer1.Close())
})

type Aaa struct{ tp.CallCtx }

func (x *Aaa) XxZz(arg *string) (string, *tp.Rerror) { return "Aaa.XxZz " + *arg, nil }

func XxZz(ctx tp.CallCtx, arg *string) (string, *tp.Rerror) { return "XxZz " + *arg, nil }

type Bbb struct{ tp.PushCtx }

func (b *Bbb) YyZz(arg *string) *tp.Rerror { pushed <- "Bbb.YyZz " + *arg; return nil }

func YyZz(ctx tp.PushCtx, arg *string) *tp.Rerror { pushed <- "YyZz " + *arg; return nil }

func XxxUnknownCall(ctx tp.UnknownCallCtx) (interface{}, *tp.Rerror) {
	return "unknown call " + ctx.ServiceMethod(), nil
}

func XxxUnknownPush(ctx tp.UnknownPushCtx) *tp.Rerror {
	pushed <- "unknown push " + ctx.ServiceMethod()
	return nil
}

// NewIgnoreCase Returns a ignoreCase plugin.
func NewIgnoreCase() *ignoreCase {
	return &ignoreCase{}
}

type ignoreCase struct{}

var (
	_ tp.PostReadCallHeaderPlugin = new(ignoreCase)
	_ tp.PostReadPushHeaderPlugin = new(ignoreCase)
)

func (i *ignoreCase) Name() string {
	return "ignoreCase"
}

func (i *ignoreCase) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror {
	// Dynamic transformation path is lowercase
	ctx.UriObject().Path = strings.ToLower(ctx.UriObject().Path)
	return nil
}

func (i *ignoreCase) PostReadPushHeader(ctx tp.ReadCtx) *tp.Rerror {
	// Dynamic transformation path is lowercase
	ctx.UriObject().Path = strings.ToLower(ctx.UriObject().Path)
	return nil
}

func TestSeedRoutesAndPlugins(t *testing.T) {
	for _, test := range []struct {
		name   string
		mapper tp.ServiceMethodMapper
		plugin []tp.Plugin // ignoreCase, where routes are lower-case
		calls  [][2]string
		pushes [][2]string
	}{
		{"http mapping", tp.HTTPServiceMethodMapper, []tp.Plugin{NewIgnoreCase()}, [][2]string{
			{"/test/aaa/xx_zz", "Aaa.XxZz hi"},
			{"/TEST/Aaa/XX_zz", "Aaa.XxZz hi"},
			{"/test/AAA/xx_zz?a=B", "Aaa.XxZz hi"},
			{"/xx_zz", "XxZz hi"},
			{"/Xx_Zz", "XxZz hi"},
			{"/nobody?a=B", "unknown call /nobody?a=B"},
			{"/NoBody", "unknown call /NoBody"},
		}, [][2]string{
			{"/test/bbb/yy_zz", "Bbb.YyZz hi"},
			{"/yy_zz", "YyZz hi"},
			{"/YY_zz", "unknown push /YY_zz"},
			{"/nobody", "unknown push /nobody"},
		}},
		{"rpc mapping", tp.RPCServiceMethodMapper, nil, [][2]string{
			{"test.Aaa.XxZz", "Aaa.XxZz hi"},
			{"XxZz", "XxZz hi"},
			{"nobody", "unknown call nobody"},
		}, [][2]string{
			{"test.Bbb.YyZz", "Bbb.YyZz hi"},
			{"YyZz", "YyZz hi"},
			{"nobody", "unknown push nobody"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := &ends{
				both: func(c *tp.PeerConfig) { c.Mapper = test.mapper },
				routes: func(peer tp.Peer) {
					// add router group
					group := peer.SubRoute("test")
					// register to test group
					group.RouteCall(new(Aaa), test.plugin...)
					peer.RouteCallFunc(XxZz, test.plugin...)
					group.RoutePush(new(Bbb))
					peer.RoutePushFunc(YyZz)
					peer.SetUnknownCall(XxxUnknownCall)
					peer.SetUnknownPush(XxxUnknownPush)
				},
			}
			e.dial(t)
			for _, c := range test.calls {
				var got string
				if r := e.call(t, c[0], "hi", &got); r != nil || got != c[1] {
					t.Errorf("CALL %s is answered %q, %v; want %q", c[0], got, r, c[1])
				}
			}
			for _, p := range test.pushes {
				if r := e.sess.Push(p[0], "hi"); r != nil {
					t.Fatal(r)
				}
				if got := receive(t, "PUSH "+p[0], pushed); got != p[1] {
					t.Errorf("PUSH %s came to %q; want %q", p[0], got, p[1])
				}
			}
		})
	}
}

func TestSeedMethodExpressions(t *testing.T) {
	e := &ends{routes: func(peer tp.Peer) {
		peer.RouteCallFunc((*Aaa).XxZz)
		peer.RoutePushFunc((*Bbb).YyZz)
	}}
	e.dial(t)
	var got string
	if r := e.call(t, "/xx_zz", "hi", &got); r != nil || got != "Aaa.XxZz hi" {
		t.Errorf("the call is answered %q, %v", got, r)
	}
	e.sess.Push("/yy_zz", "ho")
	if got := receive(t, "the push", pushed); got != "Bbb.YyZz ho" {
		t.Errorf("the push came as %q", got)
	}
}

func TestSeedDefaultMapper(t *testing.T) {
	tp.SetServiceMethodMapper(tp.RPCServiceMethodMapper)
	rpc := tp.NewPeer(tp.PeerConfig{Logger: newQuiet(nil)})
	defer rpc.Close()
	tp.SetServiceMethodMapper(tp.HTTPServiceMethodMapper)
	http := tp.NewPeer(tp.PeerConfig{Logger: newQuiet(nil)})
	defer http.Close()
	if got := rpc.RouteCall(new(Aaa)); !reflect.DeepEqual(got, []string{"Aaa.XxZz"}) {
		t.Errorf("a peer keeps the mapper it was made with: got %q", got)
	}
	if got := http.RouteCall(new(Aaa)); !reflect.DeepEqual(got, []string{"/aaa/xx_zz"}) {
		t.Errorf("with the HTTP mapper: got %q", got)
	}
}

// The ways to give a call its service method and query.
func TestUriSettings(t *testing.T) {
	e := &ends{routes: func(p tp.Peer) {
		tp.HandleCall(p, "/uri", func(ctx tp.CallCtx, _ *[]byte) (string, error) {
			return ctx.Path() + " " + ctx.Query().Get("a") + " " + ctx.Query().Get("b c") + " " + ctx.ServiceMethod(), nil
		})
	}}
	e.dial(t)
	for _, test := range []struct {
		name, method string
		set          []tp.MessageSetting
		want         string
	}{
		{"in the text", "/uri?a=1&b+c=2", nil, "/uri 1 2 /uri?a=1&b+c=2"},
		{"WithQuery", "/uri", []tp.MessageSetting{tp.WithQuery("a", "ä"), tp.WithQuery("b c", "&=")}, "/uri ä &= /uri?a=%C3%A4&b+c=%26%3D"},
		{"WithUriObject", "/x", []tp.MessageSetting{tp.WithUriObject(&url.URL{Path: "/uri", RawQuery: "a=7"})}, "/uri 7  /uri?a=7"},
		{"WithServiceMethod", "/x", []tp.MessageSetting{tp.WithServiceMethod("/uri")}, "/uri   /uri"},
		{"escaped", "/ur%69?a=1", nil, "/uri 1  /ur%69?a=1"},
		{"fragment", "/uri?a=1#x", nil, "/uri 1  /uri?a=1#x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got string
			if r := e.call(t, test.method, nil, &got, test.set...); r != nil || got != test.want {
				t.Errorf("got %q, %v; want %q", got, r, test.want)
			}
		})
	}
}
