package auth_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/auth"
)

// What a Grant allows, for CALLs and PUSHes, with a route and without.
func TestRoutes(t *testing.T) {
	for _, test := range []struct {
		routes []string
		path   string
		want   bool
	}{
		{nil, "/who", true},
		{[]string{}, "/who", false},
		{[]string{"/who"}, "/who", true},
		{[]string{"/who"}, "/who?a=b", true},
		{[]string{"/who"}, "/whois", false},
		{[]string{"/who"}, "/who/am", false},
		{[]string{"/wh"}, "/who", false},
		{[]string{"/who/"}, "/who", false},
		{[]string{"/who/"}, "/who/am", true},
		{[]string{"/x", "/who/"}, "/who/am/i", true},
		{[]string{"/"}, "/anything", true},
		{[]string{""}, "/who", false},
		{[]string{"/who"}, "/nobody", false},
		{nil, "/nobody", true},
	} {
		bubble(t, test.path, func(t *testing.T) {
			e := newEnds(t, auth.NewCheckerPlugin(func(_ auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
				return auth.Grant{Routes: test.routes}, recv(nil)
			}), bearer("x", new(string)))
			var calls, pushes atomic.Int32
			for _, path := range []string{"/whois", "/who/am", "/who/am/i", "/anything"} {
				tp.HandleCall(e.srv, path, func(tp.CallCtx, *string) (string, error) { calls.Add(1); return "", nil })
			}
			e.srv.SetUnknownCall(func(tp.UnknownCallCtx) (any, *tp.Rerror) { calls.Add(1); return nil, nil })
			e.srv.SetUnknownPush(func(tp.UnknownPushCtx) *tp.Rerror { pushes.Add(1); return nil })
			sess := tptest.Dial(t, e.cli, e.addr)
			r := sess.Call(test.path, "", nil).Rerror()
			sess.Push(test.path, "")
			synctest.Wait()
			ran := calls.Load()+e.handled.Load() == 1
			if r.HasError() == test.want || r.HasError() && r.Code != tp.CodeForbidden || ran != test.want {
				t.Errorf("the CALL: %s, its handler ran: %v; want it to be allowed: %v", r, ran, test.want)
			}
			if (pushes.Load() == 1) != test.want {
				t.Errorf("%d PUSHes ran; want it to be allowed: %v", pushes.Load(), test.want)
			}
		})
	}
}

// Narrow takes away and never gives, for the messages that wait too; a handler that runs
// goes on.
func TestNarrow(t *testing.T) {
	for _, test := range []struct {
		name         string
		first, taken []string
		path         string
		want         bool
	}{
		{"of all", nil, []string{"/who"}, "/who", true},
		{"to none", nil, nil, "/who", false},
		{"of a prefix", []string{"/"}, []string{"/who"}, "/who", true},
		{"to a wider prefix", []string{"/who"}, []string{"/"}, "/who", true},
		{"to a wider prefix, of another", []string{"/note"}, []string{"/"}, "/who", false},
		{"to others", []string{"/who"}, []string{"/note"}, "/who", false},
		{"to the same", []string{"/who", "/note"}, []string{"/x/", "/who"}, "/who", true},
	} {
		bubble(t, test.name, func(t *testing.T) {
			e := newEnds(t, auth.NewCheckerPlugin(func(_ auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
				if test.first == nil {
					return "no Grant", recv(nil) // can be narrowed as well
				}
				return auth.Grant{Routes: test.first}, recv(nil)
			}), bearer("x", new(string)))
			sess := tptest.Dial(t, e.cli, e.addr)
			if err := auth.Narrow(e.only(t), test.taken...); err != nil {
				t.Fatal(err)
			}
			r := sess.Call(test.path, "", nil).Rerror()
			if r.HasError() == test.want || r.HasError() && r.Code != tp.CodeForbidden {
				t.Errorf("the call: %s; want it to be allowed: %v", r, test.want)
			}
		})
	}
	bubble(t, "what runs and what waits", func(t *testing.T) {
		e := newEnds(t, auth.NewCheckerPlugin(granting(time.Hour, nil)), bearer("x", new(string)))
		begun, release := make(chan struct{}, 10), make(chan struct{})
		tp.HandleCall(e.srv, "/slow", func(tp.CallCtx, *string) (string, error) {
			begun <- struct{}{}
			<-release
			return "done", nil
		}, tp.Ordered())
		sess := tptest.Dial(t, e.cli, e.addr)
		runs := sess.AsyncCall("/slow", "", new(string), nil)
		waits := sess.AsyncCall("/slow", "", new(string), nil)
		<-begun
		synctest.Wait()
		auth.Narrow(e.only(t), "/who")
		close(release)
		if _, r := runs.Reply(); r != nil {
			t.Errorf("the call that ran: %s", r)
		}
		if _, r := waits.Reply(); r == nil || r.Code != tp.CodeForbidden {
			t.Errorf("the call that waited: %s; want 403", r)
		}
		if g, _ := auth.GrantOf(e.only(t)); g.Allows("/slow") || g.Claims["token"] != "x" || g.Until.IsZero() {
			t.Errorf("the Grant is %+v; want the claims and the end of the first", g)
		}
		if r := auth.Renew(t.Context(), sess); r != nil {
			t.Errorf("Renew: %s", r)
		}
		if r := sess.Call("/slow", "", nil).Rerror(); r != nil {
			t.Errorf("the call after a renewal: %s", r)
		}
	})
	bubble(t, "of a peer without a checker", func(t *testing.T) {
		e := newEnds(t, hook{}, hook{})
		sess := tptest.Dial(t, e.cli, e.addr)
		if err := auth.Narrow(sess); err == nil {
			t.Error("no error")
		}
		if _, ok := auth.GrantOf(sess); ok {
			t.Error("there is a Grant")
		}
	})
}

// Revoke ends the session at once, in the middle of a call too: its handler's context ends,
// what it returns is dropped, and the other side learns why and does not come back.
func TestRevoke(t *testing.T) {
	locked := tp.NewRerror(tp.CodeForbidden, "Forbidden", "your account is locked")
	for _, test := range []struct {
		name   string
		server func() tp.Plugin
		rerr   *tp.Rerror
		want   *tp.Rerror
	}{
		{"a Grant", func() tp.Plugin { return auth.NewCheckerPlugin(granting(time.Hour, nil)) }, nil,
			tp.NewRerror(tp.CodeUnauthorized, "Unauthorized", "the credentials have been revoked")},
		{"no Grant", func() tp.Plugin { return checker() }, locked, locked},
		{"no checker", func() tp.Plugin { return hook{} }, locked, locked},
	} {
		bubble(t, test.name, func(t *testing.T) {
			client := tp.Plugin(bearer("open", new(string)))
			if _, ok := test.server().(hook); ok {
				client = hook{}
			}
			e := newEnds(t, test.server(), client)
			contexts, release := make(chan context.Context, 10), make(chan struct{})
			var ran atomic.Int32
			tp.HandleCall(e.srv, "/slow", func(ctx tp.CallCtx, _ *string) (string, error) {
				ran.Add(1)
				contexts <- ctx.Context()
				<-release
				return "too late", nil
			}, tp.Ordered())
			sess := tptest.Dial(t, e.cli, e.addr)
			runs := sess.AsyncCall("/slow", "", new(string), nil)
			waits := sess.AsyncCall("/slow", "", new(string), nil)
			ctx := <-contexts
			synctest.Wait()
			served, begun := e.only(t), time.Now()
			auth.Revoke(served, test.rerr)
			if d := time.Since(begun); d > 50*time.Millisecond {
				t.Errorf("Revoke took %v", d)
			}
			if cause := context.Cause(ctx); !errors.Is(cause, test.want.Err()) {
				t.Errorf("the handler's context has ended with %v; want %v", cause, test.want)
			}
			for i, cmd := range []tp.CallCmd{runs, waits} {
				if _, r := cmd.Reply(); r == nil || r.Code != tp.CodeConnClosed || !errors.Is(r.Err(), test.want.Err()) {
					t.Errorf("call %d: %v; want 102 because of %v", i, r, test.want)
				}
			}
			close(release)
			synctest.Wait()
			if _, ok := test.server().(hook); !ok && ran.Load() != 1 {
				n := ran.Load()
				t.Errorf("%d handlers ran; want one", n)
			}
			if why := sess.CloseReason(); why == nil || !errors.Is(why, test.want.Err()) || sess.Health() {
				t.Errorf("the other side's reason is %v, it redials: %v; want %v", why, sess.Health(), test.want)
			}
			auth.Revoke(served, nil) // again: nothing happens
		})
	}
	bubble(t, "by a handler of the session", func(t *testing.T) {
		e := newEnds(t, checker(), bearer("open", new(string)))
		tp.HandleCall(e.srv, "/logout", func(ctx tp.CallCtx, _ *string) (string, error) {
			auth.Revoke(ctx.Session().(tp.Session), nil)
			return "", nil
		})
		sess := tptest.Dial(t, e.cli, e.addr)
		if r := sess.Call("/logout", "", nil).Rerror(); r == nil || r.Code != tp.CodeConnClosed || !errors.Is(r.Err(), tp.ErrUnauthorized) {
			t.Errorf("the call: %v; want 102 because of 401", r)
		}
	})
	bubble(t, "while a renewal is checked", func(t *testing.T) {
		var e *ends
		e = newEnds(t, auth.NewCheckerPlugin(func(sess auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
			if auth.Renewing(sess.Context()) {
				e.srv.RangeSession(func(s tp.Session) bool { auth.Revoke(s, nil); return true })
			}
			return auth.Grant{Until: time.Now().Add(time.Hour)}, recv(nil)
		}), bearer("x", new(string)))
		sess := tptest.Dial(t, e.cli, e.addr)
		if r := auth.Renew(t.Context(), sess); r == nil || r.Code != tp.CodeConnClosed {
			t.Errorf("Renew: %v; want 102", r)
		}
		synctest.Wait()
		if n := e.srv.CountSession(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

// Everything at once: renewals by both sides of the clock, calls, changes and an end. It
// ends with all calls answered, for the race detector to watch.
func TestRaces(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		const valid = 20 * time.Millisecond
		e := newEnds(t, auth.NewCheckerPlugin(granting(valid, nil)), auth.NewBearerPlugin(new(counting).bear))
		var group sync.WaitGroup
		for range 4 {
			sess := tptest.Dial(t, e.cli, e.addr)
			for range 3 {
				group.Go(func() {
					for range 50 {
						if r := sess.Call("/who", "", nil).Rerror(); r.HasError() && r.Code != tp.CodeForbidden && r.Code != tp.CodeConnClosed && r.Code != refusal.Code {
							t.Error(r)
						}
						auth.Renew(t.Context(), sess)
						time.Sleep(time.Millisecond)
					}
				})
			}
		}
		group.Go(func() {
			for i := range 100 {
				e.srv.RangeSession(func(s tp.Session) bool {
					auth.GrantOf(s)
					switch i % 20 {
					case 5:
						auth.Narrow(s, "/who", "/note")
					case 10:
						group.Go(func() { auth.Revoke(s, refusal) })
					}
					return true
				})
				time.Sleep(time.Millisecond)
			}
		})
		group.Wait()
	})
}
