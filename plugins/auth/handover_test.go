package auth_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/auth"
)

// What the Checker has granted moves with the session: nobody is asked again, and the
// bounds hold in the new process.
func TestSessionMoves(t *testing.T) {
	asked, without := 0, false
	until := time.Now().Add(time.Hour)
	server := func(cfg tp.PeerConfig) (tp.Peer, error) {
		var plugins []tp.Plugin
		if !without {
			plugins = append(plugins, auth.NewCheckerPlugin(func(sess auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
				asked++
				var name string
				if r := recv(&name); r.HasError() {
					return nil, r
				}
				sess.SetID("id of " + name)
				return auth.Grant{Until: until, Routes: []string{"/a/", "/b"}, Claims: map[string]string{"name": name}}, nil
			}))
		}
		p, err := tp.Open(cfg, plugins...)
		if err != nil {
			return nil, err
		}
		for _, path := range []string{"/a/x", "/b", "/c"} {
			tp.HandleCall(p, path, func(ctx tp.CallCtx, _ *string) (string, error) {
				g, _ := auth.GrantOf(ctx)
				return g.Claims["name"] + ctx.Session().ID(), nil
			})
		}
		return p, nil
	}
	r := tptest.NewRebooted(t, tp.PeerConfig{}, server, func(cfg tp.PeerConfig) (tp.Peer, error) {
		return tp.Open(cfg, auth.NewBearerPlugin(func(_ auth.Session, send auth.SendOnce) *tp.Rerror { return send("ann", nil) }))
	})
	call := func(path string, code int32) {
		t.Helper()
		got, err := tp.Invoke[string](context.Background(), r.Session, path, "")
		if tp.Code(err) != code || code == 0 && got != "annid of ann" {
			t.Errorf("%s = %q, %v; want code %d", path, got, err, code)
		}
	}
	first := r.Accepted
	r.Reboot()
	call("/a/x", 0)
	call("/b", 0)
	call("/c", tp.CodeForbidden)
	if g, ok := auth.GrantOf(r.Accepted); !ok || !g.Until.Equal(until) {
		t.Errorf("the Grant is %+v, %v; want that until %v", g, ok, until)
	}
	if err := auth.Narrow(first, "/b"); !errors.Is(err, tp.ErrHandedOver) {
		t.Errorf("Narrow in the old process: %v; want %v", err, tp.ErrHandedOver)
	}
	if err := auth.Narrow(r.Accepted, "/b"); err != nil {
		t.Fatal(err)
	}
	r.Reboot()
	call("/a/x", tp.CodeForbidden)
	call("/b", 0)
	if asked != 1 {
		t.Errorf("the Checker was asked %d times; want once", asked)
	}
	without = true
	if err := r.TryReboot(); err == nil || !strings.Contains(err.Error(), `there is no plugin "auth-checker" here`) {
		t.Errorf("a process without the plugin has taken the session: %v", err)
	}
	call("/b", 0)
}

// A process that checks does not take a session that nobody has checked.
func TestUncheckedSessionStays(t *testing.T) {
	checks := false
	server := func(cfg tp.PeerConfig) (tp.Peer, error) {
		if !checks {
			checks = true
			return tp.Open(cfg)
		}
		return tp.Open(cfg, auth.NewCheckerPlugin(func(auth.Session, auth.RecvOnce) (any, *tp.Rerror) { return nil, nil }))
	}
	r := tptest.NewRebooted(t, tp.PeerConfig{}, server, func(cfg tp.PeerConfig) (tp.Peer, error) { return tp.Open(cfg) })
	if err := r.TryReboot(); err == nil || !strings.Contains(err.Error(), "plugin auth-checker has not accepted it in the old process") {
		t.Errorf("it has moved: %v", err)
	}
}
