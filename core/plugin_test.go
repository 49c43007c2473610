package tp_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	tp "github.com/teleport-go/teleport/core"
)

// note is a plugin that records that it ran, when the argument is decoded.
type note struct {
	name string
	j    *journal
}

func (n note) Name() string { return n.name }

func (n note) PostReadCallBody(tp.ReadCtx) *tp.Rerror { n.j.add("%s", n.name); return nil }

func names(plugins []tp.Plugin) string {
	var list []string
	for _, p := range plugins {
		list = append(list, p.Name())
	}
	return strings.Join(list, " ")
}

// tree is a peer with a route at each of several depths.
type tree struct {
	*ends
	j                *journal
	handlers         map[string]*tp.Handler
	a, b, deep, deux tp.SubRouter
}

// keepHandlers is a plugin that keeps the registered handlers.
type keepHandlers map[string]*tp.Handler

func (keepHandlers) Name() string                  { return "keep" }
func (k keepHandlers) PostReg(h *tp.Handler) error { k[h.Name()] = h; return nil }

func newTree(t *testing.T) *tree {
	x := &tree{j: new(journal), handlers: map[string]*tp.Handler{}}
	nop := func(tp.CallCtx, *string) (string, error) { return "", nil }
	n := func(name string) tp.Plugin { return note{name, x.j} }
	x.ends = &ends{srvPlugin: []tp.Plugin{keepHandlers(x.handlers), n("l1"), n("l2")}, routes: func(p tp.Peer) {
		tp.HandleCall(p, "/root", nop, n("own"))
		x.a = p.SubRoute("a", n("a"))
		tp.HandleCall(x.a, "/h", nop, n("own"))
		x.deep = x.a.SubRoute("deep", n("deep"))
		tp.HandleCall(x.deep, "/h", nop, n("own"), n("own2"))
		x.deux = x.a.SubRoute("deux", n("deux"))
		tp.HandleCall(x.deux, "/h", nop)
		x.b = p.SubRoute("b", n("b"))
		tp.HandleCall(x.b, "/h", nop)
	}}
	x.dial(t)
	return x
}

func (x *tree) want(t *testing.T, what string, want map[string]string) {
	t.Helper()
	for path, order := range want {
		x.j.take()
		if r := x.call(t, path, "", nil); r != nil {
			t.Fatalf("%s: %v", path, r)
		}
		if got := strings.Join(x.j.take(), " "); got != order {
			t.Errorf("%s: %s runs %q; want %q", what, path, got, order)
		}
	}
}

func TestPluginOrder(t *testing.T) {
	x := newTree(t)
	x.want(t, "at first", map[string]string{
		"/root":     "l1 l2 own",
		"/a/h":      "l1 l2 a own",
		"/a/deep/h": "l1 l2 a deep own own2",
		"/a/deux/h": "l1 l2 a deux",
		"/b/h":      "l1 l2 b",
	})
	x.srv.PluginContainer().AppendRight(note{"r1", x.j}, note{"r2", x.j})
	x.srv.PluginContainer().AppendLeft(note{"l3", x.j})
	x.want(t, "plugins added late reach every depth", map[string]string{
		"/root":     "l1 l2 l3 own r1 r2",
		"/a/h":      "l1 l2 l3 a own r1 r2",
		"/a/deep/h": "l1 l2 l3 a deep own own2 r1 r2",
		"/a/deux/h": "l1 l2 l3 a deux r1 r2",
		"/b/h":      "l1 l2 l3 b r1 r2",
	})
	if err := x.srv.PluginContainer().Remove("l2"); err != nil {
		t.Error(err)
	}
	if err := x.handlers["/a/deep/h"].PluginContainer().Remove("r1"); err != nil {
		t.Error(err)
	}
	x.want(t, "a removed plugin is gone at every depth", map[string]string{
		"/root":     "l1 l3 own r2",
		"/a/deep/h": "l1 l3 a deep own own2 r2",
		"/b/h":      "l1 l3 b r2",
	})
	if err := x.handlers["/a/deep/h"].PluginContainer().Remove("own"); err != nil {
		t.Error(err)
	}
	if err := x.handlers["/a/deep/h"].PluginContainer().Remove("a"); err != nil {
		t.Error(err)
	}
	x.want(t, "its own is removed from a handler alone, a group's from the group", map[string]string{
		"/root":     "l1 l3 own r2",
		"/a/h":      "l1 l3 own r2",
		"/a/deep/h": "l1 l3 deep own2 r2",
		"/a/deux/h": "l1 l3 deux r2",
	})
	x.srv.PluginContainer().AppendRight(note{"l2", x.j})
	x.want(t, "a removed name may come again", map[string]string{"/b/h": "l1 l3 b r2 l2"})
}

func TestPluginContainerLists(t *testing.T) {
	x := newTree(t)
	c := x.handlers["/a/deep/h"].PluginContainer()
	if got := names(c.GetAll()); got != "keep l1 l2 a deep own own2" {
		t.Errorf("GetAll is %q", got)
	}
	if got := names(c.GetAllMiddle()); got != "a deep own own2" {
		t.Errorf("GetAllMiddle is %q", got)
	}
	if p := c.GetByName("deep"); p == nil || p.Name() != "deep" {
		t.Errorf("GetByName(deep) is %v", p)
	}
	if p := c.GetByName("b"); p != nil {
		t.Errorf("GetByName of another group's plugin is %v; want nil", p)
	}
	if p := x.srv.PluginContainer().GetByName("deep"); p != nil {
		t.Errorf("the peer sees a group's plugin: %v", p)
	}
	list := c.GetAll()
	list[1] = nil
	_ = append(list[:2], note{"mine", x.j})
	if got := names(c.GetAll()); got != "keep l1 l2 a deep own own2" {
		t.Errorf("GetAll after its result was changed is %q; want a copy", got)
	}
}

// v5 and v7 appended the plugins of siblings to one slice.
func TestPluginSiblingsDoNotShare(t *testing.T) {
	x := newTree(t)
	for i := range 20 { // so that append meets every capacity
		p := x.a
		for d := range i % 4 {
			p = p.SubRoute(fmt.Sprintf("d%d_%d", i, d), note{fmt.Sprintf("g%d.%d", i, d), x.j})
		}
		nop := func(tp.CallCtx, *string) (string, error) { return "", nil }
		one := tp.HandleCall(p, fmt.Sprintf("/one%d", i), nop, note{"one", x.j})
		two := tp.HandleCall(p, fmt.Sprintf("/two%d", i), nop, note{"two", x.j})
		if a, b := names(x.handlers[one].PluginContainer().GetAll()), names(x.handlers[two].PluginContainer().GetAll()); !strings.HasSuffix(a, " one") || !strings.HasSuffix(b, " two") {
			t.Fatalf("siblings see %q and %q", a, b)
		}
	}
}

func TestPluginRefusals(t *testing.T) {
	x := newTree(t)
	j := x.j
	nop := func(tp.CallCtx, *string) (string, error) { return "", nil }
	for _, test := range []struct {
		name string
		do   func()
		want string
	}{
		{"nil on the left", func() { x.srv.PluginContainer().AppendLeft(nil) }, "plugin cannot be nil"},
		{"nil on the right", func() { x.srv.PluginContainer().AppendRight(note{"r", j}, nil) }, "plugin cannot be nil"},
		{"nil at a group", func() { x.srv.SubRoute("n", nil) }, "plugin cannot be nil"},
		{"nil at a handler", func() { tp.HandleCall(x.srv, "/n", nop, nil) }, "plugin cannot be nil"},
		{"twice on the right", func() { x.srv.PluginContainer().AppendRight(note{"r", j}, note{"r", j}) }, "repeat add plugin: r"},
		{"left again", func() { x.srv.PluginContainer().AppendRight(note{"l1", j}) }, "repeat add plugin: l1"},
		{"global again at a handler", func() { tp.HandleCall(x.srv, "/n", nop, note{"l1", j}) }, "repeat add plugin: l1"},
		{"group's again at a deeper group", func() { x.a.SubRoute("n", note{"a", j}) }, "repeat add plugin: a"},
		{"right one with the name of a deep one", func() { x.srv.PluginContainer().AppendRight(note{"own2", j}) }, "repeat add plugin: own2"},
		{"unknown handler", func() { x.srv.SetUnknownCall(XxxUnknownCall, note{"l1", j}) }, "repeat add plugin: l1"},
	} {
		t.Run(test.name, func(t *testing.T) { wantPanic(t, test.name, test.do, test.want) })
	}
	x.want(t, "after all that nothing has changed", map[string]string{"/a/deep/h": "l1 l2 a deep own own2", "/b/h": "l1 l2 b"})
	if got := names(x.srv.PluginContainer().GetAll()); got != "keep l1 l2" {
		t.Errorf("the peer has the plugins %q", got)
	}
	if name := tp.HandleCall(x.srv, "/n", nop, note{"a", j}); name != "/n" {
		t.Error("two branches may each hold a plugin of the same name")
	}

	for _, test := range []struct{ name, want string }{
		{"", "plugin with an empty name cannot be removed"},
		{"nobody", "nobody"},
		{"deep", "deep"}, // the plugin of a group: the peer cannot remove it
	} {
		if err := x.srv.PluginContainer().Remove(test.name); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Remove(%q) says %v; want %q in it", test.name, err, test.want)
		}
	}
	if err := newOffline(t).PluginContainer().Remove("x"); err == nil || !strings.Contains(err.Error(), "no plugins are registered yet") {
		t.Errorf("Remove from nothing says %v", err)
	}
	for _, plugins := range [][]tp.Plugin{{nil}, {note{"x", j}, note{"x", j}}} {
		if p, err := tp.Open(tp.PeerConfig{Logger: newQuiet(nil)}, plugins...); err == nil || p != nil {
			t.Errorf("Open with the plugins %v gives %v, %v; want an error", plugins, p, err)
		}
	}
}

// peerPlugin implements the hooks of making a peer.
type peerPlugin struct {
	name      string
	pre, post func() error
}

func (p peerPlugin) Name() string { return p.name }

func (p peerPlugin) PreNewPeer(_ *tp.PeerConfig, c *tp.PluginContainer) error {
	c.AppendRight(note{p.name + " right", new(journal)})
	c.AppendLeft(note{p.name + " left", new(journal)})
	return p.pre()
}

func (p peerPlugin) PostNewPeer(e tp.EarlyPeer) error {
	tp.HandleCall(e, "/"+p.name, func(tp.CallCtx, *string) (string, error) { return "", nil })
	return p.post()
}

func TestPeerHooks(t *testing.T) {
	fine := func() error { return nil }
	p := newOffline(t, peerPlugin{"a", fine, fine}, peerPlugin{"b", fine, fine})
	if got := names(p.PluginContainer().GetAll()); got != "a b a left b left a right b right" {
		t.Errorf("plugins are %q", got)
	}
	for _, test := range []struct {
		name      string
		pre, post func() error
		want      string
	}{
		{"PreNewPeer fails", func() error { return errors.New("oh") }, fine, "[PreNewPeerPlugin:p] oh"},
		{"PostNewPeer fails", fine, func() error { return errors.New("oh") }, "[PostNewPeerPlugin:p] oh"},
		{"PreNewPeer panics", func() error { panic("ouch") }, fine, "ouch"},
		{"PostNewPeer panics", fine, func() error { panic("ouch") }, "ouch"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := tp.Open(tp.PeerConfig{Logger: newQuiet(nil)}, peerPlugin{"p", test.pre, test.post})
			if p != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Open gives %v, %v; want %q", p, err, test.want)
			}
		})
	}
}

// Registration, removal and calls run concurrently, for the race detector.
// counted is a plugin that counts how often it is looked at.
type counted struct{ n *int }

func (c counted) Name() string { *c.n++; return "counted" }

// A registration does not look at the plugins of the routes that are there: with thousands
// of them the start of a program would take seconds.
func TestRegistrationCostsTheSame(t *testing.T) {
	n := 0
	p := tp.NewPeer(tp.PeerConfig{Logger: newQuiet(nil)}, counted{&n})
	defer p.Close()
	register := func(i int) int {
		n = 0
		tp.HandleCall(p, fmt.Sprint("/r", i), func(tp.CallCtx, *string) (string, error) { return "", nil })
		return n
	}
	first := register(0)
	for i := range 50 {
		if n := register(i + 1); n != first {
			t.Fatalf("registration %d calls Name %d times; the first one %d times", i+1, n, first)
		}
	}
}

func TestPluginContainerIsSafe(t *testing.T) {
	x := newTree(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			name := fmt.Sprint("late", i)
			for range 20 {
				x.srv.PluginContainer().AppendRight(note{name, x.j})
				x.handlers["/b/h"].PluginContainer().GetAll()
				if err := x.srv.PluginContainer().Remove(name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			if r := x.call(t, "/a/deep/h", "", nil); r != nil {
				t.Error(r)
			}
		}
	})
	wg.Wait()
}
