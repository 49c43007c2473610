package secure_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/secure"
)

func TestEndToEndConformance(t *testing.T) {
	t.Run("enforced", func(t *testing.T) {
		tptest.RunPlugin(t, func() tp.Plugin { return secure.EndToEnd(keys(t, key(1, 'k'))) }, tptest.Paired())
	})
	t.Run("optional", func(t *testing.T) {
		tptest.RunPlugin(t, func() tp.Plugin { return secure.EndToEnd(keys(t, key(1, 'k')), secure.Optional()) })
	})
}

// parcel is a message on its way through the proxy.
type parcel struct {
	method string
	body   []byte
	codec  byte
	meta   []byte
}

// route is a client, a proxy without the plugin, and a server.
type route struct {
	sess    tp.Session // of the client, to the proxy
	back    tp.Session // of the proxy, to the server
	pushed  chan string
	passed  []parcel                                            // calls and pushes
	replies []parcel                                            // that have come from the server
	send    func(parcel) parcel                                 // changes what goes on
	reply   func(parcel) parcel                                 // changes what comes back
	forward func(p parcel, result any) (tp.CallCmd, *tp.Rerror) // of the proxy
}

// lower reroutes to lower-case names.
type lower struct{}

func (lower) Name() string { return "lower" }
func (lower) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror {
	ctx.ResetServiceMethod(strings.ToLower(ctx.ServiceMethod()))
	return nil
}

func newRoute(t *testing.T, srv, cli tp.Plugin) *route {
	t.Helper()
	w := &route{pushed: make(chan string, 100)}
	same := func(p parcel) parcel { return p }
	w.send, w.reply = same, same
	cfg := tp.PeerConfig{Network: tptest.NewNetwork().Register(t)}
	server := tptest.NewPeer(t, cfg, srv, lower{})
	tp.HandleCall(server, "/echo", func(_ tp.CallCtx, arg *string) (string, error) { return *arg, nil })
	tp.HandleCall(server, "/other", func(tp.CallCtx, *string) (string, error) { return "other", nil })
	tp.HandleCall(server, "/fail", func(tp.CallCtx, *string) (string, error) {
		return "", tp.NewRerror(4001, "teapot", "short").Err()
	})
	tp.HandlePush(server, "/note", func(_ tp.PushCtx, arg *string) error { w.pushed <- *arg; return nil })

	proxy := tptest.NewPeer(t, cfg)
	settings := func(p parcel) []tp.MessageSetting {
		return []tp.MessageSetting{tp.WithBodyCodec(p.codec), func(m tp.Message) { m.Meta().ParseBytes(p.meta) }}
	}
	w.forward = func(p parcel, result any) (tp.CallCmd, *tp.Rerror) {
		cmd := w.back.Call(p.method, p.body, result, settings(p)...)
		return cmd, cmd.Rerror()
	}
	take := func(ctx tp.UnknownPushCtx) parcel {
		p := parcel{ctx.ServiceMethod(), bytes.Clone(ctx.InputBodyBytes()), ctx.GetBodyCodec(), ctx.CopyMeta().AppendBytes(nil)}
		w.passed = append(w.passed, p)
		return w.send(p)
	}
	proxy.SetUnknownCall(func(ctx tp.UnknownCallCtx) (any, *tp.Rerror) {
		var body []byte
		cmd, r := w.forward(take(ctx), &body)
		if r != nil {
			return nil, r
		}
		p := parcel{"", body, cmd.InputBodyCodec(), cmd.InputMeta().AppendBytes(nil)}
		w.replies = append(w.replies, p)
		p = w.reply(p)
		var meta tp.Meta
		meta.ParseBytes(p.meta)
		meta.VisitAll(func(k, v []byte) { ctx.SetMeta(string(k), string(v)) })
		ctx.SetBodyCodec(p.codec)
		return p.body, nil
	})
	proxy.SetUnknownPush(func(ctx tp.UnknownPushCtx) *tp.Rerror {
		p := take(ctx)
		return w.back.Push(p.method, p.body, settings(p)...)
	})
	w.back = tptest.Dial(t, proxy, tptest.Listen(t, server))
	w.sess = tptest.Dial(t, tptest.NewPeer(t, cfg, cli), tptest.Listen(t, proxy))
	return w
}

// newEnds has both ends seal what asks for it.
func newEnds(t *testing.T, opts ...secure.Option) *route {
	t.Helper()
	opts = append(opts, secure.Optional())
	return newRoute(t, secure.EndToEnd(keys(t, key(1, 'k')), opts...), secure.EndToEnd(keys(t, key(1, 'k')), opts...))
}

func (w *route) call(method string, set ...tp.MessageSetting) (string, *tp.Rerror) {
	var got string
	r := w.sess.Call(method, secret, &got, append(set, secure.WithSecureEndMeta())...).Rerror()
	return got, r
}

func (w *route) works(t *testing.T) {
	t.Helper()
	if got, r := w.call("/echo"); r != nil || got != secret {
		t.Errorf("a call replied %q, %s", got, r)
	}
}

func (w *route) refused(t *testing.T, what string, r *tp.Rerror, why error) {
	t.Helper()
	if r == nil || r.Code != tp.CodeBadMessage || !strings.Contains(r.Reason, why.Error()) {
		t.Errorf("%s: error %s; want 400, %v", what, r, why)
	}
}

func TestEndToEndThroughProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newEnds(t)
		w.works(t)
		if got, r := w.call("/ECHO?x=1"); r != nil || got != secret {
			t.Errorf("a rerouted call replied %q, %s", got, r)
		}
		if _, r := w.call("/fail"); r == nil || r.Code != 4001 {
			t.Errorf("a handler's error: %s; want 4001", r)
		}
		if r := w.sess.Push("/note", secret, secure.WithSecureEndMeta()); r != nil {
			t.Fatal(r)
		}
		if got := <-w.pushed; got != secret {
			t.Errorf("pushed %q", got)
		}
		for _, p := range append(w.passed, w.replies...) {
			if len(p.body) == 0 || bytes.Contains(p.body, []byte(secret)) {
				t.Errorf("the proxy has seen %q", p.body)
			}
		}
		var got string
		cmd := w.sess.Call("/echo", secret, &got)
		if cmd.Rerror() != nil || got != secret || !bytes.Contains(w.passed[len(w.passed)-1].body, []byte(secret)) {
			t.Errorf("a plain call replied %q, %s", got, cmd.Rerror())
		}
		// A plain call with the context of a sealed one is a plain call.
		sealed := w.sess.Call("/echo", secret, nil, secure.WithSecureEndMeta())
		if r := w.sess.Call("/echo", secret, nil, tp.WithContext(sealed.Context())).Rerror(); r != nil {
			t.Errorf("a plain call behind it: %s", r)
		}
	})
}

func TestEndToEndEnforced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newRoute(t, secure.EndToEnd(keys(t, key(1, 'k'))), secure.EndToEnd(keys(t, key(1, 'k')), secure.Optional()))
		w.works(t)
		w.refused(t, "plain call", w.sess.Call("/echo", secret, nil).Rerror(), secure.ErrPlain)
		w.sess.Push("/note", secret)
		synctest.Wait()
		if len(w.pushed) > 0 {
			t.Error("a plain push was handled")
		}
		w.works(t)
	})
}

// The proxy is the enemy.
func TestEndToEndAttacks(t *testing.T) {
	same := func(p parcel) parcel { return p }
	synctest.Test(t, func(t *testing.T) {
		w := newEnds(t)
		w.send = func(p parcel) parcel { p.method = "/other"; return p }
		_, r := w.call("/echo")
		w.refused(t, "another method", r, secure.ErrAltered)
		for n := range 3 {
			w.send = func(p parcel) parcel { p.body = p.body[:n*30]; return p }
			_, r = w.call("/echo")
			w.refused(t, "cut to "+strconv.Itoa(n*30), r, map[bool]error{true: secure.ErrTruncated, false: secure.ErrAltered}[n < 2])
		}
		w.send = func(p parcel) parcel { p.codec = 's'; return p } // the sealed one counts
		w.works(t)
		w.send = same

		first := w.passed[len(w.passed)-1]
		_, r = w.forward(first, nil)
		w.refused(t, "replayed call", r, secure.ErrReplayed)
		w.sess.Push("/note", secret, secure.WithSecureEndMeta())
		<-w.pushed
		w.back.Push("/note", w.passed[len(w.passed)-1].body, secure.WithSecureEndMeta())
		synctest.Wait()
		if len(w.pushed) > 0 {
			t.Error("a replayed push was handled")
		}
		_, r = w.forward(parcel{"/note", w.passed[len(w.passed)-1].body, 'j', first.meta}, nil)
		if r == nil {
			t.Error("a push was taken as a call")
		}

		old := w.replies[len(w.replies)-1]
		w.reply = func(p parcel) parcel { return old }
		_, r = w.call("/echo")
		w.refused(t, "the reply to another call", r, secure.ErrReplayed)
		w.reply = func(p parcel) parcel { p.meta, p.body = nil, []byte(`"forged"`); return p }
		_, r = w.call("/echo")
		w.refused(t, "plain reply", r, secure.ErrPlain)
		w.reply = func(p parcel) parcel { p.body = w.passed[len(w.passed)-1].body; return p }
		_, r = w.call("/echo")
		w.refused(t, "the call as its reply", r, secure.ErrAltered)
		w.reply = func(p parcel) parcel { return old }
		w.refused(t, "sealed reply to a plain call", w.sess.Call("/echo", secret, nil).Rerror(), secure.ErrAltered)
		w.reply = same
		w.works(t)
	})
}

func TestEndToEndTime(t *testing.T) {
	for _, test := range []struct {
		name  string
		opts  []secure.Option
		delay time.Duration
		late  bool
	}{
		{"in time", nil, 59 * time.Second, false},
		{"too late", nil, 61 * time.Second, true},
		{"longer window", []secure.Option{secure.Window(time.Hour)}, 59 * time.Minute, false},
		{"longer window, too late", []secure.Option{secure.Window(time.Hour)}, 61 * time.Minute, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newEnds(t, test.opts...)
				w.send = func(p parcel) parcel { time.Sleep(test.delay); return p }
				got, r := w.call("/echo")
				if test.late {
					w.refused(t, "late call", r, secure.ErrReplayed)
				} else if r != nil || got != secret {
					t.Errorf("the call replied %q, %s", got, r)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newEnds(t)
		w.works(t)
		taken := w.passed[0]
		time.Sleep(time.Second)
		w = newEnds(t) // begun anew: what was before it does not know
		_, r := w.forward(taken, nil)
		w.refused(t, "replayed to the next process", r, secure.ErrReplayed)
		w.works(t)
	})
}

func TestEndToEndKeysAndMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newRoute(t, secure.EndToEnd(keys(t, key(1, 'k'))), secure.EndToEnd(keys(t, key(1, 'x'))))
		_, r := w.call("/echo")
		w.refused(t, "wrong key", r, secure.ErrAltered)
		w = newRoute(t, secure.EndToEnd(keys(t, key(1, 'k'))), secure.EndToEnd(keys(t, key(2, 'k'))))
		_, r = w.call("/echo")
		w.refused(t, "unknown key", r, secure.ErrKey)

		w = newEnds(t)
		many := func(m tp.Message) {
			for i := range 1000 {
				m.Meta().Add("k"+strconv.Itoa(i), "v")
				m.Meta().Add(secure.MetaSecureEnd, "false")
			}
		}
		for i, set := range []tp.MessageSetting{many, tp.WithSetMeta(secure.MetaSecureEnd, strings.Repeat("true", 16<<10))} {
			var got string
			if r := w.sess.Call("/echo", secret, &got, set).Rerror(); r != nil || got != secret {
				t.Errorf("call %d replied %q, %s", i, got, r)
			}
			if got, r := w.call("/echo", set); r != nil || got != secret {
				t.Errorf("sealed call %d replied %q, %s", i, got, r)
			}
		}
		w.send = func(p parcel) parcel { p.body = []byte(`"plain"`); return p }
		_, r = w.call("/echo")
		w.refused(t, "plain body marked as sealed", r, secure.ErrTruncated)
	})
}

// Both at once: from end to end inside of the hop.
func TestEndToEndOverHop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hop, end := keys(t, key(1, 'h')), keys(t, key(1, 'e'))
		w := newWorld(t, plugins(secure.New(hop), secure.EndToEnd(end)),
			plugins(secure.New(hop), secure.EndToEnd(end)))
		for range 3 {
			if got, r := w.call(t, "/echo"); r != nil || got != secret {
				t.Errorf("the call replied %q, %s", got, r)
			}
			w.net.Find(w.sess.LocalAddr().String()).Cut()
			synctest.Wait()
		}
	})
}
