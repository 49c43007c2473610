package proxy_test

import (
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/core/xfer"
	"github.com/teleport-go/teleport/plugins/proxy"
)

// swapped is a filter for pipes: it turns the bytes over.
type swapped struct{}

const swappedID byte = 240

func (swapped) ID() byte     { return swappedID }
func (swapped) Name() string { return "swapped" }

func (swapped) OnPack(b []byte) ([]byte, error) {
	b = slices.Clone(b)
	for i := range b {
		b[i] ^= 0xff
	}
	return b, nil
}

func (f swapped) OnUnpack(b []byte) ([]byte, error) { return f.OnPack(b) }

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("ERROR")
	if role := os.Getenv(envRole); role != "" {
		runRole(role)
	}
	xfer.Register(swapped{})
	m.Run()
}

// exampleNet is the network of the example's peers.
var exampleNet = sync.OnceValue(func() string { return tptest.NewNetwork().Register(new(testing.T)) })

func newPeer(plugin ...tp.Plugin) tp.Peer {
	return tptest.NewPeer(new(testing.T), tp.PeerConfig{Network: exampleNet()}, plugin...)
}

func dial(from, to tp.Peer) tp.Session {
	if len(to.Addrs()) == 0 {
		tptest.Listen(new(testing.T), to)
	}
	return tptest.Dial(new(testing.T), from, to.Addrs()[0].String())
}

// chain is a client, a proxy, and a backend on one network.
type chain struct {
	t       testing.TB
	net     *tptest.Network
	backend tp.Peer
	addr    string     // of the backend
	out     tp.Peer    // dials the backend for the proxy
	via     tp.Session // from the proxy to the backend
	proxy   tp.Peer
	front   string // address of the proxy
	client  tp.Session
}

// config changes what the parts of a chain are made with.
type config struct {
	out, proxy tp.PeerConfig
	network    string                             // default: one in memory
	choose     func(*proxy.Label) proxy.Forwarder // default: the session via
}

func newChain(t testing.TB, cfg config) *chain {
	t.Helper()
	c := &chain{t: t, net: tptest.NewNetwork()}
	network := cfg.network
	if network == "" {
		network = c.net.Register(t)
	}
	cfg.out.Network, cfg.proxy.Network = network, network
	c.backend = tptest.NewPeer(t, tp.PeerConfig{Network: network})
	c.addr = tptest.Listen(t, c.backend)
	c.out = tptest.NewPeer(t, cfg.out)
	c.via = tptest.Dial(t, c.out, c.addr)
	if cfg.choose == nil {
		cfg.choose = func(*proxy.Label) proxy.Forwarder { return c.via }
	}
	c.proxy = tptest.NewPeer(t, cfg.proxy, proxy.NewPlugin(cfg.choose))
	c.front = tptest.Listen(t, c.proxy)
	c.client = c.dial()
	return c
}

// dial connects one more client.
func (c *chain) dial() tp.Session {
	c.t.Helper()
	cli := tptest.NewPeer(c.t, tp.PeerConfig{Network: c.network()})
	return tptest.Dial(c.t, cli, c.front)
}

func (c *chain) network() string {
	if strings.HasPrefix(c.front, "127.") {
		return "tcp"
	}
	return c.net.Register(c.t)
}

// seen is what has arrived at the backend.
type seen struct {
	method string
	codec  byte
	body   string
	meta   [][2]string
	pipe   int
}

// pairs returns the metadata without the hops, which TestHops looks at.
func pairs(m *tp.Meta) (list [][2]string) {
	for k, v := range m.All() {
		if string(k) != tp.MetaHops {
			list = append(list, [2]string{string(k), string(v)})
		}
	}
	return list
}

// record makes the backend note what arrives at /raw, and reply its bytes.
func (c *chain) record() <-chan seen {
	all := make(chan seen, 100)
	tp.HandleCall(c.backend, "/raw", func(ctx tp.CallCtx, arg *[]byte) ([]byte, error) {
		all <- seen{ctx.ServiceMethod(), ctx.GetBodyCodec(), string(*arg), pairs(ctx.CopyMeta()), ctx.Input().XferPipe().Len()}
		return *arg, nil
	})
	tp.HandlePush(c.backend, "/raw", func(ctx tp.PushCtx, arg *[]byte) error {
		all <- seen{ctx.ServiceMethod(), ctx.GetBodyCodec(), string(*arg), pairs(ctx.CopyMeta()), 0}
		return nil
	})
	return all
}

func nobody(*proxy.Label) proxy.Forwarder { return nil }

func TestConformance(t *testing.T) {
	for name, newPlugin := range map[string]func() tp.Plugin{
		"both":   func() tp.Plugin { return proxy.NewPlugin(nobody) },
		"calls":  func() tp.Plugin { return proxy.NewCallPlugin(func(*proxy.Label) proxy.CallForwarder { return nil }) },
		"pushes": func() tp.Plugin { return proxy.NewPushPlugin(func(*proxy.Label) proxy.PushForwarder { return nil }) },
		"refusing backend": func() tp.Plugin {
			return proxy.NewPlugin(func(*proxy.Label) proxy.Forwarder { return refusing{tp.CodeNotFound} })
		},
	} {
		t.Run(name, func(t *testing.T) { tptest.RunPlugin(t, newPlugin) })
	}
}

// refusing is a backend that answers every call with an error.
type refusing struct{ code int32 }

func (f refusing) Call(method string, arg, result any, _ ...tp.MessageSetting) tp.CallCmd {
	return tp.NewFakeCallCmd(method, arg, result, tp.NewRerror(f.code, "refused", "by the test"))
}

func (f refusing) Push(string, any, ...tp.MessageSetting) *tp.Rerror {
	return tp.NewRerror(f.code, "refused", "by the test")
}

func TestNil(t *testing.T) {
	for name, p := range map[string]tp.Plugin{
		"NewPlugin":     proxy.NewPlugin(nil),
		"NewCallPlugin": proxy.NewCallPlugin(nil),
		"NewPushPlugin": proxy.NewPushPlugin(nil),
	} {
		t.Run(name, func(t *testing.T) {
			if peer, err := tp.Open(tp.PeerConfig{}, p); err == nil {
				peer.Close()
				t.Errorf("Open with %s(nil): no error", name)
			}
		})
	}
}

// Bytes pass as they are, whether or not the codec, which is not linked here, could
// read them.
func TestBytes(t *testing.T) {
	tptest.Poison(t)
	tptest.LeakCheck(t)
	c := newChain(t, config{})
	got := c.record()
	for _, test := range []struct {
		name  string
		codec byte
		body  string
	}{
		{"no json", 250, `{"a": [`},
		{"text", 251, "hello"},
		{"empty", 251, ""},
		{"unknown codec", 199, "\x00\xff\xfe"},
		{"large", 199, strings.Repeat("0123456789", 30_000)},
	} {
		t.Run(test.name, func(t *testing.T) {
			var reply []byte
			cmd := c.client.Call("/raw?a=1&a=%20", []byte(test.body), &reply, tp.WithBodyCodec(test.codec), tp.WithXferPipe(swappedID))
			if r := cmd.Rerror(); r != nil || string(reply) != test.body || cmd.InputBodyCodec() != test.codec {
				t.Errorf("Call: %d bytes, codec %d, error %s; want %d bytes, codec %d", len(reply), cmd.InputBodyCodec(), r, len(test.body), test.codec)
				return
			}
			check := func(kind string) {
				t.Helper()
				g := <-got
				if g.body != test.body || g.codec != test.codec || g.method != "/raw?a=1&a=%20" || g.pipe != 0 {
					t.Errorf("%s: the backend got %q, codec %d, %d bytes, pipe of %d; want %q, codec %d, %d bytes, no pipe",
						kind, g.method, g.codec, len(g.body), g.pipe, "/raw?a=1&a=%20", test.codec, len(test.body))
				}
			}
			check("CALL")
			if r := c.client.Push("/raw?a=1&a=%20", []byte(test.body), tp.WithBodyCodec(test.codec)); r != nil {
				t.Fatalf("Push: %s", r)
			}
			check("PUSH")
		})
	}
}

// The label of a reply is the codec of its bytes, whatever was asked for.
func TestReplyCodec(t *testing.T) {
	c := newChain(t, config{})
	tp.HandleCall(c.backend, "/typed", func(_ tp.CallCtx, arg *string) (string, error) { return *arg, nil })
	tp.HandleCall(c.backend, "/other", func(ctx tp.CallCtx, _ *string) ([]byte, error) {
		ctx.SetBodyCodec(199)
		return []byte("raw"), nil
	})
	for _, test := range []struct {
		name, method string
		accept       byte
		codec        byte
		want         string
	}{
		{"the request's", "/typed", 0, 250, `"hi"`},
		{"accepted", "/typed", 251, 251, "hi"},
		{"not known to the backend", "/typed", 77, 250, `"hi"`},
		{"the backend's own choice", "/other", 251, 199, "raw"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var raw []byte
			cmd := c.client.Call(test.method, "hi", &raw, tp.WithAcceptBodyCodec(test.accept))
			if r := cmd.Rerror(); r != nil || string(raw) != test.want || cmd.InputBodyCodec() != test.codec {
				t.Errorf("got %q in codec %d, error %s; want %q in codec %d", raw, cmd.InputBodyCodec(), r, test.want, test.codec)
			}
		})
	}
}

func TestMeta(t *testing.T) {
	c := newChain(t, config{})
	got := c.record()
	set := func(m tp.Message) {
		for _, kv := range [][2]string{
			{"k", "1"}, {"", "empty key"}, {"X-Timeout", "600000"}, {"x-timeout", "1"}, {"k", "2"}, {"= &%", "\x00\xff"},
			{"X-Reply-Error", `{"code":1}`}, {"x-reply-error", "x"}, {"x-real-ip", "6.6.6.6"}, {"k", ""},
		} {
			m.Meta().Add(kv[0], kv[1])
		}
	}
	want := [][2]string{{"k", "1"}, {"", "empty key"}, {"k", "2"}, {"= &%", "\x00\xff"}, {"k", ""}}
	if r := c.client.Push("/raw", []byte("x"), set); r != nil {
		t.Fatalf("Push: %s", r)
	}
	g := <-got
	if n := len(g.meta); n == 0 || g.meta[n-1][0] != tp.MetaRealIP || !slices.Equal(g.meta[:n-1], want) {
		t.Errorf("PUSH: the backend got the metadata %q; want %q and X-Real-IP", g.meta, want)
	}
	var raw []byte
	if r := c.client.Call("/raw", []byte("x"), &raw, set).Rerror(); r != nil {
		t.Fatalf("Call: %s", r)
	}
	g = <-got
	// The caller's X-Timeout is honoured, so what is left of it passes anew.
	g.meta = slices.DeleteFunc(g.meta, func(kv [2]string) bool {
		if kv[0] != tp.MetaTimeout {
			return false
		}
		if len(kv[1]) != 6 || kv[1] > "600000" {
			t.Errorf("CALL: the backend got X-Timeout %q; want what is left of 600000", kv[1])
		}
		return true
	})
	if n := len(g.meta); n == 0 || g.meta[n-1][0] != tp.MetaRealIP || !slices.Equal(g.meta[:n-1], want) {
		t.Errorf("CALL: the backend got the metadata %q; want %q and X-Real-IP", g.meta, want)
	}
}

func TestReplyMeta(t *testing.T) {
	c := newChain(t, config{})
	tp.HandleCall(c.backend, "/meta", func(ctx tp.CallCtx, fail *bool) (string, error) {
		ctx.AddMeta("k", "1")
		ctx.AddMeta("other", "")
		ctx.AddMeta("k", "2")
		ctx.AddMeta("x-reply-error", `{"code":7}`)
		ctx.AddMeta("X-TIMEOUT", "7")
		if *fail {
			return "", tp.NewRerror(4711, "failed", "as asked").Err()
		}
		return "fine", nil
	})
	want := [][2]string{{"k", "1"}, {"other", ""}, {"k", "2"}}
	for _, fail := range []bool{false, true} {
		cmd := c.client.Call("/meta", fail, new(string))
		if got := pairs(cmd.InputMeta()); !slices.Equal(got, want) {
			t.Errorf("failing %t: metadata %q; want %q", fail, got, want)
		}
		if got, want := cmd.Rerror().HasError(), fail; got != want {
			t.Errorf("failing %t: error %s", fail, cmd.Rerror())
		}
	}
}

func TestRealIP(t *testing.T) {
	for _, test := range []struct {
		name    string
		trusted []string
		sent    []string
		want    string // "": the client's own address
	}{
		{"none sent", nil, nil, ""},
		{"none sent by a trusted one", []string{"127.0.0.0/8"}, nil, ""},
		{"forged", nil, []string{"6.6.6.6"}, ""},
		{"forged, others are trusted", []string{"10.0.0.0/8"}, []string{"6.6.6.6"}, ""},
		{"trusted", []string{"127.0.0.0/8"}, []string{"1.2.3.4"}, "1.2.3.4"},
		{"trusted, twice", []string{"127.0.0.1"}, []string{"1.2.3.4", "6.6.6.6"}, "1.2.3.4"},
	} {
		t.Run(test.name, func(t *testing.T) {
			labels := make(chan proxy.Label, 2)
			var c *chain
			c = newChain(t, config{
				network: "tcp",
				proxy:   tp.PeerConfig{TrustedProxies: test.trusted},
				choose:  func(l *proxy.Label) proxy.Forwarder { labels <- *l; return c.via },
			})
			got := c.record()
			set := func(m tp.Message) {
				for _, ip := range test.sent {
					m.Meta().Add(tp.MetaRealIP, ip)
				}
			}
			want := proxy.Label{SessionID: c.client.LocalAddr().String(), RealIP: test.want, ServiceMethod: "/raw"}
			if want.RealIP == "" {
				want.RealIP = c.client.LocalAddr().String()
			}
			check := func(kind string) {
				t.Helper()
				if g := <-got; !slices.Equal(g.meta, [][2]string{{tp.MetaRealIP, want.RealIP}}) {
					t.Errorf("%s: the backend got the metadata %q; want X-Real-IP %s alone", kind, g.meta, want.RealIP)
				}
				if l := <-labels; l != want {
					t.Errorf("%s: label %+v; want %+v", kind, l, want)
				}
			}
			if r := c.client.Call("/raw?q=1", []byte("x"), nil, set).Rerror(); r != nil {
				t.Fatalf("Call: %s", r)
			}
			check("CALL")
			if r := c.client.Push("/raw?q=1", []byte("x"), set); r != nil {
				t.Fatalf("Push: %s", r)
			}
			check("PUSH")
		})
	}
}

// What the proxy serves itself is not forwarded.
func TestOwnRoutes(t *testing.T) {
	c := newChain(t, config{})
	tp.HandleCall(c.proxy, "/who", func(tp.CallCtx, *string) (string, error) { return "proxy", nil })
	for _, method := range []string{"/who", "/else"} {
		tp.HandleCall(c.backend, method, func(tp.CallCtx, *string) (string, error) { return "backend", nil })
	}
	for method, want := range map[string]string{"/who": "proxy", "/else": "backend"} {
		var got string
		if r := c.client.Call(method, "", &got).Rerror(); r != nil || got != want {
			t.Errorf("Call(%s) = %q, %s; want %q", method, got, r, want)
		}
	}
}

// Any number of clients share a few backend sessions, and each gets its own replies.
func TestMultiplex(t *testing.T) {
	tptest.LeakCheck(t)
	var c *chain
	var mu sync.Mutex
	chosen := make(map[string]proxy.Forwarder)
	var backends []proxy.Forwarder
	c = newChain(t, config{choose: func(l *proxy.Label) proxy.Forwarder {
		mu.Lock()
		defer mu.Unlock()
		f, ok := chosen[l.SessionID]
		if !ok {
			f = backends[len(chosen)%len(backends)]
			chosen[l.SessionID] = f
		}
		return f
	}})
	backends = []proxy.Forwarder{c.via, tptest.Dial(t, c.out, c.addr)}
	tp.HandleCall(c.backend, "/echo", func(_ tp.CallCtx, arg *int) (int, error) { return *arg, nil })
	var wg sync.WaitGroup
	for i := range 10 {
		sess := c.dial()
		wg.Go(func() {
			for n := range 50 {
				var got int
				want := i*1000 + n
				if r := sess.Call("/echo", want, &got).Rerror(); r != nil || got != want {
					t.Errorf("client %d: Call = %d, %s; want %d", i, got, r, want)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := c.backend.CountSession(); n != 2 || len(chosen) != 10 {
		t.Errorf("the backend has %d sessions for %d clients; want 2 for 10", n, len(chosen))
	}
}
