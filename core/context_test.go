package tp_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// The contexts of the hooks, on both sides.
func TestHookContexts(t *testing.T) {
	x := newHooked(t, nil)
	x.routes = func(p tp.Peer) {
		tp.HandleCall(p, "/call", func(ctx tp.CallCtx, arg *string) (*string, error) {
			ctx.SetMeta("reply", "meta")
			return arg, nil
		})
		tp.HandlePush(p, "/push", func(tp.PushCtx, *string) error { pushed <- "came"; return nil })
	}
	seen := new(journal)
	body := func(m tp.Message) string {
		switch b := m.Body().(type) {
		case *string:
			return "*" + *b
		case nil:
			return "raw " + string(m.RawBody())
		default:
			return fmt.Sprint(b)
		}
	}
	see := func(moment string, ctx any) {
		switch c := ctx.(type) {
		case tp.PreSession:
			seen.add("%s id=%v peer=%v", moment, c.ID() != "", c.Peer() != nil)
		case tp.BaseSession:
			seen.add("%s id=%v", moment, c.ID() != "")
		case tp.ReadCtx:
			if moment == "PreReadHeader" {
				return
			}
			if strings.HasSuffix(moment, "Reply") {
				m := c.(tp.WriteCtx).Output()
				seen.add("%s %s seq=%d %q meta=%s codec=%d body=%s rerr=%v", moment, tp.TypeText(m.Mtype()), m.Seq(), c.ServiceMethod(), m.Meta(), m.BodyCodec(), body(m), c.(tp.WriteCtx).Rerror())
				return
			}
			m := c.Input()
			seen.add("%s %s seq=%d %q path=%s q=%s meta=%s codec=%d body=%s rerr=%v", moment, tp.TypeText(m.Mtype()), c.Seq(), c.ServiceMethod(), c.Path(), c.Query().Get("q"), c.CopyMeta(), m.BodyCodec(), body(m), c.Rerror())
		case tp.WriteCtx:
			m := c.Output()
			seen.add("%s %s seq=%v %q meta=%s codec=%d body=%s rerr=%v", moment, tp.TypeText(m.Mtype()), m.Seq() > 0, m.ServiceMethod(), m.Meta(), m.BodyCodec(), body(m), c.Rerror())
		}
		if c, ok := ctx.(tp.PreCtx); ok && (c.Session() == nil || c.Peer() == nil || c.IP() == "" || c.RealIP() != c.IP() || c.Swap() == nil || c.Context() == nil) {
			seen.add("%s: something is missing", moment)
		}
	}
	x.srvP.see, x.cliP.see = see, see
	x.dial(t)
	x.serverSession(t)
	seen.take()
	take := func(last string) []string {
		eventually(t, last, func() bool {
			seen.mu.Lock()
			defer seen.mu.Unlock()
			return slices.ContainsFunc(seen.lines, func(l string) bool { return strings.HasPrefix(l, last+" ") })
		})
		lines := seen.take()
		slices.SortStableFunc(lines, func(a, b string) int { return rank(a) - rank(b) })
		return lines
	}

	var got string
	if r := x.sess.Call("/call?q=1", "hi", &got, tp.WithSetMeta("k", "v")).Rerror(); r != nil {
		t.Fatal(r)
	}
	wantLines(t, "a call", take("PostWriteReply"),
		`PreWriteCall CALL seq=true "/call?q=1" meta=k=v codec=250 body=hi rerr=<nil>`,
		`PostWriteCall CALL seq=true "/call?q=1" meta=k=v codec=250 body=hi rerr=<nil>`,
		`PostReadCallHeader CALL seq=1 "/call?q=1" path=/call q=1 meta=k=v codec=250 body=raw "hi" rerr=<nil>`,
		`PreReadCallBody CALL seq=1 "/call?q=1" path=/call q=1 meta=k=v codec=250 body=* rerr=<nil>`,
		`PostReadCallBody CALL seq=1 "/call?q=1" path=/call q=1 meta=k=v codec=250 body=*hi rerr=<nil>`,
		`PreWriteReply REPLY seq=1 "/call?q=1" meta=reply=meta codec=250 body=*hi rerr=<nil>`,
		`PostWriteReply REPLY seq=1 "/call?q=1" meta=reply=meta codec=250 body=*hi rerr=<nil>`,
		`PostReadReplyHeader REPLY seq=1 "/call?q=1" path=/call q=1 meta=reply=meta codec=250 body=raw "hi" rerr=<nil>`,
		`PreReadReplyBody REPLY seq=1 "/call?q=1" path=/call q=1 meta=reply=meta codec=250 body=* rerr=<nil>`,
		`PostReadReplyBody REPLY seq=1 "/call?q=1" path=/call q=1 meta=reply=meta codec=250 body=*hi rerr=<nil>`,
	)
	x.sess.Call("/no", "hi", nil)
	wantLines(t, "a call without a route", take("PostWriteReply"),
		`PreWriteCall CALL seq=true "/no" meta= codec=250 body=hi rerr=<nil>`,
		`PostWriteCall CALL seq=true "/no" meta= codec=250 body=hi rerr=<nil>`,
		`PostReadCallHeader CALL seq=2 "/no" path=/no q= meta= codec=250 body=raw "hi" rerr=<nil>`,
		`PreWriteReply REPLY seq=2 "/no" meta= codec=0 body=raw  rerr={"code":404,"message":"Not Found"}`,
		`PostWriteReply REPLY seq=2 "/no" meta= codec=0 body=raw  rerr={"code":404,"message":"Not Found"}`,
		`PostReadReplyHeader REPLY seq=2 "/no" path=/no q= meta= codec=0 body=raw  rerr={"code":404,"message":"Not Found"}`,
		`PreReadReplyBody REPLY seq=2 "/no" path=/no q= meta= codec=0 body=raw  rerr={"code":404,"message":"Not Found"}`,
	)
	x.sess.Push("/push", "ho", tp.WithAddMeta("k", "v"))
	receive(t, "the push", pushed)
	wantLines(t, "a push", take("PostReadPushBody"),
		`PreWritePush PUSH seq=true "/push" meta=k=v codec=250 body=ho rerr=<nil>`,
		`PostWritePush PUSH seq=true "/push" meta=k=v codec=250 body=ho rerr=<nil>`,
		`PostReadPushHeader PUSH seq=3 "/push" path=/push q= meta=k=v codec=250 body=raw "ho" rerr=<nil>`,
		`PreReadPushBody PUSH seq=3 "/push" path=/push q= meta=k=v codec=250 body=* rerr=<nil>`,
		`PostReadPushBody PUSH seq=3 "/push" path=/push q= meta=k=v codec=250 body=*ho rerr=<nil>`,
	)
	x.sess.Close()
	take("PostDisconnect")
}

// rank sorts the lines of the two sides, which happen at the same time.
func rank(line string) int {
	moment, _, _ := strings.Cut(line, " ")
	return slices.Index([]string{"PreWriteCall", "PostWriteCall", "PreWritePush", "PostWritePush", "PostReadPushHeader", "PreReadPushBody", "PostReadPushBody",
		"PostReadCallHeader", "PreReadCallBody",
		"PostReadCallBody", "PreWriteReply", "PostWriteReply", "PostReadReplyHeader", "PreReadReplyBody", "PostReadReplyBody"}, moment)
}

// The result is in the context of PostReadReplyBody, however large it is.
func TestPostReadReplyBodySeesTheResult(t *testing.T) {
	for _, n := range []int{10, 200_000} {
		for _, async := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes, async=%v", n, async), func(t *testing.T) {
				x := newHooked(t, nil)
				size := make(chan int, 1)
				x.cliP.see = func(moment string, ctx any) {
					if moment == "PostReadReplyBody" {
						if s, ok := ctx.(tp.ReadCtx).Input().Body().(*string); ok {
							size <- len(*s)
						} else {
							size <- -1
						}
					}
				}
				x.dial(t)
				var got string
				if !async {
					if r := x.call(t, "/call", strings.Repeat("x", n), &got); r != nil {
						t.Fatal(r)
					}
				} else if _, r := x.sess.AsyncCall("/call", strings.Repeat("x", n), &got, nil).Reply(); r != nil {
					t.Fatal(r)
				}
				if s := receive(t, "the hook", size); s != n || len(got) != n {
					t.Errorf("the hook saw %d bytes, the caller %d; want %d", s, len(got), n)
				}
			})
		}
	}
}

// A swap begins as a copy of the session's; changes stay in the message's own.
func TestSwaps(t *testing.T) {
	x := newHooked(t, nil)
	x.routes = func(p tp.Peer) {
		tp.HandleCall(p, "/swap", func(ctx tp.CallCtx, _ *[]byte) (string, error) {
			a, _ := ctx.Swap().Load("session")
			b, _ := ctx.Swap().Load("exchange")
			return fmt.Sprint(a, " ", b), nil
		})
	}
	x.srvP.see = func(moment string, ctx any) {
		if moment == "PostAccept" {
			ctx.(tp.PreSession).Swap().Store("session", "s")
		}
		if moment == "PostReadCallHeader" {
			c := ctx.(tp.ReadCtx)
			if _, ok := c.Swap().Load("exchange"); !ok {
				c.Swap().Store("exchange", c.Seq())
			}
		}
	}
	var fromHook any
	x.cliP.see = func(moment string, ctx any) {
		switch moment {
		case "PreWriteCall":
			ctx.(tp.WriteCtx).Swap().Store("k", ctx.(tp.WriteCtx).Output().ServiceMethod())
		case "PostReadReplyHeader":
			fromHook, _ = ctx.(tp.ReadCtx).Swap().Load("k")
		}
	}
	x.dial(t)
	for seq := range 3 {
		var got string
		if r := x.call(t, "/swap", nil, &got); r != nil || got != fmt.Sprint("s ", seq+1) {
			t.Errorf("call %d: the handler sees %q, %v", seq+1, got, r)
		}
	}
	if fromHook != "/swap" {
		t.Errorf("the hooks of the reply see %v; want what those of the call left", fromHook)
	}
	if n := x.sess.Swap().Len(); n != 0 {
		t.Errorf("%d values have got into the session's swap", n)
	}
}

// swapper uses the swap of a call in two hooks that run concurrently.
type swapper struct{}

func (swapper) Name() string { return "swapper" }

func (swapper) PostWriteCall(c tp.WriteCtx) *tp.Rerror {
	c.Swap().Store("written", c.Output().Seq())
	return nil
}

func (swapper) PostReadReplyHeader(c tp.ReadCtx) *tp.Rerror {
	c.Swap().Store("read", c.Seq())
	return nil
}

func (swapper) PostReadReplyBody(c tp.ReadCtx) *tp.Rerror {
	if v, _ := c.Swap().Load("read"); v != c.Seq() {
		return tp.NewRerror(1000, "lost", fmt.Sprint(v))
	}
	return nil
}

func TestSwapOfACallIsSafe(t *testing.T) {
	e := &ends{cliPlugin: []tp.Plugin{swapper{}}, routes: func(p tp.Peer) { tp.HandleCall(p, "/c", echo) }}
	e.dial(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				if _, r := e.sess.AsyncCall("/c", nil, nil, nil).Reply(); r != nil {
					t.Error(r)
				}
			}
		})
	}
	wg.Wait()
}

func TestContextOfARefusedMessageEnds(t *testing.T) {
	x := newHooked(t, nil)
	ctxs := make(chan context.Context, 100)
	x.srvP.see = func(moment string, ctx any) {
		if moment == "PostReadCallHeader" || moment == "PostReadPushHeader" {
			ctxs <- ctx.(tp.ReadCtx).Context()
		}
	}
	x.srvP.set("PostReadCallHeader", func() *tp.Rerror { return tp.NewRerror(1000, "", "") })
	x.srvP.set("PostReadPushHeader", func() *tp.Rerror { return tp.NewRerror(1000, "", "") })
	x.dial(t)
	for range 3 {
		x.call(t, "/call", "x", nil)
		ctx := receive(t, "the call's context", ctxs)
		receive(t, "the end of the call's context", ctx.Done())
		x.sess.Push("/push", "x")
		ctx = receive(t, "the push's context", ctxs)
		receive(t, "the end of the push's context", ctx.Done())
	}
}

func TestContextOfAHandlerEnds(t *testing.T) {
	ctxs := make(chan context.Context, 1)
	e := &ends{routes: func(p tp.Peer) {
		tp.HandleCall(p, "/c", func(ctx tp.CallCtx, _ *string) (string, error) {
			c := ctx.Context()
			if at, ok := c.Deadline(); ok && time.Until(at) > time.Minute || c.Err() != nil || c != ctx.Context() {
				return "", fmt.Errorf("deadline %v %v, error %v", at, ok, c.Err())
			}
			ctxs <- c
			return "", nil
		})
	}}
	e.dial(t)
	if r := e.call(t, "/c", "", nil); r != nil {
		t.Fatal(r)
	}
	receive(t, "the end", receive(t, "the context", ctxs).Done())
}

func TestRealIP(t *testing.T) {
	for _, test := range []struct {
		name    string
		trusted []string
		set     []tp.MessageSetting
		want    string // "" is the address itself
	}{
		{"no proxy is trusted", nil, []tp.MessageSetting{tp.WithRealIP("6.6.6.6")}, ""},
		{"another proxy is trusted", []string{"10.0.0.0/8"}, []tp.MessageSetting{tp.WithRealIP("6.6.6.6")}, ""},
		{"trusted network", []string{"10.0.0.0/8", "127.0.0.0/8"}, []tp.MessageSetting{tp.WithRealIP("6.6.6.6")}, "6.6.6.6"},
		{"trusted address", []string{"127.0.0.1"}, []tp.MessageSetting{tp.WithRealIP("6.6.6.6")}, "6.6.6.6"},
		{"trusted, and says nothing", []string{"127.0.0.1"}, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := tp.PeerConfig{LocalIP: "127.0.0.1", TrustedProxies: test.trusted, Protocol: testwire.New, DefaultBodyCodec: "testjson", Logger: newQuiet(nil)}
			srv, cli := tp.NewPeer(cfg), tp.NewPeer(cfg)
			defer srv.Close()
			defer cli.Close()
			tp.HandleCall(srv, "/ip", func(ctx tp.CallCtx, _ *[]byte) (string, error) { return ctx.IP() + " " + ctx.RealIP(), nil })
			if err := srv.Listen(); err != nil {
				t.Fatal(err)
			}
			sess, r := cli.Dial(srv.Addrs()[0].String())
			if r != nil {
				t.Fatal(r)
			}
			var got string
			if r := sess.Call("/ip", nil, &got, test.set...).Rerror(); r != nil {
				t.Fatal(r)
			}
			ip := sess.LocalAddr().String()
			want := ip + " " + ip
			if test.want != "" {
				want = ip + " " + test.want
			}
			if got != want {
				t.Errorf("IP and RealIP are %q; want %q", got, want)
			}
		})
	}
}
