package overloader_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/plugins/overloader"
)

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("OFF")
	m.Run()
}

func TestConformance(t *testing.T) {
	t.Run("unlimited", func(t *testing.T) {
		tptest.RunPlugin(t, func() tp.Plugin { return overloader.New(overloader.LimitConfig{}) })
	})
	t.Run("limited", func(t *testing.T) {
		tptest.RunPlugin(t, func() tp.Plugin {
			return overloader.New(overloader.LimitConfig{
				MaxConn: 100, MaxTotalQPS: 5,
				MaxHandlerQPS: []overloader.HandlerLimit{{ServiceMethod: "/tptest/echo", MaxQPS: 1}},
			})
		}, tptest.Gate())
	})
}

// serve makes a peer with the plugin that answers /a and /b, and takes pushes of /p.
func serve(t *testing.T, o *overloader.Overloader) (net *tptest.Network, addr string, pushes *atomic.Int32) {
	net = tptest.NewNetwork()
	srv := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t)}, o)
	for _, name := range []string{"/a", "/b"} {
		tp.HandleCall(srv, name, func(_ tp.CallCtx, arg *int) (int, error) { return *arg, nil })
	}
	pushes = new(atomic.Int32)
	tp.HandlePush(srv, "/p", func(tp.PushCtx, *int) error { pushes.Add(1); return nil })
	return net, tptest.Listen(t, srv), pushes
}

func dial(t *testing.T, net *tptest.Network, addr string, plugin ...tp.Plugin) tp.Session {
	t.Helper()
	return tptest.Dial(t, tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t)}, plugin...), addr)
}

// passed makes n calls at once and counts those that were let through.
func passed(t *testing.T, sess tp.Session, method string, n int) (ok int) {
	t.Helper()
	for range n {
		switch r := sess.Call(method, 1, nil).Rerror(); {
		case r == nil:
			ok++
		case r.Code != tp.CodeTooManyRequests || r.Message != "Too Many Requests":
			t.Errorf("call of %s: %s; want 429 Too Many Requests", method, r)
		}
	}
	return ok
}

func TestRates(t *testing.T) {
	handler := func(qps int32) []overloader.HandlerLimit {
		return []overloader.HandlerLimit{{ServiceMethod: "/a", MaxQPS: qps}}
	}
	for _, test := range []struct {
		name           string
		conf           overloader.LimitConfig
		a, b           int // let through of 50 at once, /a first
		wait           time.Duration
		laterA, laterB int // of 50 after the wait
	}{
		{name: "no limit", a: 50, b: 50, wait: time.Second, laterA: 50, laterB: 50},
		{name: "negative is no limit", conf: overloader.LimitConfig{MaxConn: -1, MaxTotalQPS: -1, QPSInterval: -1, MaxHandlerQPS: handler(-1)},
			a: 50, b: 50, wait: time.Second, laterA: 50, laterB: 50},
		{name: "total, no interval", conf: overloader.LimitConfig{MaxTotalQPS: 10},
			a: 10, b: 0, wait: time.Second, laterA: 10, laterB: 0},
		{name: "total, short interval", conf: overloader.LimitConfig{MaxTotalQPS: 10, QPSInterval: 500 * time.Millisecond},
			a: 5, b: 0, wait: time.Second, laterA: 5, laterB: 0},
		{name: "total, interval over a second", conf: overloader.LimitConfig{MaxTotalQPS: 10, QPSInterval: 3 * time.Second},
			a: 30, b: 0, wait: time.Second, laterA: 10, laterB: 0},
		{name: "interval too short for one", conf: overloader.LimitConfig{MaxTotalQPS: 2, QPSInterval: time.Nanosecond},
			a: 1, b: 0, wait: time.Second, laterA: 1, laterB: 0},
		{name: "interval of a century", conf: overloader.LimitConfig{MaxTotalQPS: 1 << 30, QPSInterval: 876_000 * time.Hour},
			a: 50, b: 50, wait: time.Second, laterA: 50, laterB: 50},
		{name: "handler", conf: overloader.LimitConfig{MaxHandlerQPS: handler(4)},
			a: 4, b: 50, wait: time.Second, laterA: 4, laterB: 50},
		{name: "refused by its handler's limit takes nothing of the total", conf: overloader.LimitConfig{MaxTotalQPS: 10, MaxHandlerQPS: handler(4)},
			a: 4, b: 6, wait: time.Second, laterA: 4, laterB: 6},
		{name: "of two entries the last", conf: overloader.LimitConfig{MaxHandlerQPS: append(handler(4), handler(7)...)},
			a: 7, b: 50, wait: time.Second, laterA: 7, laterB: 50},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := overloader.New(test.conf)
				net, addr, _ := serve(t, o)
				sess := dial(t, net, addr)
				if a, b := passed(t, sess, "/a", 50), passed(t, sess, "/b", 50); a != test.a || b != test.b {
					t.Errorf("of 50 at once %d of /a and %d of /b passed; want %d and %d", a, b, test.a, test.b)
				}
				time.Sleep(test.wait)
				if a, b := passed(t, sess, "/a", 50), passed(t, sess, "/b", 50); a != test.laterA || b != test.laterB {
					t.Errorf("after %v %d of /a and %d of /b passed; want %d and %d", test.wait, a, b, test.laterA, test.laterB)
				}
				c := o.Counts()
				if want := uint64(test.a + test.b + test.laterA + test.laterB); c.Passed != want || c.Refused != 200-want {
					t.Errorf("counted %d passed, %d refused; want %d, %d", c.Passed, c.Refused, want, 200-want)
				}
			})
		})
	}
}

// When a handler's own bucket has run out of the total one, it keeps its token.
func TestRefusedByTotalKeepsHandlerToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := overloader.New(overloader.LimitConfig{MaxTotalQPS: 1, MaxHandlerQPS: []overloader.HandlerLimit{{"/a", 2}}})
		net, addr, _ := serve(t, o)
		sess := dial(t, net, addr)
		passed(t, sess, "/b", 1)
		passed(t, sess, "/a", 20)
		o.Update(overloader.LimitConfig{MaxHandlerQPS: []overloader.HandlerLimit{{"/a", 2}}})
		if got := passed(t, sess, "/a", 5); got != 2 {
			t.Errorf("%d calls passed; want the 2 that the handler had saved", got)
		}
		want := []overloader.HandlerCount{{ServiceMethod: "/a", Passed: 2, Refused: 23}}
		if got := o.Counts().Handlers; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("Counts().Handlers = %v; want %v", got, want)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := overloader.New(overloader.LimitConfig{MaxTotalQPS: 4, QPSInterval: time.Millisecond})
		net, addr, _ := serve(t, o)
		sess := dial(t, net, addr)
		passed(t, sess, "/a", 1)
		cmd := sess.Call("/a", 1, nil, tp.WithAddMeta(overloader.MetaRetryAfter, "-7"), tp.WithAddMeta(overloader.MetaRetryAfter, "x"))
		if r := cmd.Rerror(); r == nil || r.Code != tp.CodeTooManyRequests {
			t.Fatalf("the second call: %s; want 429", r)
		}
		values := cmd.InputMeta().PeekMulti(overloader.MetaRetryAfter)
		if len(values) != 1 || string(values[0]) != "0.25" {
			t.Fatalf("%s of the reply is %q; want 0.25 alone", overloader.MetaRetryAfter, values)
		}
		s, err := strconv.ParseFloat(string(values[0]), 64)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(s * float64(time.Second)))
		if got := passed(t, sess, "/a", 2); got != 1 {
			t.Errorf("after that time %d calls passed; want 1", got)
		}
	})
}

func TestPushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := overloader.New(overloader.LimitConfig{MaxHandlerQPS: []overloader.HandlerLimit{{"/p", 3}}})
		net, addr, pushes := serve(t, o)
		sess := dial(t, net, addr)
		for range 10 {
			if r := sess.Push("/p", 1); r != nil {
				t.Fatal(r)
			}
		}
		synctest.Wait()
		if got := pushes.Load(); got != 3 {
			t.Errorf("%d pushes were handled; want 3", got)
		}
		if c := o.Counts(); c.Passed != 3 || c.Refused != 7 {
			t.Errorf("counted %d passed, %d refused; want 3, 7", c.Passed, c.Refused)
		}
	})
}

func TestUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := overloader.New(overloader.LimitConfig{MaxTotalQPS: 2})
		net, addr, _ := serve(t, o)
		sess := dial(t, net, addr)
		passed(t, sess, "/a", 2)
		o.Update(overloader.LimitConfig{MaxTotalQPS: 100})
		if got := passed(t, sess, "/a", 5); got != 0 {
			t.Errorf("an update has given %d tokens for nothing", got)
		}
		time.Sleep(time.Second)
		if got := passed(t, sess, "/a", 150); got != 100 {
			t.Errorf("a second later %d passed; want 100", got)
		}
		limits := []overloader.HandlerLimit{{"/a", 1}}
		o.Update(overloader.LimitConfig{MaxHandlerQPS: limits})
		limits[0].MaxQPS = 50
		o.LimitConfig().MaxHandlerQPS[0].MaxQPS = 50
		if got := o.LimitConfig().MaxHandlerQPS[0].MaxQPS; got != 1 {
			t.Errorf("the limit is %d; want 1: it was changed from outside", got)
		}
		if a, b := passed(t, sess, "/a", 9), passed(t, sess, "/b", 9); a != 1 || b != 9 {
			t.Errorf("%d of /a and %d of /b passed; want 1 and 9", a, b)
		}
		o.Update(overloader.LimitConfig{})
		if got := passed(t, sess, "/a", 9); got != 9 {
			t.Errorf("without limits %d of 9 passed", got)
		}
	})
}

func TestConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := overloader.New(overloader.LimitConfig{MaxConn: 2})
		net, addr, _ := serve(t, o)
		try := func(want bool) tp.Session {
			t.Helper()
			sess := dial(t, net, addr)
			synctest.Wait()
			if got := sess.Call("/a", 1, nil).Rerror() == nil; got != want {
				t.Errorf("a call over the new connection worked: %t; want %t (%+v)", got, want, o.Counts())
			}
			return sess
		}
		first := try(true)
		try(true)
		for range 5 { // a refused one must not free a place that it never had
			try(false)
		}
		if c := o.Counts(); c.Conns != 2 || c.ConnsRefused != 5 {
			t.Errorf("counted %d, refused %d; want 2, 5", c.Conns, c.ConnsRefused)
		}
		first.Close()
		synctest.Wait()
		try(true)
		try(false)
		o.Update(overloader.LimitConfig{MaxConn: 3})
		last := try(true)
		o.Update(overloader.LimitConfig{MaxConn: 1})
		try(false)
		if r := last.Call("/a", 1, nil).Rerror(); r != nil {
			t.Errorf("a session over a lowered limit: %s; want that it stays", r)
		}
		o.Update(overloader.LimitConfig{})
		try(true)
		if got := o.Counts().Conns; got != 4 {
			t.Errorf("counted %d connections; want 4", got)
		}
	})
}

type refuseAccept struct{}

func (refuseAccept) Name() string { return "refuse" }
func (refuseAccept) PostAccept(tp.PreSession) *tp.Rerror {
	return tp.NewRerror(tp.CodeUnauthorized, "no", "")
}

// A connection that a later plugin refuses gives its place back.
func TestPlaceOfRefusedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, net := overloader.New(overloader.LimitConfig{MaxConn: 1}), tptest.NewNetwork()
		addr := tptest.Listen(t, tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t)}, o, refuseAccept{}))
		for range 3 {
			dial(t, net, addr)
			synctest.Wait()
		}
		if c := o.Counts(); c.Conns != 0 || c.ConnsRefused != 0 {
			t.Errorf("counted %d, refused %d; want 0, 0", c.Conns, c.ConnsRefused)
		}
	})
}

func TestDialSide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := overloader.New(overloader.LimitConfig{MaxConn: 1})
		net, addr, _ := serve(t, overloader.New(overloader.LimitConfig{}))
		cli := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t), RedialTimes: 5}, o)
		sess := tptest.Dial(t, cli, addr)
		if _, r := cli.Dial(addr); r == nil || r.Code != tp.CodeTooManyRequests {
			t.Errorf("a second Dial: %s; want 429", r)
		}
		for range 3 { // a redial takes no second place
			net.Find(sess.LocalAddr().String()).Cut()
			synctest.Wait()
			if r := sess.Call("/a", 1, nil).Rerror(); r != nil {
				t.Fatalf("a call after the break: %s", r)
			}
			if got := o.Counts().Conns; got != 1 {
				t.Errorf("counted %d connections after a redial; want 1", got)
			}
		}
		sess.Close()
		synctest.Wait()
		if got := o.Counts().Conns; got != 0 {
			t.Errorf("counted %d connections after Close; want 0", got)
		}
		tptest.Dial(t, cli, addr)
	})
}

func TestHostileMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := overloader.New(overloader.LimitConfig{MaxTotalQPS: 3})
		net, addr, _ := serve(t, o)
		sess := dial(t, net, addr)
		keys := func(m tp.Message) {
			for i := range 1000 {
				m.Meta().Add("k"+strconv.Itoa(i), "v")
				m.Meta().Add("X-Real-IP", strconv.Itoa(i))
			}
		}
		for i, test := range []struct {
			set  tp.MessageSetting
			pass bool
		}{
			{tp.WithAddMeta(overloader.MetaRetryAfter, strings.Repeat("9", 64<<10)), true},
			{keys, true},
			{tp.WithServiceMethod("/a?" + strings.Repeat("x=y&", 10)), true},
			{keys, false},
		} {
			if got := sess.Call("/a", 1, nil, test.set).Rerror() == nil; got != test.pass {
				t.Errorf("call %d passed: %t; want %t", i, got, test.pass)
			}
		}
	})
}

func TestConcurrent(t *testing.T) {
	o := overloader.New(overloader.LimitConfig{MaxTotalQPS: 50, QPSInterval: time.Hour})
	net, addr, _ := serve(t, o)
	sess := dial(t, net, addr)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				sess.Call("/a", 1, nil)
				if j%10 == 0 {
					o.Update(overloader.LimitConfig{MaxTotalQPS: int32(10 + i), QPSInterval: time.Hour, MaxHandlerQPS: []overloader.HandlerLimit{{"/a", 10}}})
					o.Counts()
				}
			}
		})
	}
	wg.Wait()
	if c := o.Counts(); c.Passed+c.Refused != 400 {
		t.Errorf("counted %d passed and %d refused; want 400 together", c.Passed, c.Refused)
	}
}

// lower reroutes to lower-case names.
type lower struct{}

func (lower) Name() string { return "lower" }
func (lower) PostReadCallHeader(ctx tp.ReadCtx) *tp.Rerror {
	ctx.ResetServiceMethod(strings.ToLower(ctx.ServiceMethod()))
	return nil
}

// Whatever a caller writes: a handler is limited by the name it was registered with.
func TestByRegisteredName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := overloader.New(overloader.LimitConfig{MaxHandlerQPS: []overloader.HandlerLimit{{"/group/a", 1}}})
		net := tptest.NewNetwork()
		srv := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t)}, lower{}, o)
		tp.HandleCall(srv.SubRoute("group"), "/a", func(_ tp.CallCtx, arg *int) (int, error) { return *arg, nil })
		sess := dial(t, net, tptest.Listen(t, srv))
		for _, method := range []string{"/group/a?x=1", "/group/a?x=2", "/group/%61", "/Group/A", "/group/a#f"} {
			time.Sleep(time.Second)
			if got := passed(t, sess, method, 3); got != 1 {
				t.Errorf("%d calls of %s passed; want 1", got, method)
			}
		}
		if got := o.Counts().Handlers; fmt.Sprint(got) != "[{/group/a 5 10}]" {
			t.Errorf("counted %v", got)
		}
	})
}

// A session that took no place, since it is older than the plugin, frees none.
func TestOlderSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := tptest.NewNetwork()
		srv := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t)})
		addr := tptest.Listen(t, srv)
		older := dial(t, net, addr)
		synctest.Wait()
		o := overloader.New(overloader.LimitConfig{MaxConn: 1})
		srv.PluginContainer().AppendRight(o)
		dial(t, net, addr)
		synctest.Wait()
		older.Close()
		synctest.Wait()
		o.PostDisconnect(older) // should it be called nevertheless
		if got := o.Counts().Conns; got != 1 {
			t.Errorf("counted %d; want 1: another session has ended", got)
		}
	})
}

type refuseDial struct{}

func (refuseDial) Name() string { return "refuse" }
func (refuseDial) PostDial(tp.PreSession) *tp.Rerror {
	return tp.NewRerror(tp.CodeUnauthorized, "no", "")
}

// A dialled session gives its place back when a later plugin refuses it, and when
// it breaks and is not to be had again.
func TestPlaceOfLostDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := overloader.New(overloader.LimitConfig{MaxConn: 1})
		net, addr, _ := serve(t, overloader.New(overloader.LimitConfig{}))
		refusing := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t)}, o, refuseDial{})
		for range 3 {
			if _, r := refusing.Dial(addr); r == nil || r.Code == tp.CodeTooManyRequests {
				t.Errorf("Dial: %s; want the later plugin's refusal", r)
			}
		}
		if got := o.Counts().Conns; got != 0 {
			t.Errorf("counted %d after refused dials; want 0", got)
		}
		for _, redials := range []int32{0, 2} {
			net, addr, _ := serve(t, overloader.New(overloader.LimitConfig{}))
			cli := tptest.NewPeer(t, tp.PeerConfig{Network: net.Register(t), RedialTimes: redials}, o)
			sess := tptest.Dial(t, cli, addr)
			if got := o.Counts().Conns; got != 1 {
				t.Errorf("counted %d; want 1", got)
			}
			net.Refuse(addr, 100)
			net.Find(sess.LocalAddr().String()).Cut()
			<-sess.CloseNotify()
			synctest.Wait()
			if got := o.Counts().Conns; got != 0 {
				t.Errorf("counted %d after a break with %d redials; want 0", got, redials)
			}
		}
	})
}
