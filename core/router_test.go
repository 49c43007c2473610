package tp_test

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// UserID has methods with all kinds of names.
type UserID struct{ tp.CallCtx }

func (*UserID) GetURLById(*string) (string, error) { return "", nil }
func (*UserID) Aa_Bb(*string) (string, error)      { return "", nil }
func (*UserID) Aa__Bb(*string) (string, error)     { return "", nil }

func TestRouteNames(t *testing.T) {
	nop := func(tp.CallCtx, *string) (string, error) { return "", nil }
	for _, test := range []struct {
		name   string
		mapper tp.ServiceMethodMapper
		do     func(p tp.Peer) []string
		want   []string
	}{
		{"http controller", tp.HTTPServiceMethodMapper, func(p tp.Peer) []string { return p.RouteCall(new(UserID)) },
			[]string{"/user_id/aa/bb", "/user_id/aa_bb", "/user_id/get_urlby_id"}},
		{"rpc controller", tp.RPCServiceMethodMapper, func(p tp.Peer) []string { return p.RouteCall(new(UserID)) },
			[]string{"UserID.Aa.Bb", "UserID.Aa_Bb", "UserID.GetURLById"}},
		{"http group", tp.HTTPServiceMethodMapper, func(p tp.Peer) []string {
			return []string{p.SubRoute("test").RouteCallFunc(XxZz), p.SubRoute("a").SubRoute("/X/Y").RouteCallFunc(XxZz), p.SubRoute("").RouteCallFunc(XxZz)}
		}, []string{"/test/xx_zz", "/a/x/y/xx_zz", "/xx_zz"}},
		{"rpc group", tp.RPCServiceMethodMapper, func(p tp.Peer) []string {
			return []string{p.SubRoute("test").RouteCallFunc(XxZz), p.SubRoute("a").SubRoute("b_c").RouteCallFunc(XxZz), p.SubRoute("").RouteCallFunc(XxZz)}
		}, []string{"test.XxZz", "a.b.c.XxZz", "XxZz"}},
		{"http HandleCall", tp.HTTPServiceMethodMapper, func(p tp.Peer) []string {
			return []string{tp.HandleCall(p, "AaBb", nop), tp.HandleCall(p, "/v1/userID", nop), tp.HandleCall(p.SubRoute("G"), "AaBb", nop), tp.HandleCall(p.SubRoute("G"), "/x_Y", nop),
				tp.HandleCall(p.SubRoute(""), "/zZ", nop)}
		}, []string{"/aa_bb", "/v1/userID", "/g/aa_bb", "/g/x_Y", "/zZ"}},
		{"rpc HandleCall", tp.RPCServiceMethodMapper, func(p tp.Peer) []string {
			return []string{tp.HandleCall(p, "Math.Add", nop), tp.HandleCall(p, "/a_b", nop), tp.HandleCall(p.SubRoute("g"), "Add", nop)}
		}, []string{"Math.Add", "/a_b", "g.Add"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := tp.NewPeer(tp.PeerConfig{Mapper: test.mapper, Logger: newQuiet(nil)})
			defer p.Close()
			if got := test.do(p); !slices.Equal(got, test.want) {
				t.Errorf("names are %q; want %q", got, test.want)
			}
		})
	}
}

func TestRouteTakenTwice(t *testing.T) {
	p := newOffline(t)
	p.RouteCallFunc((*Aaa).XxZz)
	wantPanic(t, "the same name again", func() { p.RouteCallFunc(XxZz) }, "there is a handler conflict: /xx_zz")
	p.SubRoute("g").RouteCallFunc(XxZz)
	wantPanic(t, "the same name from outside the group", func() {
		tp.HandleCall(p, "/g/xx_zz", func(tp.CallCtx, *string) (string, error) { return "", nil })
	}, "handler conflict: /g/xx_zz")
	if got := p.RoutePushFunc(func(tp.PushCtx, *string) error { return nil }); got == "" {
		t.Error("no name")
	}
	if got := tp.HandlePush(p, "/xx_zz", func(tp.PushCtx, *string) error { return nil }); got != "/xx_zz" {
		t.Errorf("a PUSH may have the name of a CALL: got %q", got)
	}
}

func TestRouteThatNoMessageCanReach(t *testing.T) {
	p := newOffline(t)
	call := func(tp.CallCtx, *string) (string, error) { return "", nil }
	push := func(tp.PushCtx, *string) error { return nil }
	for _, test := range []struct{ route, path string }{
		{"/a#b", "/a"}, {"//a", ""}, {"/%41", "/A"}, {"/a%2Fb", "/a/b"}, {"/a%zz", "/a%zz?k=v"}, {"/a?b=c", "/a"},
		{"/#", "/"}, {"/a%", "/a%?k=v"}, {"//", ""},
	} {
		words := []string{fmt.Sprintf("no message can reach the route %q", test.route), fmt.Sprintf("%q; choose", test.path)}
		wantPanic(t, "call "+test.route, func() { tp.HandleCall(p, test.route, call) }, words...)
		wantPanic(t, "push "+test.route, func() { tp.HandlePush(p, test.route, push) }, words...)
	}
	wantPanic(t, "a group", func() { p.SubRoute("/a#b").RouteCallFunc(XxZz) }, "no message can reach the route \"/a#b/xx_zz\"")

	plain := func(prefix, name string) string { return prefix + name }
	q := tp.NewPeer(tp.PeerConfig{Mapper: plain, Logger: newQuiet(nil)})
	defer q.Close()
	for _, route := range []string{"", "a:b", "1:b", "?"} {
		wantPanic(t, "call "+route, func() { tp.HandleCall(q, route, call) }, "no message can reach the route")
	}
	for _, route := range []string{"/a b", "/a[b]", "/日本", "/a+b", "/a:b", "/a//b", "a.b", "*", "/a;b", "/a&b=c", "/\""} {
		if got := tp.HandleCall(q, route, call); got != route {
			t.Errorf("route %q is %q", route, got)
		}
	}
}

// regPlugin records handlers as they are registered.
type regPlugin struct {
	name string
	j    *journal
	err  error
}

func (p regPlugin) Name() string { return p.name }

func (p regPlugin) PostReg(h *tp.Handler) error {
	var names []string
	for _, q := range h.PluginContainer().GetAll() {
		names = append(names, q.Name())
	}
	p.j.add("%s: %s %s arg %v reply %v call %v push %v unknown %v new %T sees %s", p.name, h.RouterTypeName(), h.Name(), h.ArgElemType(), h.ReplyType(),
		h.IsCall(), h.IsPush(), h.IsUnknown(), h.NewArgValue().Interface(), strings.Join(names, " "))
	return p.err
}

func TestPostRegSeesTheHandler(t *testing.T) {
	j := new(journal)
	plug := func(name string) tp.Plugin { return regPlugin{name: name, j: j} }
	p := newOffline(t, plug("left"))
	p.PluginContainer().AppendRight(plug("right"))
	g := p.SubRoute("g", plug("group"))
	g.RouteCall(new(Aaa), plug("own"))
	wantLines(t, "CALL in a group", j.take(),
		"left: CALL /g/aaa/xx_zz arg string reply string call true push false unknown false new *string sees left group own right",
		"group: CALL /g/aaa/xx_zz arg string reply string call true push false unknown false new *string sees left group own right",
		"own: CALL /g/aaa/xx_zz arg string reply string call true push false unknown false new *string sees left group own right",
		"right: CALL /g/aaa/xx_zz arg string reply string call true push false unknown false new *string sees left group own right")
	tp.HandlePush(p, "/p", func(tp.PushCtx, *Pair) error { return nil })
	wantLines(t, "PUSH at the root", j.take(),
		"left: PUSH /p arg tp_test.Pair reply <nil> call false push true unknown false new *tp_test.Pair sees left right",
		"right: PUSH /p arg tp_test.Pair reply <nil> call false push true unknown false new *tp_test.Pair sees left right")
	p.SetUnknownCall(XxxUnknownCall, plug("u"))
	p.SetUnknownPush(XxxUnknownPush)
	wantLines(t, "unknown handlers", j.take())

	wantPanic(t, "an error of PostReg", func() {
		tp.HandleCall(p, "/bad", func(tp.CallCtx, *string) (string, error) { return "", nil }, regPlugin{"strict", j, errors.New("no such tag")})
	}, "/bad", "[PostRegPlugin:strict]", "no such tag")
	j.take()
	if got := tp.HandleCall(p, "/bad", func(tp.CallCtx, *string) (string, error) { return "", nil }); got != "/bad" {
		t.Errorf("a refused registration keeps the route: %q", got)
	}
}

func TestRouterWords(t *testing.T) {
	log := new(lineLog)
	p := tp.NewPeer(tp.PeerConfig{Logger: newQuiet(log)})
	defer p.Close()
	p.RouteCall(new(Aaa))
	log.want(t, "DEBUG register CALL handler: /aaa/xx_zz")
	p.RoutePush(new(Bbb))
	log.want(t, "DEBUG register PUSH handler: /bbb/yy_zz")
	p.SetUnknownCall(XxxUnknownCall)
	log.want(t, "set UNKNOWN_CALL handler")
	p.SubRoute("deep").ToRouter().SetUnknownCall(XxxUnknownCall)
	log.want(t, "WARN replaced the UNKNOWN_CALL handler")
	p.SetUnknownPush(XxxUnknownPush)
	p.SetUnknownPush(XxxUnknownPush)
	log.want(t, "WARN replaced the UNKNOWN_PUSH handler")
	if g := p.SubRoute("a").SubRoute("b"); g.Root() != p.Router() {
		t.Error("Root of a group's group is not the peer's router")
	}
}

func TestUnknownHandlerOfAGroupIsThePeers(t *testing.T) {
	e := &ends{routes: func(p tp.Peer) {
		p.SubRoute("g").SetUnknownCall(func(ctx tp.UnknownCallCtx) (any, *tp.Rerror) { return "here", nil })
	}}
	e.dial(t)
	var got string
	if r := e.call(t, "/elsewhere", nil, &got); r != nil || got != "here" {
		t.Errorf("got %q, %v; want here", got, r)
	}
}

func TestUnknownBodies(t *testing.T) {
	var kept [][]byte
	e := &ends{routes: func(p tp.Peer) {
		p.SetUnknownCall(func(ctx tp.UnknownCallCtx) (any, *tp.Rerror) {
			kept = append(kept, ctx.InputBodyBytes())
			switch ctx.Path() {
			case "/bytes":
				var b []byte
				id, err := ctx.Bind(&b)
				return fmt.Sprintf("%d %v %s again %s", id, err, b, ctx.InputBodyBytes()), nil
			case "/raw":
				ctx.SetBodyCodec(ctx.GetBodyCodec())
				return ctx.InputBodyBytes(), nil
			}
			var v Pair
			id, err := ctx.Bind(&v)
			ctx.AddMeta("m", "1")
			ctx.AddMeta("m", "2")
			ctx.SetMeta("n", "3")
			ctx.AddXferPipe(testwire.XOR)
			if err != nil {
				return nil, tp.NewRerror(1400, "bind", err.Error())
			}
			return fmt.Sprint(id, v), nil
		})
	}}
	e.dial(t)
	for _, test := range []struct {
		name, method string
		arg          any
		want         string
	}{
		{"Bind", "/bind", Pair{"a", "b"}, "250 {a b}"},
		{"Bind to bytes", "/bytes", []byte(`"x"`), `250 <nil> "x" again "x"`},
		{"empty body", "/bind", nil, "250 { }"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got string
			cmd := e.cmd(t, test.method, test.arg, &got)
			if r := cmd.Rerror(); r != nil || got != test.want {
				t.Errorf("got %q, %v; want %q", got, r, test.want)
			}
			if test.method == "/bind" && cmd.InputMeta().String() != "m=1&m=2&n=3" {
				t.Errorf("the reply's metadata is %q", cmd.InputMeta())
			}
		})
	}
	r := e.call(t, "/bind", []byte("{"), nil)
	wantRerror(t, "Bind of rubbish", r, 1400, "unexpected end")
	var raw []byte
	if r := e.call(t, "/raw", []byte("any bytes at all"), &raw); r != nil || string(raw) != "any bytes at all" {
		t.Errorf("a raw body comes back as %q, %v", raw, r)
	}
	want := []string{`{"A":"a","B":"b"}`, `"x"`, "", "{", "any bytes at all"}
	for i, b := range kept {
		if string(b) != want[i] {
			t.Errorf("what InputBodyBytes gave is %q afterwards; want %q: it is the handler's for ever", b, want[i])
		}
	}
}

func TestUnknownPush(t *testing.T) {
	e := &ends{routes: func(p tp.Peer) {
		p.SetUnknownPush(func(ctx tp.UnknownPushCtx) *tp.Rerror {
			var v Pair
			id, err := ctx.Bind(&v)
			pushed <- fmt.Sprint(ctx.Path(), id, v, err, ctx.GetBodyCodec())
			return tp.NewRerror(1000, "no", "")
		})
	}}
	e.dial(t)
	e.sess.Push("/p", Pair{"a", "b"})
	if got := receive(t, "the push", pushed); got != "/p250 {a b} <nil> 250" {
		t.Errorf("got %q", got)
	}
	e.srvLines.want(t, `PUSH "/p"`, "1000")
}

func TestNoHandler(t *testing.T) {
	e := new(ends).dial(t)
	wantRerror(t, "CALL without a route", e.call(t, "/no", 1, nil), tp.CodeNotFound, "Not Found")
	wantRerror(t, "CALL with an empty method", e.call(t, "", 1, nil), tp.CodeBadMessage, "invalid service method for message")
	wantRerror(t, "CALL with a query alone", e.call(t, "?a=1", 1, nil), tp.CodeBadMessage, "invalid service method for message")
	e.sess.Push("/nopush", 1)
	e.srvLines.want(t, "WARN PUSH \"/nopush\"", "404")
	if !e.sess.Health() {
		t.Error("the session died of it")
	}
}

func TestHandlerTypes(t *testing.T) {
	type reply struct{ N int }
	e := &ends{routes: func(p tp.Peer) {
		tp.HandleCall(p, "/int", func(_ tp.CallCtx, a *int) (int, error) { return *a + 1, nil })
		tp.HandleCall(p, "/ptr", func(_ tp.CallCtx, a **int) (*reply, error) { return &reply{**a}, nil })
		tp.HandleCall(p, "/struct", func(_ tp.CallCtx, a *reply) (reply, error) { a.N++; return *a, nil })
		tp.HandleCall(p, "/map", func(_ tp.CallCtx, a *map[string]int) (map[string]int, error) { return *a, nil })
		tp.HandleCall(p, "/slice", func(_ tp.CallCtx, a *[]int) ([]int, error) { return append(*a, 9), nil })
		tp.HandleCall(p, "/iface", func(_ tp.CallCtx, a *any) (any, error) { return *a, nil })
		tp.HandleCall(p, "/bytes", func(_ tp.CallCtx, a *[]byte) ([]byte, error) { return *a, nil })
		tp.HandleCall(p, "/nil", func(tp.CallCtx, *int) (*reply, error) { return nil, nil })
	}}
	e.dial(t)
	for _, test := range []struct {
		method    string
		arg, want any
	}{
		{"/int", 1, 2},
		{"/ptr", 4, reply{4}},
		{"/struct", reply{1}, reply{2}},
		{"/map", map[string]int{"a": 1}, map[string]int{"a": 1}},
		{"/slice", []int{1}, []int{1, 9}},
		{"/iface", "x", "x"},
		{"/bytes", []byte{1, 0}, []byte{1, 0}},
		{"/nil", 1, reply{}},
	} {
		t.Run(test.method, func(t *testing.T) {
			for range 3 { // pooled values must not be visible
				got := reflect.New(reflect.TypeOf(test.want))
				if r := e.call(t, test.method, test.arg, got.Interface()); r != nil || !reflect.DeepEqual(got.Elem().Interface(), test.want) {
					t.Fatalf("got %v, %v; want %v", got.Elem(), r, test.want)
				}
			}
		})
	}
}

// Halfway is a controller of which a test takes one route first.
type Halfway struct{ tp.CallCtx }

func (*Halfway) Aa(*string) (string, error) { return "", nil }
func (*Halfway) Bb(*string) (string, error) { return "", nil }

// A registration that is refused leaves nothing behind: neither routes nor names of plugins.
func TestRefusedRegistrationLeavesNothing(t *testing.T) {
	nop := func(tp.CallCtx, *string) (string, error) { return "", nil }
	j := new(journal)
	x := note{"x", j}
	refuse := errors.New("refused")
	for _, test := range []struct {
		name string
		do   func(p tp.Peer)
		want string
	}{
		{"PostReg refuses", func(p tp.Peer) { tp.HandleCall(p, "/a", nop, x, regPlugin{"strict", j, refuse}) }, "refused"},
		{"PostReg ends its goroutine", func(p tp.Peer) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				tp.HandleCall(p, "/a", nop, x, &tp.PluginImpl{PluginName: "exits", OnPostReg: func(*tp.Handler) error { runtime.Goexit(); return nil }})
			}()
			<-done
			panic("it has ended")
		}, "it has ended"},
		{"PostReg refuses a later method", func(p tp.Peer) {
			p.RouteCall(new(Halfway), x, &tp.PluginImpl{PluginName: "strict", OnPostReg: func(h *tp.Handler) error {
				if h.Name() == "/halfway/bb" {
					return refuse
				}
				return nil
			}})
		}, "refused"},
		{"a later method conflicts", func(p tp.Peer) {
			tp.HandleCall(p.SubRoute("g"), "/halfway/bb", nop)
			p.SubRoute("g").RouteCall(new(Halfway), x)
		}, "handler conflict: /g/halfway/bb"},
		{"the mapper of a group panics", func(p tp.Peer) { p.SubRoute("bad", x) }, "bad prefix"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := tp.NewPeer(tp.PeerConfig{Logger: newQuiet(nil), Mapper: func(prefix, name string) string {
				if name == "bad" {
					panic("bad prefix")
				}
				return tp.HTTPServiceMethodMapper(prefix, name)
			}})
			defer p.Close()
			wantPanic(t, test.name, func() { test.do(p) }, test.want)
			tp.HandleCall(p, "/a", nop)
			p.RouteCall(new(Halfway))
			tp.HandleCall(p, "/g/halfway/aa", nop)
			p.PluginContainer().AppendRight(x) // the name is free
		})
	}
}

// The plugins of a handler of unknown routes go with it.
func TestReplacedUnknownHandlerLeavesNothing(t *testing.T) {
	p := newOffline(t)
	x := note{"x", new(journal)}
	p.SetUnknownCall(XxxUnknownCall, x)
	p.SetUnknownPush(XxxUnknownPush, x)
	wantPanic(t, "the name is taken", func() { p.PluginContainer().AppendRight(x) }, "repeat add plugin: x")
	p.SetUnknownCall(XxxUnknownCall)
	p.SetUnknownPush(XxxUnknownPush)
	p.PluginContainer().AppendRight(x)
}
