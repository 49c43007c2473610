package tp

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// authPlugin answers AUTH_CALLs with f, and counts the other hooks that run.
type authPlugin struct {
	everyHook
	f func(AuthCallCtx) (any, *Rerror)
}

func (authPlugin) Name() string { return "auth" }

func (p *authPlugin) AuthCall(ctx AuthCallCtx) (any, *Rerror) { return p.f(ctx) }

func newAuthPlugin(hooked *atomic.Int32, f func(AuthCallCtx) (any, *Rerror)) *authPlugin {
	return &authPlugin{everyHook{func(string) { hooked.Add(1) }}, f}
}

func sendAuth(s *session, info string, ret any, set ...MessageSetting) CallCmd {
	return s.Call("", info, ret, append(set, WithMtype(TypeAuthCall))...)
}

// An AUTH_CALL on a ready session is answered by the plugin, in both directions, and no
// other hook of either side sees it.
func TestAuthCall(t *testing.T) {
	for _, side := range []string{"client", "server"} {
		t.Run("by the "+side, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				var hooked atomic.Int32
				plugin := newAuthPlugin(&hooked, func(ctx AuthCallCtx) (any, *Rerror) {
					var token string
					if _, err := ctx.Bind(&token); err != nil {
						return nil, badMessage(err)
					}
					if token != "good" {
						return nil, NewRerror(CodeForbidden, "no", token)
					}
					ctx.SetMeta("until", "tomorrow")
					return "welcome " + token, nil
				})
				for _, p := range []*peer{w.client, w.server} {
					p.PluginContainer().AppendLeft(plugin)
				}
				s, other := w.pair()
				if side == "server" {
					s = other
				}
				synctest.Wait()
				ret := ""
				cmd := sendAuth(s, "good", &ret)
				wantRerror(t, cmd.Rerror(), 0)
				if until := cmd.InputMeta().Peek("until"); ret != "welcome good" || string(until) != "tomorrow" {
					t.Errorf("the reply is %q, metadata %q", ret, until)
				}
				wantRerror(t, sendAuth(s, "bad", &ret).Rerror(), CodeForbidden, "bad")
				wantRerror(t, sendAuth(s, "bad", &ret, WithBodyCodec(99)).Rerror(), CodeWriteFailed, "99")
				if n := hooked.Load(); n != 0 {
					t.Errorf("%d hooks of messages ran; want none", n)
				}
				wantReply(t, s.Call("/echo", "y", new(string)), "y")
				if hooked.Load() == 0 {
					t.Error("no hook ran for a CALL: the test sees nothing")
				}
			})
		})
	}
}

// What else may happen to an AUTH_CALL: each has its answer, and the session lives.
func TestAuthCallRefused(t *testing.T) {
	stuck := make(chan struct{})
	defer close(stuck)
	for _, test := range []struct {
		name   string
		plugin func(AuthCallCtx) (any, *Rerror) // nil: none
		info   string
		code   int32
		words  string
	}{
		{"no plugin", nil, "x", CodeMtypeNotAllowed, "asks for no authentication"},
		{"a panic", func(AuthCallCtx) (any, *Rerror) { panic("on purpose") }, "x", CodeInternalServerError, "on purpose"},
		{"too large", func(AuthCallCtx) (any, *Rerror) { return "x", nil }, strings.Repeat("x", int(preparingLimit)), CodeBadMessage, "the limit is 65536"},
		{"a reply that cannot be encoded", func(AuthCallCtx) (any, *Rerror) { return func() {}, nil }, "x", CodeInternalServerError, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				w.server.PluginContainer().AppendLeft(
					&struct{ *PluginImpl }{&PluginImpl{PluginName: "embeds, and answers nothing"}}, // the next plugin does
					&PluginImpl{PluginName: "auth", OnAuthCall: test.plugin})
				c, s := w.pair()
				wantRerror(t, sendAuth(c, test.info, new(string)).Rerror(), test.code, test.words)
				wantReply(t, c.Call("/echo", "y", new(string)), "y")
				synctest.Wait()
				if n := s.work.running(); n != 0 {
					t.Errorf("%d handlers run; want none", n)
				}
			})
		})
	}
}

// An AUTH_CALL whose sender gives up ends the plugin's context, one that comes to a
// session that drains is refused, and one that runs is waited for.
func TestAuthCallEnds(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		contexts, release := make(chan context.Context, 10), make(chan struct{})
		w.server.PluginContainer().AppendLeft(&authPlugin{everyHook{func(string) {}}, func(ctx AuthCallCtx) (any, *Rerror) {
			c := ctx.Context()
			contexts <- c
			select {
			case <-c.Done():
			case <-release:
			}
			return "late", nil
		}})
		c, s := w.pair()
		ctx, cancel := context.WithCancel(t.Context())
		given := begin(func() CallCmd { return sendAuth(c, "x", new(string), WithContext(ctx)) })
		seen := <-contexts
		cancel()
		wantRerror(t, ended(t, given).v.Rerror(), CodeCanceled)
		wantGone(t, seen)

		ret := ""
		kept := begin(func() CallCmd { return sendAuth(c, "x", &ret) })
		<-contexts
		closing := begin(s.Close)
		synctest.Wait()
		r := sendAuth(c, "x", new(string)).Rerror()
		if wantRerror(t, r, CodeConnClosed); !errors.Is(r.Err(), ErrNotRun) {
			t.Errorf("the AUTH_CALL to a session that drains: %v; want one that has not run", r)
		}
		close(release)
		if wantRerror(t, ended(t, kept).v.Rerror(), 0); ret != "late" {
			t.Errorf("the AUTH_CALL that was under way got %q", ret)
		}
		ended(t, closing)
	})
}

// The reply to a CALL must be a REPLY, and that to an AUTH_CALL an AUTH_REPLY: a peer
// cannot evade the hooks of replies.
func TestAuthReplyOfAnotherType(t *testing.T) {
	for _, test := range []struct {
		name        string
		sent, reply byte
		code        int32
	}{
		{"AUTH_REPLY to a CALL", TypeCall, TypeAuthReply, CodeBadMessage},
		{"REPLY to an AUTH_CALL", TypeAuthCall, TypeReply, CodeBadMessage},
		{"AUTH_REPLY to an AUTH_CALL", TypeAuthCall, TypeAuthReply, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				s, end := w.serveRaw(w.server)
				ch := begin(func() CallCmd { return s.Call("/x", "y", new(string), WithMtype(test.sent)) })
				m := end.receive()
				if m.Mtype() != test.sent {
					t.Errorf("received %s; want %s", TypeText(m.Mtype()), TypeText(test.sent))
				}
				end.send(test.reply, m.Seq(), "", "z")
				wantRerror(t, ended(t, ch).v.Rerror(), test.code)
				wantReady(t, s)
			})
		})
	}
}

// The log has a line for either side, without the bodies.
func TestAuthCallLog(t *testing.T) {
	log := new(levelLines)
	inWorld(t, func(cfg *PeerConfig) { cfg.Logger, cfg.PrintDetail = log.logger(), true }, func(t *testing.T, w *world) {
		w.server.PluginContainer().AppendLeft(&authPlugin{everyHook{func(string) {}}, func(AuthCallCtx) (any, *Rerror) { return "hush-reply", nil }})
		c, _ := w.pair()
		wantRerror(t, sendAuth(c, "hush-token", new(string)).Rerror(), 0)
		pass(time.Millisecond)
		text := log.String()
		if strings.Contains(text, "hush") || !strings.Contains(text, "AUTH_CALL<-") || !strings.Contains(text, "AUTH_CALL->") {
			t.Errorf("the log has %s; want lines of AUTH_CALL<- and AUTH_CALL-> without the bodies", text)
		}
	})
}
