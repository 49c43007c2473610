package secure_test

import (
	"bytes"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/secure"
)

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("OFF")
	m.Run()
}

func key(id uint32, fill byte) secure.Key {
	return secure.Key{ID: id, Secret: bytes.Repeat([]byte{fill}, 32)}
}

func keys(t testing.TB, k secure.Key) *secure.Keys {
	t.Helper()
	keys, err := secure.NewKeys(k)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestConformance(t *testing.T) {
	t.Run("enforced", func(t *testing.T) {
		tptest.RunPlugin(t, func() tp.Plugin { return secure.New(keys(t, key(1, 'k'))) }, tptest.Paired())
	})
	t.Run("optional", func(t *testing.T) {
		tptest.RunPlugin(t, func() tp.Plugin { return secure.New(keys(t, key(1, 'k')), secure.Optional()) }, tptest.Paired())
	})
}

const secret = "the secret that must not be seen"

// world is two peers with plugins, and what was sent between them.
type world struct {
	srv, cli tp.Peer
	sess     tp.Session
	net      *tptest.Network
	addr     string
	pushed   chan string
	tap      *tap
}

func newWorld(t *testing.T, server, client []tp.Plugin) *world {
	t.Helper()
	w := &world{net: tptest.NewNetwork(), pushed: make(chan string, 100), tap: new(tap)}
	name := w.net.Register(t)
	w.srv = tptest.NewPeer(t, tp.PeerConfig{Network: name}, server...)
	tp.HandleCall(w.srv, "/echo", func(_ tp.CallCtx, arg *string) (string, error) { return *arg, nil })
	tp.HandleCall(w.srv, "/sealed", func(ctx tp.CallCtx, arg *string) (string, error) {
		secure.EnforceSecure(ctx.Output())
		return *arg, nil
	})
	tp.HandleCall(w.srv, "/fail", func(tp.CallCtx, *string) (string, error) {
		return "", tp.NewRerror(4001, "teapot", "short").Err()
	})
	tp.HandlePush(w.srv, "/note", func(_ tp.PushCtx, arg *string) error { w.pushed <- *arg; return nil })
	w.cli = tptest.NewPeer(t, tp.PeerConfig{Network: name, RedialTimes: 5}, append([]tp.Plugin{w.tap}, client...)...)
	w.addr = tptest.Listen(t, w.srv)
	w.sess = tptest.Dial(t, w.cli, w.addr)
	return w
}

func plugins(p ...tp.Plugin) []tp.Plugin { return p }

// call echoes the secret.
func (w *world) call(t *testing.T, method string, set ...tp.MessageSetting) (string, *tp.Rerror) {
	t.Helper()
	var got string
	r := w.sess.Call(method, secret, &got, set...).Rerror()
	return got, r
}

// tap keeps what the dialling side has sent and received, and may change it.
type tap struct {
	mu     sync.Mutex // guards what follows
	sent   [][]byte
	got    []byte
	change func([]byte) []byte
}

func (*tap) Name() string { return "tap" }
func (p *tap) PostDial(s tp.PreSession) *tp.Rerror {
	s.ModifySocket(func(c net.Conn) (net.Conn, tp.ProtoFunc) { return &tapped{c, p}, nil })
	return nil
}

type tapped struct {
	net.Conn
	p *tap
}

func (c *tapped) Write(b []byte) (int, error) {
	c.p.mu.Lock()
	out := bytes.Clone(b)
	c.p.sent = append(c.p.sent, out)
	if c.p.change != nil {
		out = c.p.change(out)
	}
	c.p.mu.Unlock()
	_, err := c.Conn.Write(out)
	return len(b), err
}

func (c *tapped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	c.p.got = append(c.p.got, b[:n]...)
	return n, err
}

// seen reports whether the secret was sent, and whether it was received in clear.
func (p *tap) seen() (sent, got bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sent, got = bytes.Contains(bytes.Join(p.sent, nil), []byte(secret)), bytes.Contains(p.got, []byte(secret))
	p.sent, p.got = nil, nil
	return sent, got
}

func (p *tap) alter(f func([]byte) []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.change = f
}

func TestWhatIsSealed(t *testing.T) {
	accept := secure.WithAcceptSecureMeta
	optional := []secure.Option{secure.Optional()}
	for _, test := range []struct {
		name        string
		opts        []secure.Option
		method      string
		set         []tp.MessageSetting
		call, reply bool // plain
	}{
		{"nothing asked", optional, "/echo", nil, true, true},
		{"sealed call", optional, "/echo", []tp.MessageSetting{secure.WithSecureMeta()}, false, false},
		{"sealed call, plain reply", optional, "/echo", []tp.MessageSetting{secure.WithSecureMeta(), accept(false)}, false, true},
		{"plain call, sealed reply", optional, "/echo", []tp.MessageSetting{accept(true)}, true, false},
		{"handler seals", optional, "/sealed", nil, true, false},
		{"handler seals, not wanted", optional, "/sealed", []tp.MessageSetting{accept(false)}, true, false},
		{"another value", optional, "/echo", []tp.MessageSetting{tp.WithSetMeta(secure.MetaSecure, "yes")}, true, true},
		{"default", nil, "/echo", nil, false, false},
		{"default, not wanted", nil, "/echo", []tp.MessageSetting{accept(false)}, false, false},
		{"enforced", []secure.Option{secure.Optional(), secure.Enforce()}, "/echo", nil, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := keys(t, key(1, 'k'))
				w := newWorld(t, plugins(secure.New(k, test.opts...)), plugins(secure.New(k, test.opts...)))
				w.tap.seen()
				got, r := w.call(t, test.method, test.set...)
				if r != nil || got != secret {
					t.Errorf("the call replied %q, %s", got, r)
				}
				if call, reply := w.tap.seen(); call != test.call || reply != test.reply {
					t.Errorf("plain call %t, plain reply %t; want %t, %t", call, reply, test.call, test.reply)
				}
				if _, r := w.call(t, "/fail", test.set...); r == nil || r.Code != 4001 || r.Reason != "short" {
					t.Errorf("a handler's error: %s; want 4001", r)
				}
				w.tap.seen()
				if r := w.sess.Push("/note", secret, test.set...); r != nil {
					t.Fatal(r)
				}
				if got := <-w.pushed; got != secret {
					t.Errorf("pushed %q", got)
				}
				if push, _ := w.tap.seen(); push != test.call {
					t.Errorf("plain push %t; want %t", push, test.call)
				}
			})
		})
	}
}

// wantRefused wants an error of that code and cause, and a session that lives.
func (w *world) wantRefused(t *testing.T, r *tp.Rerror, code int32, why error) {
	t.Helper()
	if r == nil || r.Code != code || !strings.Contains(r.Reason, why.Error()) {
		t.Errorf("error %s; want %d, %v", r, code, why)
	}
	if !w.sess.Health() {
		t.Errorf("the session has ended: %v", w.sess.CloseReason())
	}
}

func TestPlainRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keys(t, key(1, 'k'))
		w := newWorld(t, plugins(secure.New(k, secure.Code(4999))), plugins(secure.New(k, secure.Optional())))
		_, r := w.call(t, "/echo")
		w.wantRefused(t, r, 4999, secure.ErrPlain)
		w.sess.Push("/note", secret)
		if got, r := w.call(t, "/echo", secure.WithSecureMeta()); r != nil || got != secret {
			t.Errorf("a sealed call replied %q, %s", got, r)
		}
		synctest.Wait()
		if len(w.pushed) != 0 {
			t.Error("a plain push was handled")
		}

		w = newWorld(t, plugins(secure.New(k, secure.Optional())), plugins(secure.New(k)))
		synctest.Wait() // the server has its session, too
		asked := 0
		w.srv.RangeSession(func(s tp.Session) bool {
			asked++
			r := s.Call("/x", secret, nil).Rerror()
			w.wantRefused(t, r, tp.CodeBadMessage, secure.ErrPlain)
			return true
		})
		if asked != 1 {
			t.Errorf("the server has %d sessions; want 1", asked)
		}
	})
}

func TestWrongKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			name   string
			client secure.Key
			why    error
		}{
			{"other secret", key(1, 'x'), secure.ErrAltered},
			{"other number", key(2, 'k'), secure.ErrKey},
		} {
			w := newWorld(t, plugins(secure.New(keys(t, key(1, 'k')), secure.Optional())),
				plugins(secure.New(keys(t, test.client), secure.Optional())))
			_, r := w.call(t, "/echo", secure.WithSecureMeta())
			w.wantRefused(t, r, tp.CodeBadMessage, test.why)
			// The reply, too: the client cannot open it.
			cmd := w.sess.Call("/echo", secret, nil, secure.WithAcceptSecureMeta(true))
			w.wantRefused(t, cmd.Rerror(), tp.CodeBadMessage, test.why)
			if !errors.Is(cmd.Rerror().Err(), test.why) {
				t.Errorf("%s: errors.Is(%v, %v) is false", test.name, cmd.Rerror().Err(), test.why)
			}
			if got, r := w.call(t, "/echo"); r != nil || got != secret {
				t.Errorf("%s: a plain call replied %q, %s", test.name, got, r)
			}
		}
	})
}

func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keys(t, key(1, 'k'))
		w := newWorld(t, plugins(secure.New(k)), plugins(secure.New(k)))
		w.tap.seen()
		w.sess.Push("/note", secret)
		<-w.pushed
		w.tap.mu.Lock()
		frame := bytes.Join(w.tap.sent, nil)
		w.tap.mu.Unlock()
		again := func() {
			t.Helper()
			w.tap.alter(func(b []byte) []byte { return append(bytes.Clone(frame), b...) })
			if _, r := w.call(t, "/echo"); r != nil {
				t.Errorf("a call behind the replayed frame: %s", r)
			}
			w.tap.alter(nil)
			synctest.Wait()
			if len(w.pushed) != 0 {
				t.Errorf("the replayed push was handled: %q", <-w.pushed)
			}
		}
		again()
		again()
		w.sess.Close() // also on a new session, with the same key
		w.sess = tptest.Dial(t, w.cli, w.addr)
		again()
		w.net.Find(w.sess.LocalAddr().String()).Cut()
		synctest.Wait()
		if _, r := w.call(t, "/echo"); r != nil {
			t.Fatalf("a call after the break: %s", r)
		}
		again()
	})
}

// What travels in clear cannot be given another body: not the method, not the
// number of the call, not the direction.
func TestAltered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keys(t, key(1, 'k'))
		w := newWorld(t, plugins(secure.New(k)), plugins(secure.New(k)))
		w.tap.alter(func(b []byte) []byte { return bytes.Replace(b, []byte("/echo"), []byte("/fail"), 1) })
		_, r := w.call(t, "/echo", secure.WithSecureMeta())
		w.wantRefused(t, r, tp.CodeBadMessage, secure.ErrAltered)
		w.tap.alter(func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
		_, r = w.call(t, "/echo", secure.WithSecureMeta())
		w.wantRefused(t, r, tp.CodeBadMessage, secure.ErrAltered)
		w.tap.alter(nil)
		if got, r := w.call(t, "/echo", secure.WithSecureMeta()); r != nil || got != secret {
			t.Errorf("afterwards a call replied %q, %s", got, r)
		}
	})
}

func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := keys(t, key(1, 'a')), keys(t, key(1, 'a'))
		w := newWorld(t, plugins(secure.New(a)), plugins(secure.New(b)))
		works := func(when string) {
			t.Helper()
			if got, r := w.call(t, "/echo"); r != nil || got != secret {
				t.Errorf("%s: a call replied %q, %s", when, got, r)
			}
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		works("at first")
		if a.Switch() == nil {
			t.Error("Switch without a second key: no error")
		}
		must(a.Prepare(key(2, 'b')))
		works("prepared on one side")
		must(b.Prepare(key(2, 'b')))
		must(b.Switch())
		works("switched on one side")
		must(a.Switch())
		works("switched")
		must(a.Prepare(key(3, 'c')))
		must(b.Prepare(key(3, 'c')))
		must(a.Switch())
		must(b.Switch())
		works("switched again")
		if id, seals := a.Current(); id != 3 || seals != 1 {
			t.Errorf("Current = %d, %d; want 3, 1", id, seals)
		}
		if a.Prepare(key(3, 'x')) == nil {
			t.Error("one number for two secrets: no error")
		}
		must(a.Prepare(key(4, 'd'))) // in place of 2
		must(a.Switch())
		_, r := w.call(t, "/echo")
		w.wantRefused(t, r, tp.CodeBadMessage, secure.ErrKey) // the reply's: b has no 4
	})
}

func TestBadKeys(t *testing.T) {
	for _, n := range []int{0, 1, 15, 17, 33, 64} {
		if _, err := secure.NewKeys(secure.Key{Secret: make([]byte, n)}); err == nil {
			t.Errorf("NewKeys with %d bytes: no error", n)
		}
		if err := keys(t, key(1, 'k')).Prepare(secure.Key{ID: 2, Secret: make([]byte, n)}); err == nil {
			t.Errorf("Prepare with %d bytes: no error", n)
		}
	}
}

func TestPeerWithoutPlugin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := tptest.NewNetwork()
		addr := tptest.Listen(t, tptest.NewPeer(t, tp.PeerConfig{Network: n.Register(t)}))
		cli := tptest.NewPeer(t, tp.PeerConfig{Network: n.Register(t)}, secure.New(keys(t, key(1, 'k'))))
		if _, r := cli.Dial(addr); r == nil || r.Code != tp.CodeDialFailed || !strings.Contains(r.Reason, "secure: hello") {
			t.Errorf("dialling a peer without the plugin: %s; want 105 that names the hello", r)
		}
	})
}

func TestHostileMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		many := func(m tp.Message) {
			for i := range 1000 {
				m.Meta().Add("k"+strconv.Itoa(i), "v")
				m.Meta().Add(secure.MetaSecure, "false")
				m.Meta().Add(secure.MetaAcceptSecure, strconv.Itoa(i))
			}
		}
		long := tp.WithSetMeta(secure.MetaSecure, strings.Repeat("true", 16<<10))
		k := keys(t, key(1, 'k'))
		for name, opts := range map[string][]secure.Option{"enforced": nil, "optional": {secure.Optional()}} {
			w := newWorld(t, plugins(secure.New(k, opts...)), plugins(secure.New(k, opts...)))
			for i, set := range [][]tp.MessageSetting{{many}, {long}, {secure.WithSecureMeta(), many}, {many, secure.WithSecureMeta()},
				{tp.WithAddMeta(secure.MetaSecure, "true"), tp.WithAddMeta(secure.MetaSecure, "true")}} {
				if got, r := w.call(t, "/echo", set...); r != nil || got != secret {
					t.Errorf("%s: call %d replied %q, %s", name, i, got, r)
				}
			}
		}
	})
}

// The message of a finished call still has the body that the caller gave.
func TestOutputIsPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keys(t, key(1, 'k'))
		w := newWorld(t, plugins(secure.New(k)), plugins(secure.New(k)))
		cmd := w.sess.Call("/echo", secret, nil, secure.WithSecureMeta())
		if got := cmd.Output().Body(); got != secret {
			t.Errorf("Output().Body() = %q; want %q", got, secret)
		}
	})
}

func TestLargeAndEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keys(t, key(1, 'k'))
		w := newWorld(t, plugins(secure.New(k)), plugins(secure.New(k)))
		for _, n := range []int{0, 1, 15, 16, 17, 100_000, 1 << 20} {
			var got string
			arg := strings.Repeat("x", n)
			if r := w.sess.Call("/echo", arg, &got).Rerror(); r != nil || got != arg {
				t.Errorf("%d bytes: %d came back, %s", n, len(got), r)
			}
		}
		var got string
		if r := w.sess.Call("/echo", nil, &got).Rerror(); r != nil || got != "" {
			t.Errorf("no body: %q came back, %s", got, r)
		}
	})
}

// More callers than the window is wide wait for room: none is taken for a replay.
func TestCrowd(t *testing.T) {
	net, k := tptest.NewNetwork(tptest.Buffer(4096)), keys(t, key(1, 'k'))
	cfg := tp.PeerConfig{Network: net.Register(t), WriteBound: 8192}
	srv := tptest.NewPeer(t, cfg, secure.New(k))
	tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, arg *string) (string, error) { return *arg, nil })
	sess := tptest.Dial(t, tptest.NewPeer(t, cfg, secure.New(k)), tptest.Listen(t, srv))
	var wg sync.WaitGroup
	for range 4000 {
		wg.Go(func() {
			if r := sess.Call("/echo", strings.Repeat("x", 700), nil).Rerror(); r != nil {
				t.Error(r)
			}
		})
	}
	wg.Wait()
}
