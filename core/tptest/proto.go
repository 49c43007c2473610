package tptest

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
	"github.com/teleport-go/teleport/core/prototest"
)

// RunProto checks the protocol that pf makes in real sessions: two peers call and push
// in both directions, over a network in memory, in testing/synctest bubbles, and over
// tcp. Package prototest checks the frames of a protocol.
//
// Neither the test nor its subtests may run in parallel to others.
func RunProto(t *testing.T, pf tp.ProtoFunc, opts ...Option) {
	s := newSuite(opts)
	s.pf = pf
	runChecks(t, s, protoChecks)
}

var protoChecks = []check{
	{"call", "calls get replies, in both directions", false, checkCall},
	{"push", "pushes arrive, in both directions", false, checkPush},
	{"rerror", "code, message and reason of an error arrive", false, checkRerror},
	{"unknown", "an unknown method is 404; an unknown PUSH does no harm", false, checkUnknown},
	{"panic", "a panic of a handler is 500 with its text, unless HidePanics; the session goes on", false, checkPanic},
	{"concurrent", "each of many calls at once, in both directions, gets its own reply", false, checkConcurrent},
	{"large", "bodies of 1 MiB go both ways", false, checkLarge},
	{"kept", "the bytes of an unknown CALL's body belong to the handler for ever", false, checkKept},
	{"poison", "the protocol keeps no borrowed memory", false, checkPoison},
	{"meta", "calls, replies and pushes carry metadata", false, checkMeta},
	{"pipe", "filters work on calls, replies and pushes", false, checkPipe},
	{"streams", "messages of streams go both ways, in order, whichever side opens; an error, the end of either side and a cancel arrive", false, checkStreams},
	{"unreadable", "a call whose reply cannot be unpacked ends, with 102 or 400", false, checkUnreadable},
	{"auth", "AUTH_CALL and AUTH_REPLY work before the session is ready, and on it; Dial returns a refusal, 405 if the other side asks for none", false, checkAuth},
	{"answer", "a hook answers a call in place of its handler", false, checkAnswer},
	{"deadline", "a call ends with its context, the handler gets the deadline, a late reply does no harm", false, checkDeadline},
	{"context age", "the call of a handler that exceeds the context age gets 408, and the session goes on", false, checkContextAge},
	{"session age", "a session ends at its age: 102", false, checkSessionAge},
	{"close", "Close waits for pending calls, lets replies pass, and ends in time", false, checkClose},
	{"redial", "after a break pending calls get 102, and later ones work over the new connection", false, checkRedial},
	{"cut", "wherever in a frame the connection breaks, the call gets 102 and both sides end", false, checkCut},
	{"garbage", "bytes that are no frame end their connection and no other", false, checkGarbage},
	{"dribble", "messages arrive over a slow network that delivers few bytes at a time", false, checkDribble},
	{"tcp", "all of this works over tcp too, and no goroutine is left", true, checkTCP},
}

// rig makes a rig with the suite's configuration on both sides.
func (s *suite) rig(r *recorder) *rig {
	LeakCheck(r)
	g, _ := s.newRig(r, s.cfg, s.cfg)
	return g
}

func checkCall(r *recorder, s *suite) {
	g := s.rig(r)
	for _, e := range g.ends() {
		for _, text := range []string{"hello", "", "a \"quoted\" <line>\nand \\ ü, 世界", strings.Repeat("x", 1000)} {
			e[0].echo(text)
		}
		if r := e[0].sess.Call(echoMethod, s.bodies.wrap("the reply is not used"), nil).Rerror(); r != nil {
			g.Errorf("%s side: a call without a result: %s", e[0].name, r)
		}
	}
}

func checkPush(r *recorder, s *suite) {
	if s.without[prototest.Push] {
		return
	}
	g := s.rig(r)
	for _, e := range g.ends() {
		for i := range 10 {
			e[0].note(e[1], fmt.Sprintf("push %d", i))
		}
		e[0].echo("after a push")
	}
}

func checkRerror(r *recorder, s *suite) {
	g := s.rig(r)
	want := teapot()
	for _, e := range g.ends() {
		_, got := e[0].call(failMethod, "x")
		if got == nil || got.Code != want.Code || got.Message != want.Message || got.Reason != want.Reason {
			g.Errorf("%s side: a call got the error %s; want %s", e[0].name, got, want)
		}
		e[0].echo("after an error")
	}
}

func checkUnknown(r *recorder, s *suite) {
	g := s.rig(r)
	for _, e := range g.ends() {
		_, got := e[0].call("/tptest/nobody", "x")
		wantCode(r, e[0].name+" side: a call of an unknown method", got, tp.CodeNotFound)
		if !s.without[prototest.Push] {
			if got := e[0].sess.Push("/tptest/nobody", s.bodies.wrap("x")); got != nil {
				g.Errorf("%s side: an unknown push: %s", e[0].name, got)
			}
		}
		e[0].echo("after an unknown method")
	}
	g.works()
}

func checkPanic(r *recorder, s *suite) {
	LeakCheck(r)
	server, client := s.cfg, s.cfg
	server.HidePanics, client.HidePanics = true, false
	g, _ := s.newRig(r, server, client)
	const text = "the sky is falling"
	for _, e := range g.ends() {
		_, got := e[0].call(panicMethod, text)
		if !wantCode(r, e[0].name+" side: a call whose handler panics", got, tp.CodeInternalServerError) {
			continue
		}
		hidden := e[1] == g.srv
		if has := strings.Contains(got.Reason, text); has == hidden {
			g.Errorf("%s side: a panic %q with HidePanics %v gave the reason %q", e[0].name, text, hidden, got.Reason)
		}
		e[0].echo("after a panic")
	}
}

func checkConcurrent(r *recorder, s *suite) { s.rig(r).concurrent(8, 25) }

// concurrent runs n goroutines per side, each of which makes so many calls and pushes.
func (g *rig) concurrent(n, each int) {
	var wg sync.WaitGroup
	for _, e := range g.ends() {
		for i := range n {
			wg.Go(func() {
				for j := range each {
					if !e[0].echo(fmt.Sprintf("%s %d.%d", e[0].name, i, j)) {
						return
					}
					if g.s.without[prototest.Push] {
						continue
					}
					if r := e[0].sess.Push(noteMethod, g.s.bodies.wrap(fmt.Sprintf("%d.%d", i, j))); r != nil {
						g.Errorf("%s side: a push: %s", e[0].name, r)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	if g.s.without[prototest.Push] || g.Failed() {
		return
	}
	for _, e := range g.ends() {
		got := make(map[string]bool)
		for range n * each {
			got[receive(g.recorder, e[1].notes, "a push of the "+e[0].name+" side").text] = true
		}
		if len(got) != n*each {
			g.Errorf("%s side: of %d different pushes %d arrived", e[0].name, n*each, len(got))
		}
	}
}

func checkLarge(r *recorder, s *suite) { s.rig(r).large(1 << 20) }

// large sends bodies of n/8 bytes one by one, and then bodies of that size and of n bytes
// in both directions at once.
func (g *rig) large(n int) {
	text := long(n)
	for _, e := range g.ends() {
		e[0].echo(text[:n/8])
		if !g.s.without[prototest.Push] {
			e[0].note(e[1], text[:n/8])
		}
	}
	var wg sync.WaitGroup
	for _, e := range g.ends() {
		for _, text := range []string{text, text[:n/8]} {
			wg.Go(func() { e[0].echo(text) })
		}
	}
	wg.Wait()
}

func checkKept(r *recorder, s *suite) {
	g := s.rig(r)
	type kept struct{ bytes, copy []byte }
	got := make(chan kept, 100)
	for _, e := range []*end{g.srv, g.cli} {
		e.peer.SetUnknownCall(func(ctx tp.UnknownCallCtx) (any, *tp.Rerror) {
			b := ctx.InputBodyBytes()
			got <- kept{b, slices.Clone(b)}
			return nil, nil
		})
	}
	const n = 10
	for _, e := range g.ends() {
		for i := range n {
			size := 100
			if i%2 == 1 {
				size = 100_000
			}
			_, got := e[0].call("/tptest/kept", strings.Repeat(string(rune('a'+i)), size))
			wantCode(r, "a call of the unknown handler", got, 0)
		}
	}
	for range 2 * n {
		if k := receive(r, got, "a body"); !slices.Equal(k.bytes, k.copy) {
			g.Errorf("a body of %d bytes was overwritten after the handler got it", len(k.copy))
			return
		}
	}
}

func checkPoison(r *recorder, s *suite) {
	Poison(r)
	g := s.rig(r)
	for range 3 {
		g.works()
	}
	g.concurrent(2, 5)
	g.large(100_000)
}

func checkMeta(r *recorder, s *suite) {
	g := s.rig(r)
	pairs := [][2]string{{"X-One", "1"}, {"X-Two", "two"}}
	if !s.without[prototest.AnyMeta] {
		pairs = append(pairs, [2]string{"empty", ""}, [2]string{"odd = key", "a=b&c %20 + ü\n"}, [2]string{"long", strings.Repeat("m", 5000)})
	}
	var set []tp.MessageSetting
	for _, p := range pairs {
		set = append(set, tp.WithAddMeta(p[0], p[1]))
	}
	compare := func(what string, m *tp.Meta) {
		for _, p := range pairs {
			if !m.Has(p[0]) || string(m.Peek(p[0])) != p[1] {
				g.Errorf("%s: metadata %q is %s; want %s", what, p[0], brief(string(m.Peek(p[0]))), brief(p[1]))
			}
		}
	}
	for _, e := range g.ends() {
		e[1].seen = func(ctx tp.CallCtx) {
			compare(e[0].name+" side: call", ctx.CopyMeta())
			for _, p := range pairs {
				ctx.AddMeta(p[0], p[1])
			}
		}
		cmd := e[0].async(echoMethod, "meta", set...)
		if wantCode(r, "a call with metadata", reply(r, cmd, "a call with metadata"), 0) {
			compare(e[0].name+" side: reply", cmd.InputMeta())
		}
		if !s.without[prototest.Push] {
			compare(e[0].name+" side: push", e[0].note(e[1], "meta", set...).meta)
		}
	}
}

func checkUnreadable(r *recorder, s *suite) {
	if s.without[prototest.Pipe] {
		return
	}
	LeakCheck(r) // before the first: what its peers start later is not of the second
	for _, size := range []int{1, 100_000} {
		for side := range 2 {
			g, _ := s.newRig(r, s.cfg, s.cfg) // another one: the session may end with the call
			e := g.ends()[side]
			e[1].seen = func(ctx tp.CallCtx) { ctx.AddXferPipe(testwire.Fail) }
			cmd := e[0].async(echoMethod, long(size))
			got := reply(r, cmd, "a call whose reply cannot be unpacked")
			if got == nil || got.Code != tp.CodeConnClosed && got.Code != tp.CodeBadMessage {
				g.Errorf("%s side: a call whose reply of %d bytes cannot be unpacked got %s; want %d or %d", e[0].name, size, got, tp.CodeConnClosed, tp.CodeBadMessage)
			}
		}
	}
}

func checkPipe(r *recorder, s *suite) {
	if s.without[prototest.Pipe] {
		return
	}
	g := s.rig(r)
	ids := []byte{testwire.Hex, testwire.XOR, testwire.Sum}
	set := tp.WithXferPipe(ids...)
	for _, e := range g.ends() {
		e[1].seen = func(ctx tp.CallCtx) {
			if got := ctx.Input().XferPipe().IDs(); !slices.Equal(got, ids) {
				g.Errorf("%s side: a call with the filters %v arrived with %v", e[0].name, ids, got)
			}
		}
		e[0].echo("filtered", set)
		e[0].echo(long(100_000), set)
		e[1].seen = func(ctx tp.CallCtx) { ctx.AddXferPipe(testwire.Sum) }
		e[0].echo("only the reply is filtered")
		e[1].seen = nil
		if !s.without[prototest.Push] {
			e[0].note(e[1], "filtered", set)
		}
		if _, got := e[0].call(failMethod, "x", set); got == nil || got.Code != teapot().Code {
			g.Errorf("%s side: a filtered call got the error %s; want %s", e[0].name, got, teapot())
		}
		e[0].echo("not filtered")
	}
}

func checkDeadline(r *recorder, s *suite) {
	g := s.rig(r)
	for _, e := range g.ends() {
		start := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		cmd := e[0].wait(e[1], tp.WithContext(ctx))
		wantCode(r, e[0].name+" side: a call whose time is over", reply(r, cmd, "the call"), tp.CodeHandleTimeout)
		took(r, "the call with a deadline", start, time.Second, 0)
		receive(r, e[1].left, "the end of the handler's context")
		took(r, "the handler of a call with a deadline", start, time.Second, sweepLate)
		cancel()
		e[0].echo("after a deadline")

		ctx, cancel = context.WithCancel(r.Context())
		cmd = e[0].wait(e[1], tp.WithContext(ctx))
		cancel()
		wantCode(r, e[0].name+" side: a call that was cancelled", reply(r, cmd, "the call"), tp.CodeCanceled)
		e[1].releaseAll()
		e[0].echo("after a late reply")
	}
}

// sweepLate is how much later than a deadline the engine may act.
const sweepLate = 20 * time.Millisecond

// took records a fault if it took less than d since start, or more than d+late.
func took(r *recorder, what string, start time.Time, d, late time.Duration) {
	if got := time.Since(start); got < d || got > d+late {
		r.Errorf("%s took %v; want %v", what, got, d)
	}
}

func checkContextAge(r *recorder, s *suite) {
	LeakCheck(r)
	cfg := s.cfg
	cfg.DefaultContextAge = 10 * time.Second
	g, _ := s.newRig(r, cfg, cfg)
	for _, e := range g.ends() {
		start := time.Now()
		cmd := e[0].wait(e[1])
		wantCode(r, e[0].name+" side: a call whose handler's time is over", reply(r, cmd, "the call"), tp.CodeHandleTimeout)
		receive(r, e[1].left, "the end of the handler's context")
		took(r, "the handler", start, cfg.DefaultContextAge, sweepLate)
		e[0].echo("after the age of a context")
	}
}
