package auth_test

import (
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/auth"
)

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("WARN")
	os.Exit(m.Run())
}

// bearer sends the token, and puts the answer into ret.
func bearer(token string, ret *string) *auth.BearerPlugin {
	return auth.NewBearerPlugin(func(_ auth.Session, send auth.SendOnce) *tp.Rerror { return send(token, ret) })
}

var refusal = tp.NewRerror(1403, "not you", "“a” & b")

// checker accepts the token "open", with the answer "welcome".
func checker() *auth.CheckerPlugin {
	return auth.NewCheckerPlugin(func(_ auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
		var token string
		if r := recv(&token); r != nil {
			return nil, r
		}
		if token != "open" {
			return nil, refusal
		}
		return "welcome", nil
	})
}

func TestConformance(t *testing.T) {
	tptest.RunPlugin(t, func() tp.Plugin { return checker() },
		tptest.DialSide(func() tp.Plugin { return bearer("open", new(string)) }))
}

func TestNames(t *testing.T) {
	for _, test := range []struct {
		got  tp.Plugin
		want string
	}{{bearer("", nil), "auth-bearer"}, {checker(), "auth-checker"}} {
		if got := test.got.Name(); got != test.want {
			t.Errorf("Name() = %q; want %q", got, test.want)
		}
	}
}

// hook is a plugin made of functions.
type hook struct {
	dial, accept func(tp.PreSession) *tp.Rerror
}

func (hook) Name() string { return "hook" }

func (h hook) PostDial(s tp.PreSession) *tp.Rerror {
	if h.dial == nil {
		return nil
	}
	return h.dial(s)
}

func (h hook) PostAccept(s tp.PreSession) *tp.Rerror {
	if h.accept == nil {
		return nil
	}
	return h.accept(s)
}

// ends are a peer that checks and one that dials it.
type ends struct {
	net      *tptest.Network
	srv, cli tp.Peer
	addr     string
	handled  atomic.Int32 // messages of the client
	log      tptest.Lines // of both
}

func newEnds(t *testing.T, server, client tp.Plugin) *ends {
	e := &ends{net: tptest.NewNetwork()}
	cfg := tp.PeerConfig{Network: e.net.Register(t), HandshakeTimeout: patience(server), Logger: e.log.Logger()}
	e.srv = tptest.NewPeer(t, cfg, server)
	tp.HandleCall(e.srv, "/who", func(ctx tp.CallCtx, _ *string) (string, error) {
		e.handled.Add(1)
		who, _ := ctx.Session().Swap().Load("who")
		name, _ := who.(string)
		return name + " " + ctx.Session().ID(), nil
	})
	tp.HandlePush(e.srv, "/note", func(tp.PushCtx, *string) error { e.handled.Add(1); return nil })
	cfg.RedialTimes = 3
	cfg.HandshakeTimeout = patience(client)
	e.cli = tptest.NewPeer(t, cfg, client)
	e.addr = tptest.Listen(t, e.srv)
	return e
}

// patience is how long the hooks of a connection may take: a test's own have more
// than the default, so that it is the other side's plugin that ends the wait.
func patience(p tp.Plugin) time.Duration {
	if _, ok := p.(hook); ok {
		return time.Minute
	}
	return 0
}

// bubble runs f in one; nothing may be left behind.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tptest.LeakCheck(t)
			f(t)
		})
	})
}

func wantRerror(t *testing.T, what string, got, want *tp.Rerror) {
	t.Helper()
	if got == nil || got.String() != want.String() {
		t.Errorf("%s: %s; want %s", what, got, want)
	}
}

func TestLetIn(t *testing.T) {
	bubble(t, "both sides", func(t *testing.T) {
		ret := ""
		var e *ends
		e = newEnds(t, auth.NewCheckerPlugin(func(sess auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
			var name string
			if r := recv(&name); r != nil {
				return nil, r
			}
			if sess.Peer() != e.srv || sess.LocalAddr().String() != e.addr || sess.RemoteAddr() == nil {
				t.Errorf("the checker sees %v, %v, %v", sess.Peer(), sess.LocalAddr(), sess.RemoteAddr())
			}
			sess.SetID("id of " + name)
			sess.Swap().Store("who", name)
			return "welcome " + name, nil
		}), auth.NewBearerPlugin(func(sess auth.Session, send auth.SendOnce) *tp.Rerror {
			if sess.Peer() != e.cli || sess.RemoteAddr().String() != e.addr || sess.LocalAddr() == nil {
				t.Errorf("the bearer sees %v, %v, %v", sess.Peer(), sess.LocalAddr(), sess.RemoteAddr())
			}
			return send("ann", &ret)
		}))
		sess := tptest.Dial(t, e.cli, e.addr)
		for i := range 3 {
			var who string
			if r := sess.Call("/who", "", &who).Rerror(); r != nil || who != "ann id of ann" {
				t.Errorf("after %d redials: the handler sees %q, %s", i, who, r)
			}
			if ret != "welcome ann" {
				t.Errorf("after %d redials: the bearer got %q", i, ret)
			}
			ret = ""
			e.net.Find(sess.LocalAddr().String()).Cut()
			synctest.Wait() // the break is noticed; the next call waits for the redial
		}
	})
	bubble(t, "nobody asks, and nothing is shown", func(t *testing.T) {
		e := newEnds(t, hook{}, auth.NewBearerPlugin(func(auth.Session, auth.SendOnce) *tp.Rerror { return nil }))
		if r := tptest.Dial(t, e.cli, e.addr).Call("/who", "", nil).Rerror(); r != nil {
			t.Error(r)
		}
	})
	bubble(t, "the checker does not look, nor the bearer", func(t *testing.T) {
		e := newEnds(t, auth.NewCheckerPlugin(func(auth.Session, auth.RecvOnce) (any, *tp.Rerror) { return "x", nil }),
			auth.NewBearerPlugin(func(_ auth.Session, send auth.SendOnce) *tp.Rerror { return send(nil, nil) }))
		if r := tptest.Dial(t, e.cli, e.addr).Call("/who", "", nil).Rerror(); r != nil {
			t.Error(r)
		}
	})
}

func TestRefused(t *testing.T) {
	ignores := func(_ auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) { recv(new(string)); return "x", nil }
	for _, test := range []struct {
		name           string
		server, client tp.Plugin
		want           *tp.Rerror
	}{
		{"by the checker", checker(), bearer("shut", new(string)), refusal},
		{"the bearer does not return the error", checker(),
			auth.NewBearerPlugin(func(_ auth.Session, send auth.SendOnce) *tp.Rerror { send("shut", nil); return nil }), refusal},
		{"the checker does not look",
			auth.NewCheckerPlugin(func(auth.Session, auth.RecvOnce) (any, *tp.Rerror) { return nil, refusal }),
			bearer("open", new(string)), refusal},
		{"info of another type", checker(),
			auth.NewBearerPlugin(func(_ auth.Session, send auth.SendOnce) *tp.Rerror { return send([]int{1}, nil) }),
			tp.NewRerror(tp.CodeBadMessage, "Bad Message", "testwire: 400 Bad Message: json: cannot unmarshal array into Go value of type string")},
		{"the checker does not return the error", auth.NewCheckerPlugin(ignores),
			auth.NewBearerPlugin(func(_ auth.Session, send auth.SendOnce) *tp.Rerror { return send(1, nil) }),
			tp.NewRerror(tp.CodeBadMessage, "Bad Message", "testwire: 400 Bad Message: json: cannot unmarshal number into Go value of type string")},
		{"ret cannot be sent",
			auth.NewCheckerPlugin(func(auth.Session, auth.RecvOnce) (any, *tp.Rerror) { return func() {}, nil }),
			bearer("open", new(string)),
			tp.NewRerror(tp.CodeInternalServerError, "Internal Server Error", "json: unsupported type: func()")},
		{"info cannot be sent", checker(),
			auth.NewBearerPlugin(func(_ auth.Session, send auth.SendOnce) *tp.Rerror { return send(func() {}, nil) }),
			tp.NewRerror(tp.CodeWriteFailed, "Write Failed", "json: unsupported type: func()")},
		{"sends twice", checker(),
			auth.NewBearerPlugin(func(_ auth.Session, send auth.SendOnce) *tp.Rerror {
				if r := send("open", nil); r != nil {
					return r
				}
				return send("open", nil)
			}), auth.MultiSendErr},
		{"receives twice",
			auth.NewCheckerPlugin(func(_ auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
				if r := recv(new(string)); r != nil {
					return nil, r
				}
				return "", recv(new(string))
			}), bearer("open", new(string)), auth.MultiRecvErr},
		{"another message in place of the answer",
			hook{accept: func(s tp.PreSession) *tp.Rerror { return s.RawPush("/note", "hi") }}, bearer("open", new(string)),
			tp.NewRerror(tp.CodeUnauthorized, "Unauthorized", "auth message(1st) expect: AUTH_REPLY, but received: PUSH")},
	} {
		bubble(t, test.name, func(t *testing.T) {
			e := newEnds(t, test.server, test.client)
			sess, r := e.cli.Dial(e.addr)
			if sess != nil {
				t.Error("there is a session")
			}
			wantRerror(t, "Dial", r, test.want)
			synctest.Wait()
			if n := e.net.Conns(); n > 0 || e.srv.CountSession() > 0 || e.cli.CountSession() > 0 {
				t.Errorf("%d connections, %d and %d sessions are left", n, e.srv.CountSession(), e.cli.CountSession())
			}
			if lines := e.log.Errors(); len(lines) > 0 {
				t.Errorf("logged: %q", lines)
			}
		})
	}
}

// Another message comes first: the peer gets the reason of the refusal.
func TestWrongFirstMessage(t *testing.T) {
	for _, test := range []struct {
		name         string
		sent, answer byte
	}{
		{"CALL", tp.TypeCall, tp.TypeReply}, // so that a caller without the plugin knows
		{"PUSH", tp.TypePush, tp.TypeAuthReply},
		{"REPLY", tp.TypeReply, tp.TypeAuthReply},
		{"AUTH_REPLY", tp.TypeAuthReply, tp.TypeAuthReply},
	} {
		bubble(t, test.name, func(t *testing.T) {
			e := newEnds(t, checker(), hook{dial: func(s tp.PreSession) *tp.Rerror {
				s.PreSend(tp.TypeUndefined, "", nil, nil, tp.WithMtype(test.sent), tp.WithServiceMethod("/who"))
				m := s.PreReceive(func(tp.Header) any { return nil })
				wantRerror(t, "the answer", m.Rerror(), tp.NewRerror(tp.CodeUnauthorized, "Unauthorized",
					"auth message(1st) expect: AUTH_CALL, but received: "+test.name))
				if m.Mtype() != test.answer || m.Seq() != 1 {
					t.Errorf("the answer is %s %d; want %s 1", tp.TypeText(m.Mtype()), m.Seq(), tp.TypeText(test.answer))
				}
				wantClosed(t, s)
				return refusal
			}})
			e.cli.Dial(e.addr)
			if n := e.handled.Load(); n != 0 {
				t.Errorf("%d messages were handled", n)
			}
		})
	}
	bubble(t, "a call by a peer without the plugin", func(t *testing.T) {
		e := newEnds(t, checker(), hook{})
		sess := tptest.Dial(t, e.cli, e.addr)
		wantRerror(t, "the call", sess.Call("/who", "", nil).Rerror(),
			tp.NewRerror(tp.CodeUnauthorized, "Unauthorized", "auth message(1st) expect: AUTH_CALL, but received: CALL"))
		if n := e.handled.Load(); n != 0 {
			t.Errorf("%d messages were handled", n)
		}
	})
	bubble(t, "a codec that nobody knows", func(t *testing.T) {
		e := newEnds(t, checker(), hook{dial: func(s tp.PreSession) *tp.Rerror {
			s.PreSend(tp.TypeAuthCall, "", []byte("x"), nil, tp.WithBodyCodec(77))
			m := s.PreReceive(func(tp.Header) any { return nil })
			if r := m.Rerror(); m.Mtype() != tp.TypeAuthReply || r == nil || r.Code != tp.CodeBadMessage {
				t.Errorf("the answer is %s, %s; want AUTH_REPLY, 400", tp.TypeText(m.Mtype()), r)
			}
			return refusal
		}})
		e.cli.Dial(e.addr)
	})
}

func wantClosed(t *testing.T, s tp.PreSession) {
	t.Helper()
	if _, r := s.Receive(func(tp.Header) any { return nil }); r == nil || r.Code != tp.CodeConnClosed {
		t.Errorf("after the refusal the connection gives %s; want 102", r)
	}
}

// The other side has no plugin: Dial says so at once.
func TestNobodyChecks(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		e := newEnds(t, hook{}, bearer("open", new(string)))
		begun := time.Now()
		_, r := e.cli.Dial(e.addr)
		wantRerror(t, "Dial", r, tp.NewRerror(tp.CodeMtypeNotAllowed, "Message Type Not Allowed",
			"AUTH_CALL: this peer asks for no authentication, or has finished it"))
		if d := time.Since(begun); d >= auth.DefaultTimeout {
			t.Errorf("Dial took %v", d)
		}
	})
}

// What the messages are made of; the protocols' own tests have the bytes of both.
func TestFields(t *testing.T) {
	info := func(s tp.PreSession, mtype byte) tp.Message {
		m := s.PreReceive(func(tp.Header) any { return new(string) })
		if m.Mtype() != mtype || m.Seq() != 1 || m.ServiceMethod() != "" || m.Meta().Len() != 0 || m.XferPipe().Len() != 0 {
			t.Errorf("%s: got %s, seq %d, method %q, meta %q", tp.TypeText(mtype), tp.TypeText(m.Mtype()), m.Seq(), m.ServiceMethod(), m.Meta())
		}
		return m
	}
	const text = 251 // tptest's codec of plain text
	bubble(t, "AUTH_CALL", func(t *testing.T) {
		e := newEnds(t, hook{accept: func(s tp.PreSession) *tp.Rerror {
			m := info(s, tp.TypeAuthCall)
			if m.BodyCodec() != text || *m.Body().(*string) != "tok" {
				t.Errorf("AUTH_CALL: codec %d, %v", m.BodyCodec(), m.Body())
			}
			return s.PreReply(m, "pass", nil)
		}}, auth.NewBearerPlugin(func(_ auth.Session, send auth.SendOnce) *tp.Rerror {
			ret := ""
			r := send("tok", &ret)
			if ret != "pass" {
				t.Errorf("the bearer got %q", ret)
			}
			return r
		}, tp.WithBodyCodec(text)))
		tptest.Dial(t, e.cli, e.addr)
	})
	for _, test := range []struct {
		name    string
		setting []tp.MessageSetting
		want    byte
	}{{"AUTH_REPLY", nil, 250}, {"AUTH_REPLY with a codec", []tp.MessageSetting{tp.WithBodyCodec(text)}, text}} {
		bubble(t, test.name, func(t *testing.T) {
			e := newEnds(t, auth.NewCheckerPlugin(func(_ auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
				return "pass", recv(new(string))
			}, test.setting...), hook{dial: func(s tp.PreSession) *tp.Rerror {
				if r := s.PreSend(tp.TypeAuthCall, "", "tok", nil, tp.WithBodyCodec(text)); r != nil {
					return r
				}
				if m := info(s, tp.TypeAuthReply); m.BodyCodec() != test.want || *m.Body().(*string) != "pass" {
					t.Errorf("codec %d, %v; want %d", m.BodyCodec(), m.Body(), test.want)
				}
				return nil
			}})
			tptest.Dial(t, e.cli, e.addr)
		})
	}
}
