package tp_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// exchanges records how each CALL and PUSH has ended.
type exchanges struct {
	name string
	end  chan string
}

func (x *exchanges) Name() string { return x.name }

func (x *exchanges) PostExchange(ctx tp.PreCtx, r *tp.Rerror) {
	if ctx.Session() == nil || ctx.Context() == nil {
		panic("something is missing")
	}
	way, m := "out", tp.Message(nil)
	if in, ok := ctx.(tp.ReadCtx); ok {
		way, m = "in", in.Input()
	} else {
		m = ctx.(tp.WriteCtx).Output()
	}
	code := int32(0)
	if r.HasError() {
		code = r.Code
	}
	x.end <- fmt.Sprintf("%s %s %s %d", way, tp.TypeText(m.Mtype()), m.ServiceMethod(), code)
}

// loudEnd panics at the end of each message.
type loudEnd struct{}

func (loudEnd) Name() string                       { return "loud" }
func (loudEnd) PostExchange(tp.PreCtx, *tp.Rerror) { panic("loud") }

func TestPostExchange(t *testing.T) {
	srv, cli := &exchanges{"x", make(chan string, 100)}, &exchanges{"x", make(chan string, 100)}
	block, started := make(chan struct{}), make(chan bool, 1)
	e := &ends{
		srvPlugin: []tp.Plugin{loudEnd{}, srv},
		cliPlugin: []tp.Plugin{loudEnd{}, cli},
		routes: func(p tp.Peer) {
			tp.HandleCall(p, "/ok", func(_ tp.CallCtx, s *string) (string, error) { return *s, nil })
			tp.HandleCall(p, "/fail", func(_ tp.CallCtx, s *string) (string, error) {
				return "", tp.NewRerror(1000, "", "").Err()
			})
			tp.HandleCall(p, "/slow", func(tp.CallCtx, *string) (string, error) {
				started <- true
				<-block
				return "", nil
			})
			tp.HandlePush(p, "/note", func(tp.PushCtx, *string) error { return nil })
			tp.HandlePush(p, "/bad", func(tp.PushCtx, *string) error { return tp.NewRerror(1001, "", "").Err() })
		},
	}
	e.dial(t)
	over, stop := context.WithCancel(t.Context())
	stop()
	slow := func(end func(), set ...tp.MessageSetting) {
		cmd := e.sess.AsyncCall("/slow", "x", nil, nil, set...)
		receive(t, "the handler", started)
		end()
		<-cmd.Done()
	}
	given, giveUp := context.WithCancel(t.Context())
	for _, test := range []struct {
		name    string
		do      func()
		out, in string // "" is none
	}{
		{"call", func() { e.sess.Call("/ok?q", "x", nil) }, "out CALL /ok?q 0", "in CALL /ok?q 0"},
		{"Invoke", func() { tp.Invoke[string](t.Context(), e.sess, "/ok", "x") }, "out CALL /ok 0", "in CALL /ok 0"},
		{"AsyncCall", func() { <-e.sess.AsyncCall("/ok", "x", nil, nil).Done() }, "out CALL /ok 0", "in CALL /ok 0"},
		{"error", func() { e.sess.Call("/fail", "x", nil) }, "out CALL /fail 1000", "in CALL /fail 1000"},
		{"no route", func() { e.sess.Call("/no", "x", nil) }, "out CALL /no 404", "in CALL /no 404"},
		{"argument", func() { e.sess.Call("/ok", 1, nil) }, "out CALL /ok 400", "in CALL /ok 400"},
		{"not sendable", func() { e.sess.Call("/ok", func() {}, nil) }, "out CALL /ok 104", ""},
		{"result", func() { e.sess.Call("/ok", "x", new(int)) }, "out CALL /ok 400", "in CALL /ok 0"},
		{"over before", func() { e.sess.Call("/ok", "x", nil, tp.WithContext(over)) }, "out CALL /ok 499", ""},
		{"push", func() { e.sess.Push("/note", "x") }, "out PUSH /note 0", "in PUSH /note 0"},
		{"push that fails there", func() { e.sess.Push("/bad", "x") }, "out PUSH /bad 0", "in PUSH /bad 1001"},
		{"push without a route", func() { e.sess.Push("/no", "x") }, "out PUSH /no 0", "in PUSH /no 404"},
		{"push not sendable", func() { e.sess.Push("/note", func() {}) }, "out PUSH /note 104", ""},
		{"push over before", func() { e.sess.Push("/note", "x", tp.WithContext(over)) }, "out PUSH /note 499", ""},
		{"cancelled", func() { slow(giveUp, tp.WithContext(given)) }, "out CALL /slow 499", ""},
		{"end of the session", func() { slow(func() { e.sess.Drain(over) }) }, "out CALL /slow 102", ""},
		{"after it", func() { e.sess.Call("/ok", "x", nil) }, "out CALL /ok 102", ""},
		{"push after it", func() { e.sess.Push("/note", "x") }, "out PUSH /note 102", ""},
	} {
		test.do()
		if got := receive(t, test.name+" here", cli.end); got != test.out {
			t.Errorf("%s: it ended here as %q; want %q", test.name, got, test.out)
		}
		if test.in != "" {
			if got := receive(t, test.name+" there", srv.end); got != test.in {
				t.Errorf("%s: it ended there as %q; want %q", test.name, got, test.in)
			}
		}
	}
	close(block) // the handlers whose callers have gone
	for range 2 {
		receive(t, "the end of a handler", srv.end)
	}
	if n := len(cli.end) + len(srv.end); n > 0 {
		t.Errorf("%d messages have ended twice", n)
	}
}

type valueKey string

// giving gives the handler's context a value, optionally after a call of Context.
type giving struct {
	name string
	ask  bool
}

func (g *giving) Name() string { return g.name }

func (g *giving) PreReadCallBody(ctx tp.ReadCtx) *tp.Rerror {
	if g.ask {
		ctx.Context()
	}
	m := ctx.Input()
	tp.WithContext(context.WithValue(m.Context(), valueKey(g.name), "there"))(m)
	return nil
}

func (g *giving) PreReadPushBody(ctx tp.ReadCtx) *tp.Rerror { return g.PreReadCallBody(ctx) }

// The values that hooks give the input are in the handler's context, which is unchanged otherwise.
func TestContextOfAHandlerHasTheHooksValues(t *testing.T) {
	for _, ask := range []bool{false, true} {
		t.Run(fmt.Sprintf("Context called before=%v", ask), func(t *testing.T) {
			ctxs := make(chan context.Context, 2)
			check := func(ctx tp.PreCtx) {
				c := ctx.Context()
				if a, b, none := c.Value(valueKey("a")), c.Value(valueKey("b")), c.Value(valueKey("c")); a != "there" || b != "there" || none != nil {
					t.Errorf("the values are %v, %v, %v; want two there, one nil", a, b, none)
				}
				if at, ok := c.Deadline(); !ok || time.Until(at) > time.Hour {
					t.Errorf("the deadline is %v, %v; want the caller's", at, ok)
				}
				if c != ctx.Context() || c.Err() != nil {
					t.Errorf("a second Context returns another context, or one that has ended: %v", c.Err())
				}
				child, stop := context.WithCancel(c)
				_ = stop // its parent ends
				ctxs <- child
			}
			e := &ends{
				srvPlugin: []tp.Plugin{&giving{"a", ask}, &giving{"b", ask}},
				srvCfg:    tp.PeerConfig{DefaultContextAge: time.Hour},
				routes: func(p tp.Peer) {
					tp.HandleCall(p, "/c", func(ctx tp.CallCtx, _ *string) (string, error) { check(ctx); return "", nil })
					tp.HandlePush(p, "/p", func(ctx tp.PushCtx, _ *string) error { check(ctx); return nil })
				},
			}
			e.dial(t)
			if r := e.call(t, "/c", "", nil); r != nil {
				t.Fatal(r)
			}
			e.sess.Push("/p", "")
			for range 2 {
				receive(t, "the end", receive(t, "the context", ctxs).Done())
			}
		})
	}
}
