package tp_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	tp "github.com/teleport-go/teleport/core"
)

func TestListenerAddress(t *testing.T) {
	var where tp.ListenerAddress
	if where.Addr() != nil || where.String() != "" || where.Port() != "" {
		t.Errorf("before listening: %v %q %q; want nothing", where.Addr(), where.String(), where.Port())
	}
	p := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Protocol: noProto, DefaultBodyCodec: "testjson"}, &where)
	defer p.Close()
	if err := p.Listen(); err != nil {
		t.Fatal(err)
	}
	want := p.Addrs()[0].String()
	if where.String() != want || net.JoinHostPort(where.Host(), where.Port()) != want {
		t.Errorf("String %q, Host %q, Port %q; want the parts of %q", where.String(), where.Host(), where.Port(), want)
	}
}

var noProto tp.ProtoFunc = func(tp.IOWithReadBuffer) tp.Proto { return nil }

func TestNewInheritedListener(t *testing.T) {
	for _, test := range []struct {
		name, network, addr string
		ok                  bool
	}{
		{"free port", "tcp", "127.0.0.1:0", true},
		{"no port", "tcp", "127.0.0.1", false},
		{"no such network", "smoke", "127.0.0.1:0", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := tp.NewInheritedListener(test.network, test.addr, nil)
			if (err == nil) != test.ok {
				t.Fatalf("error %v; want one: %v", err, !test.ok)
			}
			if err == nil {
				l.Close()
			}
		})
	}
	if _, err := tp.NewInheritedListener("tcp", "127.0.0.1:0", tp.GenerateTLSConfigForClient()); err == nil {
		t.Error("a TLS listener without a certificate: no error")
	}
}

func TestGo(t *testing.T) {
	var wg sync.WaitGroup
	wg.Add(2)
	if !tp.Go(func() { defer wg.Done(); panic("logged") }) {
		t.Error("Go = false; want true")
	}
	tp.TryGo(wg.Done)
	wg.Wait()
}

func TestFakeAddr(t *testing.T) {
	a, err := tp.NewFakeAddr2("smoke", "hill:7")
	if err != nil || a.Network() != "smoke" || a.String() != "hill:7" || a.Host() != "hill" || a.Port() != "7" {
		t.Errorf("NewFakeAddr2 = %v, %v; want smoke hill:7", a, err)
	}
	for _, test := range []struct{ network, addr, want string }{
		{"", "", "tcp 0.0.0.0:0"}, {"tcp6", ":1234", "tcp6 0.0.0.0:1234"}, {"", "[::1]:", "tcp [::1]:0"},
	} {
		a, err := tp.NewFakeAddr2(test.network, test.addr)
		if err != nil || a.Network()+" "+a.String() != test.want {
			t.Errorf("NewFakeAddr2(%q, %q) = %v, %v; want %s", test.network, test.addr, a, err, test.want)
		}
	}
	if _, err := tp.NewFakeAddr2("smoke", "hill"); err == nil {
		t.Error("NewFakeAddr2 without a port: no error")
	}
}

// TestPluginImpl checks that each function is called at its moment, and that nil
// functions do nothing.
func TestPluginImpl(t *testing.T) {
	p := &tp.PluginImpl{PluginName: "impl"}
	if err := p.PreNewPeer(nil, nil); err != nil {
		t.Errorf("PreNewPeer without a function: %v", err)
	}
	if r := p.PostReadCallBody(nil); r != nil {
		t.Errorf("PostReadCallBody without a function: %v", r)
	}
	no := errors.New("no")
	p.OnPreNewPeer = func(*tp.PeerConfig, *tp.PluginContainer) error { return no }
	if _, err := tp.Open(tp.PeerConfig{}, p); !errors.Is(err, no) {
		t.Errorf("Open with a refusing PreNewPeer: %v; want %v", err, no)
	}
}

type greeter struct {
	tp.CallCtx
	greeting string
}

func (m *greeter) Greet(name *string) (string, *tp.Rerror) { return m.greeting + *name, nil }

func TestCtrlPoolFunc(t *testing.T) {
	n := 0
	e := (&ends{routes: func(p tp.Peer) {
		p.RouteCall(tp.CtrlPoolFunc(func() tp.CtrlStructPtr { n++; return &greeter{greeting: "hello "} }))
	}}).dial(t)
	for range 2 {
		got, err := tp.Invoke[string](context.Background(), e.sess, "/greeter/greet", "you")
		if err != nil || got != "hello you" {
			t.Fatalf("Greet = %q, %v; want hello you", got, err)
		}
	}
	if n != 3 { // once to learn the type
		t.Errorf("the factory was called %d times; want 3", n)
	}
}
