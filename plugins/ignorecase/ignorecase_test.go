package ignorecase_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/ignorecase"
)

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("ERROR")
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) { tptest.RunPlugin(t, ignorecase.NewIgnoreCase) }

func TestName(t *testing.T) {
	if got := ignorecase.NewIgnoreCase().Name(); got != "ignoreCase" {
		t.Errorf("Name() = %q", got)
	}
}

// seen is what a handler has seen of its message.
type seen struct{ Handler, Method, Query string }

func see(handler string, ctx tp.InputCtx) seen {
	return seen{handler, ctx.ServiceMethod(), ctx.Query().Get("Key")}
}

// routes gives r handlers in lower and in mixed case, at the end of prefix.
func routes(r tp.Router, pushed chan<- seen, plugin ...tp.Plugin) {
	tp.HandleCall(r, "/math/add_up", func(ctx tp.CallCtx, _ *string) (seen, error) { return see("lower", ctx), nil }, plugin...)
	tp.HandleCall(r, "/Math/Mixed", func(ctx tp.CallCtx, _ *string) (seen, error) { return see("mixed", ctx), nil }, plugin...)
	tp.HandlePush(r, "/note/say", func(ctx tp.PushCtx, _ *string) error { pushed <- see("push", ctx); return nil }, plugin...)
}

// pair connects a peer that has the plugins to one that has not.
func pair(t *testing.T, plugin ...tp.Plugin) (srv tp.Peer, sess tp.Session) {
	network := tptest.NewNetwork().Register(t)
	srv = tptest.NewPeer(t, tp.PeerConfig{Network: network}, plugin...)
	cli := tptest.NewPeer(t, tp.PeerConfig{Network: network})
	return srv, tptest.Dial(t, cli, tptest.Listen(t, srv))
}

// levels are the places that a plugin may be given to.
var levels = []struct {
	name, prefix string
	set          func(t *testing.T, pushed chan<- seen) (tp.Peer, tp.Session)
}{
	{"peer", "", func(t *testing.T, pushed chan<- seen) (tp.Peer, tp.Session) {
		srv, sess := pair(t, ignorecase.NewIgnoreCase())
		routes(srv, pushed)
		return srv, sess
	}},
	{"group", "/group", func(t *testing.T, pushed chan<- seen) (tp.Peer, tp.Session) {
		srv, sess := pair(t)
		routes(srv.SubRoute("/group", ignorecase.NewIgnoreCase()), pushed)
		return srv, sess
	}},
	{"handler", "/sub", func(t *testing.T, pushed chan<- seen) (tp.Peer, tp.Session) {
		srv, sess := pair(t)
		routes(srv.SubRoute("/sub"), pushed, ignorecase.NewIgnoreCase())
		return srv, sess
	}},
}

func TestLevels(t *testing.T) {
	for _, level := range levels {
		t.Run(level.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pushed := make(chan seen, 10)
				_, sess := level.set(t, pushed)
				for _, test := range []struct {
					name, method string
					want         seen
				}{
					{"as it is", "/math/add_up", seen{"lower", "/math/add_up", ""}},
					{"some letters", "/Math/Add_Up", seen{"lower", "/math/add_up", ""}},
					{"all letters", "/MATH/ADD_UP", seen{"lower", "/math/add_up", ""}},
					{"the query stays", "/MATH/add_up?Key=VaLue&key=no", seen{"lower", "/math/add_up?Key=VaLue&key=no", "VaLue"}},
					{"a lower-case path's query", "/math/add_up?Key=VaLue", seen{"lower", "/math/add_up?Key=VaLue", "VaLue"}},
					{"escaped letters", "/%4dath/add_up?Key=%41", seen{"lower", "/math/add_up?Key=%41", "A"}},
				} {
					want := test.want
					want.Method = level.prefix + want.Method
					var got seen
					if r := sess.Call(level.prefix+test.method, "", &got).Rerror(); r != nil || got != want {
						t.Errorf("%s: call of %s: %+v, %s; want %+v", test.name, test.method, got, r, want)
					}
				}
				if r := sess.Push(level.prefix+"/NOTE/Say?Key=B", ""); r != nil {
					t.Fatal(r)
				}
				if got, want := <-pushed, (seen{"push", level.prefix + "/note/say?Key=B", "B"}); got != want {
					t.Errorf("push: %+v; want %+v", got, want)
				}
				if r := sess.Call(level.prefix+"/math/Nobody", "", nil).Rerror(); r == nil || r.Code != tp.CodeNotFound {
					t.Errorf("call of what is not there: %s; want 404", r)
				}
			})
		})
	}
}

// Other routes than those the plugin was given to keep their case.
func TestElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, sess := pair(t)
		pushed := make(chan seen, 10)
		routes(srv, pushed)
		routes(srv.SubRoute("/group", ignorecase.NewIgnoreCase()), pushed)
		srv.SetUnknownCall(func(ctx tp.UnknownCallCtx) (any, *tp.Rerror) { return see("unknown", ctx), nil })
		for _, test := range []struct {
			method string
			want   seen
		}{
			{"/Math/Mixed", seen{"mixed", "/Math/Mixed", ""}},
			{"/math/mixed", seen{"unknown", "/math/mixed", ""}},
			{"/MATH/Add_Up?Key=A", seen{"unknown", "/MATH/Add_Up?Key=A", "A"}},
			{"/GROUP/math/Add_Up", seen{"lower", "/group/math/add_up", ""}},
		} {
			var got seen
			if r := sess.Call(test.method, "", &got).Rerror(); r != nil || got != test.want {
				t.Errorf("call of %s: %+v, %s; want %+v", test.method, got, r, test.want)
			}
		}
	})
}

// What has no route arrives in lower case when the whole peer ignores it, except
// for what is not text.
func TestUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, sess := pair(t, ignorecase.NewIgnoreCase())
		got := make(chan string, 1)
		srv.SetUnknownCall(func(ctx tp.UnknownCallCtx) (any, *tp.Rerror) { got <- ctx.Path(); return nil, nil })
		for _, test := range []struct{ method, want string }{
			{"/ÄÖ/ΣΙΣΥΦΟΣ?Q=A", "/äö/σισυφοσ"},
			{"/A\xffB", "/A\xffB"},
			{"Home.Test", "home.test"},
		} {
			if r := sess.Call(test.method, "", nil).Rerror(); r != nil {
				t.Fatalf("call of %q: %s", test.method, r)
			}
			if path := <-got; path != test.want {
				t.Errorf("call of %q arrived as %q; want %q", test.method, path, test.want)
			}
		}
	})
}

// After a redial it still works.
func TestRedial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := tptest.NewNetwork()
		cfg := tp.PeerConfig{Network: n.Register(t), RedialTimes: 5}
		srv := tptest.NewPeer(t, cfg, ignorecase.NewIgnoreCase())
		routes(srv, nil)
		sess := tptest.Dial(t, tptest.NewPeer(t, cfg), tptest.Listen(t, srv))
		for range 2 {
			var got seen
			if r := sess.Call("/Math/ADD_up", "", &got).Rerror(); r != nil || got.Handler != "lower" {
				t.Errorf("call: %+v, %s", got, r)
			}
			n.Find(sess.LocalAddr().String()).Cut()
			synctest.Wait()
		}
	})
}

// Whatever the name is, it is answered and the session goes on.
func TestHostileNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, sess := pair(t, ignorecase.NewIgnoreCase())
		for _, method := range []string{
			"/" + strings.Repeat("A", 250), "/" + strings.Repeat("\u023a", 120), // lower case is longer
			"?A=B", "/%zz", "//A//B", "/A\x00B", "A:B", "/\u0130",
		} {
			if r := sess.Call(method, "", nil).Rerror(); r == nil || r.Code != tp.CodeNotFound && r.Code != tp.CodeBadMessage {
				t.Errorf("call of %q: %s; want 404 or 400", method, r)
			}
		}
		set := func(m tp.Message) {
			for i := range 1000 {
				m.Meta().Add(strconv.Itoa(i), "v")
				m.Meta().Add("K", "V")
			}
			m.Meta().Add("Big", strings.Repeat("V", 64<<10))
		}
		if r := sess.Call("/NoBody", "", nil, set).Rerror(); r == nil || r.Code != tp.CodeNotFound {
			t.Errorf("call with much metadata: %s; want 404", r)
		}
		if !sess.Health() {
			t.Errorf("the session has ended: %v", sess.CloseReason())
		}
	})
}
