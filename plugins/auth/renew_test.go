package auth_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/auth"
)

// counting is a Bearer that shows 1, 2, 3 and so on, and notes when.
type counting struct {
	mu    sync.Mutex
	begin time.Time
	times []time.Duration
	fresh int // how often it was called for a new connection
}

func (c *counting) bear(sess auth.Session, send auth.SendOnce) *tp.Rerror {
	c.mu.Lock()
	if c.begin.IsZero() {
		c.begin = time.Now()
	}
	c.times = append(c.times, time.Since(c.begin))
	if !auth.Renewing(sess.Context()) {
		c.fresh++
	}
	n := len(c.times)
	c.mu.Unlock()
	ret := ""
	rerr := send(strconv.Itoa(n), &ret)
	if !rerr.HasError() && ret != "welcome "+strconv.Itoa(n) {
		return tp.NewRerror(1, "the answer is "+ret, "")
	}
	return rerr
}

func (c *counting) seen() (times []time.Duration, fresh int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.times), c.fresh
}

// granting is a Checker that grants every token for a time, 0: for ever, with the token
// among the claims; unless refuse returns an error for it.
func granting(valid time.Duration, refuse func(token string) *tp.Rerror) auth.Checker {
	return func(sess auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
		var token string
		if r := recv(&token); r != nil {
			return nil, r
		}
		if refuse != nil {
			if r := refuse(token); r != nil {
				return nil, r
			}
		}
		sess.SetID("ann")
		g := auth.Grant{Ret: "welcome " + token, Claims: map[string]string{"token": token}}
		if valid > 0 {
			g.Until = time.Now().Add(valid)
		}
		return g, nil
	}
}

// only returns the one session of the server.
func (e *ends) only(t *testing.T) tp.Session {
	t.Helper()
	synctest.Wait()
	var list []tp.Session
	e.srv.RangeSession(func(s tp.Session) bool { list = append(list, s); return true })
	if len(list) != 1 {
		t.Fatalf("the server has %d sessions; want one", len(list))
	}
	return list[0]
}

func claim(t *testing.T, s auth.Swapper, key string) string {
	t.Helper()
	g, ok := auth.GrantOf(s)
	if !ok {
		t.Error("the session has no Grant")
	}
	return g.Claims[key]
}

// The Bearer is called before the credentials end, so a session lives for ever, and the
// handlers see what was granted last.
func TestRenewInTime(t *testing.T) {
	for _, valid := range []time.Duration{2 * time.Second, time.Hour, 30 * 24 * time.Hour} {
		bubble(t, valid.String(), func(t *testing.T) {
			var c counting
			e := newEnds(t, auth.NewCheckerPlugin(granting(valid, nil)), auth.NewBearerPlugin(c.bear))
			tp.HandleCall(e.srv, "/token", func(ctx tp.CallCtx, _ *string) (string, error) {
				return claim(t, ctx, "token"), nil
			})
			sess := tptest.Dial(t, e.cli, e.addr)
			served := e.only(t)
			time.Sleep(10 * valid)
			times, fresh := c.seen()
			if n := len(times); fresh != 1 || n < 11 || n > 14 {
				t.Fatalf("the Bearer was called %d times in ten terms, %d of them for a new connection; want 11 to 14, 1", n, fresh)
			}
			for i, at := range times[1:] {
				if d := at - times[i]; d < valid*74/100 || d > valid*91/100 {
					t.Errorf("renewed after %v; want 75 to 90%% of %v", d, valid)
				}
			}
			var token string
			if r := sess.Call("/token", "", &token).Rerror(); r != nil || token != strconv.Itoa(len(times)) {
				t.Errorf("the handler sees the token %q, %v; want the %dth", token, r, len(times))
			}
			if e.only(t) != served || served.ID() != "ann" {
				t.Errorf("the session is not the first one, or its id is %q", served.ID())
			}
		})
	}
}

// older is the dialling side of a release that knows no renewals, or of v5 or v7.
func older(tokens *atomic.Int32) hook {
	return hook{dial: func(s tp.PreSession) *tp.Rerror {
		if r := s.PreSend(tp.TypeAuthCall, "", strconv.Itoa(int(tokens.Add(1))), nil); r != nil {
			return r
		}
		return s.PreReceive(func(tp.Header) any { return new(string) }).Rerror()
	}}
}

// A session whose credentials nobody renews is closed when they end: a client that redials
// comes back with new ones, unless the server says 401.
func TestExpires(t *testing.T) {
	const valid = time.Minute
	bubble(t, "and comes back", func(t *testing.T) {
		var tokens atomic.Int32
		e := newEnds(t, auth.NewCheckerPlugin(granting(valid, nil)), older(&tokens))
		begun, release := make(chan struct{}, 1), make(chan struct{})
		tp.HandleCall(e.srv, "/slow", func(tp.CallCtx, *string) (string, error) {
			begun <- struct{}{}
			<-release
			return "done", nil
		})
		sess := tptest.Dial(t, e.cli, e.addr)
		first := e.only(t)
		time.Sleep(valid - time.Second)
		var reply string
		slow := sess.AsyncCall("/slow", "", &reply, nil)
		<-begun
		<-first.CloseNotify()
		refused := sess.AsyncCall("/who", "", new(string), nil) // it has not run, and is made again
		synctest.Wait()
		if slow.Rerror() != nil {
			t.Errorf("the call that runs when the credentials end: %s", slow.Rerror())
		}
		close(release)
		if _, r := slow.Reply(); r != nil || reply != "done" {
			t.Errorf("the call that ran when the credentials ended: %q, %s", reply, r)
		}
		if _, r := refused.Reply(); r != nil {
			t.Errorf("the call that was made when the credentials had ended: %s", r)
		}
		if e.only(t) == first || tokens.Load() != 2 || tp.Code(first.CloseReason()) != auth.CodeExpired {
			t.Errorf("%d tokens were shown, and the first session ended with %v", tokens.Load(), first.CloseReason())
		}
	})
	bubble(t, "with 401", func(t *testing.T) {
		var tokens atomic.Int32
		why := tp.NewRerror(tp.CodeUnauthorized, "Unauthorized", "log in again")
		e := newEnds(t, auth.NewCheckerPlugin(granting(valid, nil)).ExpireWith(why), older(&tokens))
		sess := tptest.Dial(t, e.cli, e.addr)
		time.Sleep(valid + 2*time.Second)
		if sess.Health() || tokens.Load() != 1 {
			t.Errorf("the session lives: %v; %d tokens were shown", sess.Health(), tokens.Load())
		}
	})
	for _, test := range []struct {
		name string
		left time.Duration
		want int32 // of Dial
	}{{"have ended already", -time.Second, tp.CodeUnauthorized}, {"end now", 0, tp.CodeUnauthorized}, {"end at once", time.Nanosecond, 0}} {
		bubble(t, test.name, func(t *testing.T) {
			e := newEnds(t, auth.NewCheckerPlugin(func(_ auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
				return &auth.Grant{Until: time.Now().Add(test.left)}, recv(new(string))
			}), bearer("x", new(string)))
			sess, r := e.cli.Dial(e.addr)
			if r.HasError() != (test.want != 0) || r.HasError() && r.Code != test.want {
				t.Errorf("Dial: %s; want code %d", r, test.want)
			}
			if sess != nil {
				sess.Close()
			}
		})
	}
	for name, until := range map[string]time.Time{"never": {}, "in a billion years": time.Date(1e9, 1, 1, 0, 0, 0, 0, time.UTC)} {
		bubble(t, name, func(t *testing.T) {
			e := newEnds(t, auth.NewCheckerPlugin(func(_ auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
				return auth.Grant{Until: until}, recv(new(string))
			}), bearer("x", new(string)))
			sess := tptest.Dial(t, e.cli, e.addr)
			time.Sleep(100 * 365 * 24 * time.Hour)
			if r := sess.Call("/who", "", nil).Rerror(); r != nil || e.cli.CountSession() != 1 {
				t.Errorf("after a hundred years: %v", r)
			}
		})
	}
}

// A renewal that fails is tried again if that may help, not too often, and never after the
// credentials have ended.
func TestRenewalFails(t *testing.T) {
	const valid = time.Hour
	for _, test := range []struct {
		name       string
		code       int32
		from, till int // the tokens that are refused
		least      int // tokens in one term and a bit
		most       int
		ends       bool
	}{
		{"twice, for now", tp.CodeBusy, 2, 3, 4, 5, false},
		{"always, for now", tp.CodeBusy, 2, 1000, 6, 20, true},
		{"for good", tp.CodeForbidden, 2, 1000, 2, 2, true},
	} {
		bubble(t, test.name, func(t *testing.T) {
			var c counting
			e := newEnds(t, auth.NewCheckerPlugin(granting(valid, func(token string) *tp.Rerror {
				if n, _ := strconv.Atoi(token); n >= test.from && n <= test.till {
					return tp.NewRerror(test.code, "not now", "")
				}
				return nil
			})).ExpireWith(tp.NewRerror(tp.CodeUnauthorized, "Unauthorized", "too late")), auth.NewBearerPlugin(c.bear))
			sess := tptest.Dial(t, e.cli, e.addr)
			time.Sleep(valid - time.Millisecond)
			if !sess.Health() {
				t.Errorf("the session has ended before its credentials: %v", sess.CloseReason())
			}
			time.Sleep(valid / 2)
			if sess.Health() == test.ends {
				t.Errorf("the session lives: %v; want %v", sess.Health(), !test.ends)
			}
			if times, _ := c.seen(); len(times) < test.least || len(times) > test.most {
				t.Errorf("the Bearer was called at %v; want %d to %d calls", times, test.least, test.most)
			}
		})
	}
	bubble(t, "a Bearer that waits for ever", func(t *testing.T) {
		release, returned := make(chan struct{}), make(chan struct{})
		e := newEnds(t, auth.NewCheckerPlugin(granting(valid, nil)).ExpireWith(tp.NewRerror(tp.CodeUnauthorized, "", "")),
			auth.NewBearerPlugin(func(sess auth.Session, send auth.SendOnce) *tp.Rerror {
				if auth.Renewing(sess.Context()) {
					defer close(returned)
					<-release
				}
				return send("x", nil)
			}))
		sess := tptest.Dial(t, e.cli, e.addr)
		time.Sleep(valid + time.Second)
		if sess.Health() {
			t.Error("the session lives")
		}
		if err := e.cli.Close(); err == nil || !strings.Contains(err.Error(), "auth-bearer") {
			t.Errorf("Close: %v; want one that names the plugin", err)
		}
		close(release)
		<-returned
	})
	bubble(t, "a Bearer that waits for its context", func(t *testing.T) {
		var causes []error
		e := newEnds(t, auth.NewCheckerPlugin(granting(valid, nil)),
			auth.NewBearerPlugin(func(sess auth.Session, send auth.SendOnce) *tp.Rerror {
				if auth.Renewing(sess.Context()) {
					<-sess.Context().Done()
					causes = append(causes, context.Cause(sess.Context()))
				}
				return send("x", nil)
			}).Within(time.Second))
		sess := tptest.Dial(t, e.cli, e.addr)
		time.Sleep(valid * 91 / 100)
		sess.Close()
		synctest.Wait()
		if len(causes) == 0 || !errors.Is(causes[0], auth.ErrTimeout) {
			t.Errorf("the Bearer's contexts have ended with %v; want %v first", causes, auth.ErrTimeout)
		}
	})
}

// Renew shows the credentials at any time; an error leaves the session as it was.
func TestRenew(t *testing.T) {
	routes := func(list ...string) auth.Grant { return auth.Grant{Routes: list} }
	grants := map[string]any{"all": auth.Grant{}, "who": routes("/who"), "none": routes("/x"), "plain": "hello", "late": &auth.Grant{Until: time.Unix(1, 0)}}
	var e *ends
	pass := func(_ auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
		var token string
		r := recv(&token)
		return grants[token], r
	}
	for _, test := range []struct {
		name    string
		checker auth.Checker
		first   any
		second  any
		want    int32 // of Renew
		call    int32 // of a call to /who afterwards
	}{
		{"more", pass, "none", "all", 0, 0},
		{"less", pass, "all", "none", 0, tp.CodeForbidden},
		{"the same", pass, "who", "who", 0, 0},
		{"an answer that is no Grant", pass, "none", "plain", 0, 0},
		{"a Grant that has ended", pass, "none", "late", tp.CodeUnauthorized, tp.CodeForbidden},
		{"info of another type", pass, "who", 7, tp.CodeBadMessage, 0},
		{"no Grant was given", pass, "plain", "all", tp.CodeMtypeNotAllowed, 0},
		{"another id", func(sess auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
			var token string
			r := recv(&token)
			sess.SetID(token)
			return grants[token], r
		}, "who", "all", tp.CodeForbidden, 0},
		{"refused", func(sess auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
			if auth.Renewing(sess.Context()) {
				return nil, refusal
			}
			return grants["who"], recv(nil)
		}, "x", "x", refusal.Code, 0},
		{"receives twice", func(sess auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
			recv(nil)
			if auth.Renewing(sess.Context()) {
				return nil, recv(nil)
			}
			return grants["who"], nil
		}, "x", "x", auth.MultiRecvErr.Code, 0},
		{"a panic", func(sess auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
			if auth.Renewing(sess.Context()) {
				panic("on purpose")
			}
			return grants["who"], recv(nil)
		}, "x", "x", tp.CodeInternalServerError, 0},
		{"the Checker is slow", func(sess auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
			if auth.Renewing(sess.Context()) {
				<-sess.Context().Done()
			}
			return grants["who"], recv(nil)
		}, "x", "x", tp.CodeHandleTimeout, 0},
		{"narrowed meanwhile", func(sess auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
			if auth.Renewing(sess.Context()) {
				e.srv.RangeSession(func(s tp.Session) bool { auth.Narrow(s, "/x"); return true })
			}
			return grants["all"], recv(nil)
		}, "x", "x", tp.CodeBusy, tp.CodeForbidden},
	} {
		bubble(t, test.name, func(t *testing.T) {
			info := test.first
			e = newEnds(t, auth.NewCheckerPlugin(test.checker).Within(time.Second),
				auth.NewBearerPlugin(func(_ auth.Session, send auth.SendOnce) *tp.Rerror { return send(info, nil) }))
			sess := tptest.Dial(t, e.cli, e.addr)
			info = test.second
			r := auth.Renew(t.Context(), sess)
			if r.HasError() != (test.want != 0) || r.HasError() && r.Code != test.want {
				t.Errorf("Renew: %s; want code %d", r, test.want)
			}
			r = sess.Call("/who", "", nil).Rerror()
			if r.HasError() != (test.call != 0) || r.HasError() && r.Code != test.call {
				t.Errorf("the call: %s; want code %d", r, test.call)
			}
			if e.cli.CountSession() != 1 || e.srv.CountSession() != 1 {
				t.Error("the session has ended")
			}
		})
	}
	bubble(t, "the Bearer sends twice, or not at all", func(t *testing.T) {
		times := 1
		e := newEnds(t, auth.NewCheckerPlugin(granting(0, nil)), auth.NewBearerPlugin(func(_ auth.Session, send auth.SendOnce) (r *tp.Rerror) {
			for range times {
				r = send("x", nil)
			}
			return r
		}))
		sess := tptest.Dial(t, e.cli, e.addr)
		times = 2
		wantRerror(t, "twice", auth.Renew(t.Context(), sess), auth.MultiSendErr)
		times = 0
		if r := auth.Renew(t.Context(), sess); r == nil || r.Code != tp.CodeInvalidOp {
			t.Errorf("not at all: %s; want code 1", r)
		}
	})
	bubble(t, "many at once, and one that gives up", func(t *testing.T) {
		var now, most atomic.Int32
		e := newEnds(t, auth.NewCheckerPlugin(granting(0, nil)), auth.NewBearerPlugin(func(sess auth.Session, send auth.SendOnce) *tp.Rerror {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			time.Sleep(2 * time.Second)
			return send("x", nil)
		}).Within(time.Hour))
		sess := tptest.Dial(t, e.cli, e.addr)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, fmt.Errorf("no time"))
		defer cancel()
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				if r := auth.Renew(t.Context(), sess); r.HasError() {
					t.Error(r)
				}
			})
		}
		synctest.Wait()
		if r := auth.Renew(ctx, sess); r == nil || r.Code != tp.CodeHandleTimeout || r.Reason != "no time" {
			t.Errorf("the one that waits for a second: %s; want 408", r)
		}
		gone, stop := context.WithCancel(t.Context())
		stop()
		if r := auth.Renew(gone, sess); r == nil || r.Code != tp.CodeCanceled {
			t.Errorf("the one that has given up: %s; want 499", r)
		}
		group.Wait()
		if most.Load() != 1 {
			t.Errorf("%d Bearers ran at once; want one", most.Load())
		}
	})
	bubble(t, "credentials of each dial, on renewals too", func(t *testing.T) {
		e := newEnds(t, auth.NewCheckerPlugin(granting(0, nil)), auth.NewBearerPlugin(func(sess auth.Session, send auth.SendOnce) *tp.Rerror {
			return send(auth.Credentials(sess.Context()), nil)
		}))
		sess, r := e.cli.DialContext(auth.WithCredentials(t.Context(), "mine"), e.addr)
		if r == nil {
			r = auth.Renew(t.Context(), sess)
		}
		if token := claim(t, e.only(t), "token"); r.HasError() || token != "mine" {
			t.Errorf("the token is %q, %s", token, r)
		}
	})
}

// A peer that renews all the time is refused, and the Checker is not called for that.
func TestRenewalFlood(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var checked atomic.Int32
		e := newEnds(t, auth.NewCheckerPlugin(granting(0, func(string) *tp.Rerror { checked.Add(1); return nil })), bearer("x", new(string)))
		sess := tptest.Dial(t, e.cli, e.addr)
		codes := map[int32]int{}
		flood := func(n int) {
			clear(codes)
			checked.Store(0)
			for range n {
				codes[tp.Code(sess.Call("", "x", nil, tp.WithMtype(tp.TypeAuthCall)).Rerror().Err())]++
			}
		}
		if flood(1000); checked.Load() != 5 || codes[tp.CodeTooManyRequests] != 995 {
			t.Errorf("of 1000 renewals %d were checked; codes %v; want 5, and 429", checked.Load(), codes)
		}
		time.Sleep(time.Second)
		if flood(10); checked.Load() != 1 {
			t.Errorf("a second later %d were checked; want one", checked.Load())
		}
		time.Sleep(time.Hour)
		if flood(10); checked.Load() != 5 {
			t.Errorf("an hour later %d were checked; want 5", checked.Load())
		}
		if r := sess.Call("/who", "", nil).Rerror(); r != nil {
			t.Error(r)
		}
	})
}
