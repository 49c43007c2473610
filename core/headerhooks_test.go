package tp_test

import (
	"fmt"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
)

// header is a plugin with header hooks of both kinds.
type header struct {
	name string
	j    *journal
	f    func(tp.ReadCtx) *tp.Rerror
}

func (h header) Name() string { return h.name }

func (h header) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror {
	h.j.add("%s", h.name+" "+ctx.ServiceMethod())
	if h.f == nil {
		return nil
	}
	return h.f(ctx)
}

func (h header) PostReadPushHeader(ctx tp.ReadCtx) *tp.Rerror { return h.PostReadCallHeader(ctx) }

func reroute(to string) func(tp.ReadCtx) *tp.Rerror {
	return func(ctx tp.ReadCtx) *tp.Rerror { ctx.ResetServiceMethod(to); return nil }
}

func lower(ctx tp.ReadCtx) *tp.Rerror {
	ctx.UriObject().Path = strings.ToLower(ctx.UriObject().Path)
	return nil
}

func deny(tp.ReadCtx) *tp.Rerror { return tp.NewRerror(401, "Unauthorized", "") }

// echo replies with what it gets.
func echo(ctx tp.CallCtx, _ *[]byte) (string, error) {
	v, _ := ctx.Swap().Load("k")
	s, _ := v.(string)
	return strings.Join([]string{ctx.ServiceMethod(), ctx.Path(), ctx.Query().Get("q"), string(ctx.PeekMeta("m")), s}, " "), nil
}

func TestHeaderHooks(t *testing.T) {
	scribble := func(then func(tp.ReadCtx) *tp.Rerror) func(tp.ReadCtx) *tp.Rerror {
		return func(ctx tp.ReadCtx) *tp.Rerror {
			ctx.Input().Meta().Set("m", "scribbled")
			ctx.Input().SetBodyCodec(99)
			ctx.Swap().Store("k", "scribbled")
			return then(ctx)
		}
	}
	nothing := func(tp.ReadCtx) *tp.Rerror { return nil }
	for _, test := range []struct {
		name   string
		routes func(p tp.Peer, h func(name string, f func(tp.ReadCtx) *tp.Rerror) tp.Plugin)
		method string
		want   string // the reply
		code   int32
		ran    string // the hooks
	}{
		{"of a handler, on its own route", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p, "/a", echo, h("own", nothing))
		}, "/a?q=1", "/a?q=1 /a 1 meta ", 0, "own /a?q=1"},
		{"not on other routes", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p, "/a", echo)
			tp.HandleCall(p, "/b", echo, h("own", deny))
		}, "/a", "/a /a  meta ", 0, ""},
		{"global first, then groups from outside, then the handler's", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p.SubRoute("g", h("outer", nil)).SubRoute("h", h("inner", nil)), "/a", echo, h("own", nil))
			p.PluginContainer().AppendRight(h("right", nil))
			p.PluginContainer().AppendLeft(h("left", nil))
		}, "/g/h/a", "/g/h/a /g/h/a  meta ", 0, "left /g/h/a, right /g/h/a, outer /g/h/a, inner /g/h/a, own /g/h/a"},
		{"an error is the reply", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p, "/a", echo, h("auth", deny))
		}, "/a", "", 401, "auth /a"},
		{"a panic is the reply", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p, "/a", echo, h("own", func(tp.ReadCtx) *tp.Rerror { panic("x") }))
		}, "/a", "", 500, "own /a"},
		{"rerouting from a route to another runs the other's too", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			shared := h("shared", nil)
			tp.HandleCall(p, "/a", echo, shared, h("move", reroute("/b?q=2")))
			tp.HandleCall(p, "/b", echo, shared, h("b", nil))
		}, "/a", "/b?q=2 /b 2 meta ", 0, "shared /a, move /a, b /b?q=2"},
		{"rerouting for ever ends", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p, "/a", echo, h("ab", reroute("/b")))
			tp.HandleCall(p, "/b", echo, h("ba", reroute("/a")))
		}, "/a", "/a /a  meta ", 0, "ab /a, ba /b"},
		{"rerouting often leaves out no hook", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			for i := range 9 {
				tp.HandleCall(p, fmt.Sprint("/", i), echo, h(fmt.Sprint("to", i+1), reroute(fmt.Sprint("/", i+1))))
			}
			tp.HandleCall(p, "/9", echo, h("auth", deny))
		}, "/0", "", 401, "to1 /0, to2 /1, to3 /2, to4 /3, to5 /4, to6 /5, to7 /6, to8 /7, to9 /8, auth /9"},
		{"rerouting to nowhere is 404", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p, "/a", echo, h("move", reroute("/nowhere")))
		}, "/a", "", 404, "move /a"},
		{"global rerouting", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			p.PluginContainer().AppendLeft(h("global", lower))
			tp.HandleCall(p, "/a", echo)
		}, "/A?q=X", "/a?q=X /a X meta ", 0, "global /A?q=X"},

		{"probe: leads to its route", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p, "/a", echo, h("lower", lower))
		}, "/A?q=X", "/a?q=X /a X meta ", 0, "lower /A?q=X"},
		{"probe: of a group", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p.SubRoute("g", h("lower", lower)).SubRoute("h"), "/a", echo)
		}, "/G/h/A", "/g/h/a /g/h/a  meta ", 0, "lower /G/h/A"},
		{"probe: leads to a route it was not given to", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p, "/a", echo)
			tp.HandleCall(p, "/b", echo, h("lower", scribble(lower)))
		}, "/A", "unknown /A /A meta 250 ", 0, "lower /A"},
		{"probe: path unchanged", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p, "/b", echo, h("own", scribble(nothing)))
		}, "/A?q=1", "unknown /A?q=1 /A meta 250 ", 0, "own /A?q=1"},
		{"probe: error", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p, "/a", echo, h("own", scribble(func(ctx tp.ReadCtx) *tp.Rerror { lower(ctx); return deny(ctx) })))
		}, "/A", "unknown /A /A meta 250 ", 0, "own /A"},
		{"probe: panic", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p, "/a", echo, h("own", scribble(func(ctx tp.ReadCtx) *tp.Rerror { lower(ctx); panic("x") })))
		}, "/A", "unknown /A /A meta 250 ", 0, "own /A"},
		{"probe: leads nowhere", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p, "/a", echo, h("own", scribble(reroute("/c"))))
		}, "/A", "unknown /A /A meta 250 ", 0, "own /A"},
		{"probe: the first success wins, each sees the original", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p, "/x", echo, h("first", scribble(reroute("/nowhere"))))
			tp.HandleCall(p, "/a", echo, h("second", lower))
			tp.HandleCall(p, "/b", echo, h("third", reroute("/b")))
		}, "/A", "/a /a  meta ", 0, "first /A, second /A"},
		{"probe: the winner does not run again, the route's others do", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p.SubRoute("g", h("group", nil)), "/a", echo, h("lower", lower), h("last", nil))
		}, "/G/A", "/g/a /g/a  meta ", 0, "group /G/A, lower /G/A, group /g/a, last /g/a"},
		{"probe: an error of the route's others is the reply", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandleCall(p, "/a", echo, h("lower", lower), h("auth", deny))
		}, "/A", "", 401, "lower /A, auth /a"},
		{"probe: each distinct plugin once", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			same := h("same", nil)
			tp.HandleCall(p, "/a", echo, same)
			tp.HandleCall(p, "/b", echo, same)
			tp.HandleCall(p.SubRoute("g", same), "/c", echo)
		}, "/A", "unknown /A /A meta 250 ", 0, "same /A"},
		{"probe: not for PUSH routes", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			tp.HandlePush(p, "/a", func(tp.PushCtx, *string) error { return nil }, h("lower", lower))
		}, "/A", "unknown /A /A meta 250 ", 0, ""},
		{"a removed plugin is not called", func(p tp.Peer, h func(string, func(tp.ReadCtx) *tp.Rerror) tp.Plugin) {
			kept := keepHandlers{}
			tp.HandleCall(p, "/a", echo, kept, h("lower", lower))
			kept["/a"].PluginContainer().Remove("lower")
		}, "/A", "unknown /A /A meta 250 ", 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := new(journal)
			e := &ends{routes: func(p tp.Peer) {
				test.routes(p, func(name string, f func(tp.ReadCtx) *tp.Rerror) tp.Plugin { return &header{name, j, f} })
				if test.code != 404 {
					p.SetUnknownCall(func(ctx tp.UnknownCallCtx) (any, *tp.Rerror) {
						v, _ := ctx.Swap().Load("k")
						s, _ := v.(string)
						return strings.Join([]string{"unknown", ctx.ServiceMethod(), ctx.Path(), string(ctx.PeekMeta("m")), "250", s}, " "), nil
					})
				}
			}}
			e.dial(t)
			for range 2 { // the second time on used memory
				j.take()
				var got string
				r := e.call(t, test.method, "x", &got, tp.WithSetMeta("m", "meta"), tp.WithAcceptBodyCodec(250))
				wantRerror(t, "the call", r, test.code)
				if got != test.want {
					t.Errorf("the reply is %q; want %q", got, test.want)
				}
				if ran := strings.Join(j.take(), ", "); ran != test.ran {
					t.Errorf("hooks that ran: %s; want %s", ran, test.ran)
				}
			}
		})
	}
}

func TestHeaderHooksOfPushes(t *testing.T) {
	j := new(journal)
	e := &ends{routes: func(p tp.Peer) {
		tp.HandlePush(p, "/a", func(ctx tp.PushCtx, _ *string) error { pushed <- ctx.ServiceMethod(); return nil }, &header{"lower", j, lower})
		tp.HandlePush(p, "/b", func(ctx tp.PushCtx, _ *string) error { pushed <- "must not come"; return nil }, &header{"auth", j, deny})
	}}
	e.dial(t)
	for _, test := range []struct{ method, want, log string }{
		{"/a", "/a", ""},
		{"/A?q=1", "/a?q=1", ""},
		{"/b", "", `PUSH "/b"`},
		{"/B", "", `PUSH "/B"`},
	} {
		if r := e.sess.Push(test.method, "x"); r != nil {
			t.Fatal(r)
		}
		if test.want != "" {
			if got := receive(t, "PUSH "+test.method, pushed); got != test.want {
				t.Errorf("PUSH %s came as %q; want %q", test.method, got, test.want)
			}
			continue
		}
		code := map[string]string{"/b": "401", "/B": "404"}[test.method] // auth does not make a 401 of a 404
		e.srvLines.want(t, "WARN", test.log, code)
	}
	if len(pushed) > 0 {
		t.Error("a refused push was handled")
	}
}

// A handler-level hook that refuses must not disclose to anyone which routes do not exist.
func TestAuthOfAHandlerLeaves404(t *testing.T) {
	j := new(journal)
	e := &ends{routes: func(p tp.Peer) { tp.HandleCall(p.SubRoute("admin", &header{"auth", j, deny}), "/a", echo) }}
	e.dial(t)
	wantRerror(t, "its own route", e.call(t, "/admin/a", nil, nil), 401)
	wantRerror(t, "no route", e.call(t, "/admin/b", nil, nil), 404)
}

// The reply to a message that was rerouted to nowhere runs the peer's hooks.
func TestReroutedToNowhereUsesThePeersHooks(t *testing.T) {
	j := new(journal)
	e := &ends{routes: func(p tp.Peer) {
		tp.HandleCall(p, "/a", echo, &header{"move", j, reroute("/nowhere")}, &writeNote{"route's", j})
		p.PluginContainer().AppendLeft(&writeNote{"peer's", j})
	}}
	e.dial(t)
	wantRerror(t, "the call", e.call(t, "/a", nil, nil), 404)
	wantLines(t, "hooks", j.take(), "move /a", "peer's PreWriteReply")
}

type writeNote struct {
	name string
	j    *journal
}

func (w *writeNote) Name() string { return w.name }

func (w *writeNote) PreWriteReply(tp.WriteCtx) *tp.Rerror {
	w.j.add("%s", w.name+" PreWriteReply")
	return nil
}
