package securelegacy_test

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
	"github.com/teleport-go/teleport/plugins/securelegacy"
)

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("OFF")
	m.Run()
}

func newPlugin(t testing.TB, opts ...securelegacy.Option) tp.Plugin {
	t.Helper()
	p, err := securelegacy.New("cipherkey1234567", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestConformance(t *testing.T) {
	t.Run("asked for", func(t *testing.T) {
		tptest.RunPlugin(t, func() tp.Plugin { return newPlugin(t) })
	})
	t.Run("enforced", func(t *testing.T) {
		tptest.RunPlugin(t, func() tp.Plugin { return newPlugin(t, securelegacy.Enforce()) }, tptest.Paired())
	})
}

const secret = "the secret that must not be seen"

// pair is two peers in one session.
type pair struct {
	sess   tp.Session
	pushed chan string
	tap    *tap
}

// newPair gives each peer a plugin; nil is none.
func newPair(t *testing.T, server, client tp.Plugin) *pair {
	t.Helper()
	w := &pair{pushed: make(chan string, 10), tap: new(tap)}
	cfg := tp.PeerConfig{Network: tptest.NewNetwork().Register(t)}
	var ofServer []tp.Plugin
	ofClient := []tp.Plugin{w.tap}
	if server != nil {
		ofServer = append(ofServer, server)
	}
	if client != nil {
		ofClient = append(ofClient, client)
	}
	srv := tptest.NewPeer(t, cfg, ofServer...)
	tp.HandleCall(srv, "/echo", func(_ tp.CallCtx, arg *string) (string, error) { return *arg, nil })
	tp.HandleCall(srv, "/sealed", func(ctx tp.CallCtx, arg *string) (string, error) {
		securelegacy.EnforceSecure(ctx.Output())
		return *arg, nil
	})
	tp.HandleCall(srv, "/fail", func(tp.CallCtx, *string) (string, error) {
		return "", tp.NewRerror(4001, "teapot", "short").Err()
	})
	tp.HandlePush(srv, "/note", func(_ tp.PushCtx, arg *string) error { w.pushed <- *arg; return nil })
	w.sess = tptest.Dial(t, tptest.NewPeer(t, cfg, ofClient...), tptest.Listen(t, srv))
	return w
}

func (w *pair) call(method string, set ...tp.MessageSetting) (string, *tp.Rerror) {
	var got string
	r := w.sess.Call(method, secret, &got, set...).Rerror()
	return got, r
}

// refused checks an error that names why, and that the session is still there.
func (w *pair) refused(t *testing.T, r *tp.Rerror, code int32, why string) {
	t.Helper()
	if r == nil || r.Code != code || !strings.Contains(r.Reason, why) {
		t.Errorf("error %s; want %d, %s", r, code, why)
	}
	if !w.sess.Health() {
		t.Errorf("the session has ended: %v", w.sess.CloseReason())
	}
}

// tap keeps what goes over the dialled connection.
type tap struct {
	mu        sync.Mutex // guards what follows
	sent, got []byte
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
	c.p.sent = append(c.p.sent, b...)
	c.p.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *tapped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	c.p.got = append(c.p.got, b[:n]...)
	return n, err
}

// seen reports whether the secret was sent or received in clear since the last call.
func (p *tap) seen() (sent, got bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sent, got = bytes.Contains(p.sent, []byte(secret)), bytes.Contains(p.got, []byte(secret))
	p.sent, p.got = nil, nil
	return sent, got
}

func TestWhatIsEncrypted(t *testing.T) {
	accept, sealed := securelegacy.WithAcceptSecureMeta, securelegacy.WithSecureMeta
	enforce := []securelegacy.Option{securelegacy.Enforce()}
	for _, test := range []struct {
		name        string
		opts        []securelegacy.Option
		method      string
		set         []tp.MessageSetting
		call, reply bool // plain
	}{
		{"nothing asked", nil, "/echo", nil, true, true},
		{"encrypted call", nil, "/echo", []tp.MessageSetting{sealed()}, false, false},
		{"encrypted call, plain reply", nil, "/echo", []tp.MessageSetting{sealed(), accept(false)}, false, true},
		{"plain call, encrypted reply", nil, "/echo", []tp.MessageSetting{accept(true)}, true, false},
		{"handler encrypts", nil, "/sealed", nil, true, false},
		{"handler encrypts, not wanted", nil, "/sealed", []tp.MessageSetting{accept(false)}, true, false},
		{"another value", nil, "/echo", []tp.MessageSetting{tp.WithSetMeta(securelegacy.MetaSecure, "yes")}, true, true},
		{"enforced", enforce, "/echo", nil, false, false},
		{"enforced, not wanted", enforce, "/echo", []tp.MessageSetting{accept(false)}, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newPair(t, newPlugin(t, test.opts...), newPlugin(t, test.opts...))
				if got, r := w.call(test.method, test.set...); r != nil || got != secret {
					t.Errorf("the call replied %q, %s", got, r)
				}
				if call, reply := w.tap.seen(); call != test.call || reply != test.reply {
					t.Errorf("plain call %t, plain reply %t; want %t, %t", call, reply, test.call, test.reply)
				}
				if _, r := w.call("/fail", test.set...); r == nil || r.Code != 4001 || r.Reason != "short" {
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

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPair(t, newPlugin(t, securelegacy.Enforce(), securelegacy.Code(4999)), nil)
		_, r := w.call("/echo")
		w.refused(t, r, 4999, securelegacy.ErrPlain.Error())

		other, err := securelegacy.New("another key that is 32 bytes lon")
		if err != nil {
			t.Fatal(err)
		}
		w = newPair(t, newPlugin(t), other)
		_, r = w.call("/echo", securelegacy.WithSecureMeta())
		w.refused(t, r, tp.CodeBadMessage, "inconsistent encryption version, get:")
		cmd := w.sess.Call("/echo", secret, nil, securelegacy.WithAcceptSecureMeta(true))
		if r := cmd.Rerror(); r == nil || !errors.Is(r.Err(), securelegacy.ErrKey) {
			t.Errorf("a reply under another key: %s; want %v", r, securelegacy.ErrKey)
		}

		w = newPair(t, newPlugin(t), nil)
		_, r = w.call("/echo", securelegacy.WithSecureMeta())
		w.refused(t, r, tp.CodeBadMessage, "") // marked as encrypted, and plain
	})
}

func TestHostileMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		many := func(m tp.Message) {
			for i := range 1000 {
				m.Meta().Add("k"+strconv.Itoa(i), "v")
				m.Meta().Add(securelegacy.MetaSecure, "false")
				m.Meta().Add(securelegacy.MetaAcceptSecure, strconv.Itoa(i))
			}
		}
		long := tp.WithSetMeta(securelegacy.MetaSecure, strings.Repeat("true", 16<<10))
		w := newPair(t, newPlugin(t), newPlugin(t))
		for i, set := range [][]tp.MessageSetting{{many}, {long}, {securelegacy.WithSecureMeta(), many}, {many, securelegacy.WithSecureMeta()}} {
			if got, r := w.call("/echo", set...); r != nil || got != secret {
				t.Errorf("call %d replied %q, %s", i, got, r)
			}
		}
	})
}

func TestSizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPair(t, newPlugin(t, securelegacy.Enforce()), newPlugin(t, securelegacy.Enforce()))
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

func TestBadKeys(t *testing.T) {
	for _, n := range []int{0, 1, 15, 17, 33, 64} {
		key := strings.Repeat("x", n)
		if _, err := securelegacy.New(key); err == nil {
			t.Errorf("New with %d bytes: no error", n)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("NewPlugin with %d bytes: no panic", n)
				}
			}()
			securelegacy.NewPlugin(4111, key)
		}()
	}
}
