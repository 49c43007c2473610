package auth_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/auth"
)

// A silent side is waited for as long as Within says.
func TestTimeout(t *testing.T) {
	late := func(d string) *tp.Rerror {
		return tp.NewRerror(tp.CodeHandleTimeout, tp.CodeText(tp.CodeHandleTimeout), "auth: the handshake is not done in time: "+d)
	}
	silent := func(s tp.PreSession) *tp.Rerror { // until it gets the refusal
		m := s.PreReceive(func(tp.Header) any { return nil })
		if m.Mtype() != tp.TypeAuthReply && m.Mtype() != tp.TypeAuthCall {
			return m.Rerror()
		}
		s.Receive(func(tp.Header) any { return nil })
		return m.Rerror()
	}
	slow := auth.NewCheckerPlugin(func(_ auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
		time.Sleep(4 * time.Second) // longer than the plugin may take
		return "", recv(new(string))
	}).Within(3 * time.Second)
	for _, test := range []struct {
		name           string
		server, client tp.Plugin
		after          time.Duration
		want           *tp.Rerror
	}{
		{"a silent client", checker(), hook{dial: silent}, 10 * time.Second, late("10s")},
		{"a silent client, 3 s", checker().Within(3 * time.Second), hook{dial: silent}, 3 * time.Second, late("3s")},
		{"a silent client, 20 s", checker().Within(20 * time.Second), hook{dial: silent}, 20 * time.Second, late("20s")},
		{"a silent server", hook{accept: silent}, bearer("open", new(string)), 10 * time.Second, late("10s")},
		{"a silent server, 3 s", hook{accept: silent}, bearer("open", new(string)).Within(3 * time.Second), 3 * time.Second, late("3s")},
		{"no time is the default", hook{accept: silent}, bearer("open", new(string)).Within(0), 10 * time.Second, late("10s")},
		{"a slow checker", slow, bearer("open", new(string)), 4 * time.Second, late("3s")},
	} {
		bubble(t, test.name, func(t *testing.T) {
			e := newEnds(t, test.server, test.client)
			begin := time.Now()
			_, r := e.cli.Dial(e.addr)
			wantRerror(t, "Dial", r, test.want)
			if d := time.Since(begin); d != test.after {
				t.Errorf("Dial took %v; want %v", d, test.after)
			}
			synctest.Wait()
			if n := e.net.Conns(); n > 0 || e.srv.CountSession() > 0 {
				t.Errorf("%d connections, %d sessions are left", n, e.srv.CountSession())
			}
		})
	}
}

// Messages behind the AUTH_CALL wait until the peer is accepted, and the session is
// not visible before.
func TestNothingBefore(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer *tp.Rerror
		want   int32
	}{{"let in", nil, 2}, {"refused", refusal, 0}} {
		bubble(t, test.name, func(t *testing.T) {
			decide := make(chan *tp.Rerror)
			e := newEnds(t, auth.NewCheckerPlugin(func(_ auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
				recv(new(string))
				return "", <-decide
			}), hook{dial: func(s tp.PreSession) *tp.Rerror {
				s.PreSend(tp.TypeAuthCall, "", "open", nil)
				s.PreSend(tp.TypeCall, "/who", "", nil)
				s.RawPush("/note", "")
				return s.PreReceive(func(tp.Header) any { return nil }).Rerror()
			}})
			go e.cli.Dial(e.addr)
			synctest.Wait()
			if n := e.handled.Load(); n != 0 || e.srv.CountSession() != 0 {
				t.Errorf("before: %d messages were handled, %d sessions", n, e.srv.CountSession())
			}
			decide <- test.answer
			synctest.Wait()
			if n := e.handled.Load(); n != test.want {
				t.Errorf("after: %d messages were handled; want %d", n, test.want)
			}
		})
	}
}

// A redial is refused for good with 401 or 403, and tried again after other errors.
func TestRedialRefused(t *testing.T) {
	for _, test := range []struct {
		name  string
		with  *tp.Rerror
		tries int32
	}{
		{"401", tp.NewRerror(tp.CodeUnauthorized, "", "expired"), 1},
		{"403", tp.NewRerror(403, "Forbidden", "locked"), 1},
		{"another", refusal, 3},
	} {
		bubble(t, test.name, func(t *testing.T) {
			var refuse atomic.Bool
			var tries atomic.Int32
			e := newEnds(t, auth.NewCheckerPlugin(func(_ auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
				if r := recv(new(string)); r != nil || !refuse.Load() {
					return "", r
				}
				tries.Add(1)
				return nil, test.with
			}), bearer("open", new(string)))
			sess := tptest.Dial(t, e.cli, e.addr)
			refuse.Store(true)
			e.net.Find(sess.LocalAddr().String()).Cut()
			<-sess.CloseNotify()
			if n := tries.Load(); n != test.tries {
				t.Errorf("%d attempts; want %d", n, test.tries)
			}
			if got := tp.ToRerror(sess.CloseReason().Cause); got.String() != test.with.String() {
				t.Errorf("the session ended with %s; want %s", got, test.with)
			}
		})
	}
}

// A Checker that panics refuses the peer, and the server goes on.
func TestPanic(t *testing.T) {
	bubble(t, "checker", func(t *testing.T) {
		e := newEnds(t, auth.NewCheckerPlugin(func(_ auth.Session, recv auth.RecvOnce) (any, *tp.Rerror) {
			var token string
			if r := recv(&token); r != nil {
				return nil, r
			}
			if token == "boom" {
				panic("boom")
			}
			return nil, nil
		}), hook{})
		for _, test := range []struct {
			token string
			want  int32
		}{{"boom", tp.CodeConnClosed}, {"open", 0}} {
			cli := tptest.NewPeer(t, tp.PeerConfig{Network: e.net.Register(t)}, bearer(test.token, new(string)))
			if _, r := cli.Dial(e.addr); r.HasError() != (test.want != 0) || r != nil && r.Code != test.want {
				t.Errorf("%s: %s; want code %d", test.token, r, test.want)
			}
		}
	})
}
