package tp_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	tp "github.com/teleport-go/teleport/core"
)

// hooked is a plugin that implements every hook. It records each moment, and at some of
// them runs a function of the test.
type hooked struct {
	name string
	j    *journal
	see  func(moment string, ctx any)

	mu sync.Mutex // guards at
	at map[string]func() *tp.Rerror
}

// set sets the function that runs at a moment; nil for none.
func (h *hooked) set(moment string, f func() *tp.Rerror) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at == nil {
		h.at = make(map[string]func() *tp.Rerror)
	}
	h.at[moment] = f
}

func (h *hooked) Name() string { return h.name }

func (h *hooked) hook(moment string, ctx any) *tp.Rerror {
	h.j.add("%s", h.name+" "+moment)
	if h.see != nil {
		h.see(moment, ctx)
	}
	h.mu.Lock()
	f := h.at[moment]
	h.mu.Unlock()
	if f != nil {
		return f()
	}
	return nil
}

func (h *hooked) plain(moment string, ctx any) error { return h.hook(moment, ctx).Err() }

func (h *hooked) PreNewPeer(*tp.PeerConfig, *tp.PluginContainer) error {
	return h.plain("PreNewPeer", nil)
}
func (h *hooked) PostNewPeer(tp.EarlyPeer) error             { return h.plain("PostNewPeer", nil) }
func (h *hooked) PostReg(*tp.Handler) error                  { return h.plain("PostReg", nil) }
func (h *hooked) PostListen(a net.Addr) error                { return h.plain("PostListen", a) }
func (h *hooked) PreDial(net.Addr, string) *tp.Rerror        { return h.hook("PreDial", nil) }
func (h *hooked) PostDial(s tp.PreSession) *tp.Rerror        { return h.hook("PostDial", s) }
func (h *hooked) PostAccept(s tp.PreSession) *tp.Rerror      { return h.hook("PostAccept", s) }
func (h *hooked) PreWriteCall(c tp.WriteCtx) *tp.Rerror      { return h.hook("PreWriteCall", c) }
func (h *hooked) PostWriteCall(c tp.WriteCtx) *tp.Rerror     { return h.hook("PostWriteCall", c) }
func (h *hooked) PreWritePush(c tp.WriteCtx) *tp.Rerror      { return h.hook("PreWritePush", c) }
func (h *hooked) PostWritePush(c tp.WriteCtx) *tp.Rerror     { return h.hook("PostWritePush", c) }
func (h *hooked) PreReadHeader(c tp.PreCtx) error            { return h.plain("PreReadHeader", c) }
func (h *hooked) PostReadCallHeader(c tp.ReadCtx) *tp.Rerror { return h.hook("PostReadCallHeader", c) }
func (h *hooked) PreReadCallBody(c tp.ReadCtx) *tp.Rerror    { return h.hook("PreReadCallBody", c) }
func (h *hooked) PostReadCallBody(c tp.ReadCtx) *tp.Rerror   { return h.hook("PostReadCallBody", c) }
func (h *hooked) PreWriteReply(c tp.WriteCtx) *tp.Rerror     { return h.hook("PreWriteReply", c) }
func (h *hooked) PostWriteReply(c tp.WriteCtx) *tp.Rerror    { return h.hook("PostWriteReply", c) }
func (h *hooked) PostReadPushHeader(c tp.ReadCtx) *tp.Rerror { return h.hook("PostReadPushHeader", c) }
func (h *hooked) PreReadPushBody(c tp.ReadCtx) *tp.Rerror    { return h.hook("PreReadPushBody", c) }
func (h *hooked) PostReadPushBody(c tp.ReadCtx) *tp.Rerror   { return h.hook("PostReadPushBody", c) }
func (h *hooked) PostReadReplyHeader(c tp.ReadCtx) *tp.Rerror {
	return h.hook("PostReadReplyHeader", c)
}
func (h *hooked) PreReadReplyBody(c tp.ReadCtx) *tp.Rerror   { return h.hook("PreReadReplyBody", c) }
func (h *hooked) PostReadReplyBody(c tp.ReadCtx) *tp.Rerror  { return h.hook("PostReadReplyBody", c) }
func (h *hooked) PostDisconnect(s tp.BaseSession) *tp.Rerror { return h.hook("PostDisconnect", s) }

// hookedEnds is two peers with two such plugins each.
type hookedEnds struct {
	*ends
	srvJ, cliJ *journal
	srvP, cliP *hooked
}

func newHooked(t *testing.T, routes func(tp.Peer)) *hookedEnds {
	x := &hookedEnds{srvJ: new(journal), cliJ: new(journal)}
	x.srvP = &hooked{name: "S1", j: x.srvJ}
	x.cliP = &hooked{name: "C1", j: x.cliJ}
	x.ends = &ends{
		srvPlugin: []tp.Plugin{x.srvP, &hooked{name: "S2", j: x.srvJ}},
		cliPlugin: []tp.Plugin{x.cliP, &hooked{name: "C2", j: x.cliJ}},
		routes:    routes,
	}
	if routes == nil {
		x.routes = func(p tp.Peer) {
			tp.HandleCall(p, "/call", func(_ tp.CallCtx, arg *string) (string, error) {
				x.srvJ.add("handler")
				if *arg == "fail" {
					return "", tp.NewRerror(1000, "mine", "").Err()
				}
				return *arg, nil
			})
			tp.HandlePush(p, "/push", func(tp.PushCtx, *string) error { x.srvJ.add("handler"); pushed <- "came"; return nil })
		}
	}
	return x
}

// both makes the lines of two plugins.
func both(a, b string, moments ...string) (lines []string) {
	for _, m := range moments {
		if m == "handler" {
			lines = append(lines, m)
			continue
		}
		lines = append(lines, a+" "+m, b+" "+m)
	}
	return lines
}

// without drops the moments whose time relative to others is not fixed.
func without(lines []string, moments ...string) []string {
	return slices.DeleteFunc(lines, func(l string) bool {
		return slices.ContainsFunc(moments, func(m string) bool { return strings.HasSuffix(l, " "+m) })
	})
}

// linesUntil waits until j has the line, and takes all lines.
func linesUntil(t *testing.T, j *journal, last string) []string {
	t.Helper()
	eventually(t, last, func() bool { return j.has(last) })
	return j.take()
}

func TestHookOrder(t *testing.T) {
	x := newHooked(t, nil)
	x.listen(t)
	wantLines(t, "the server's making", x.srvJ.take(), slices.Concat(
		both("S1", "S2", "PreNewPeer"), both("S1", "S2", "PostNewPeer"), both("S1", "S2", "PostReg"), both("S1", "S2", "PostReg"), both("S1", "S2", "PostListen"))...)
	wantLines(t, "the client's making", x.cliJ.take(), both("C1", "C2", "PreNewPeer", "PostNewPeer")...)
	sess, r := x.cli.Dial(x.addr)
	if r != nil {
		t.Fatal(r)
	}
	x.sess = sess
	wantLines(t, "dial", linesUntil(t, x.cliJ, "C2 PreReadHeader"), both("C1", "C2", "PreDial", "PostDial", "PreReadHeader")...)
	wantLines(t, "accept", linesUntil(t, x.srvJ, "S2 PreReadHeader"), both("S1", "S2", "PostAccept", "PreReadHeader")...)

	if r := x.call(t, "/call", "hi", nil); r != nil {
		t.Fatal(r)
	}
	got := linesUntil(t, x.cliJ, "C2 PreReadHeader")
	wantLines(t, "a call at the caller", without(slices.Clone(got), "PostWriteCall", "PreReadHeader"),
		both("C1", "C2", "PreWriteCall", "PostReadReplyHeader", "PreReadReplyBody", "PostReadReplyBody")...)
	if a, b := slices.Index(got, "C1 PreWriteCall"), slices.Index(got, "C1 PostWriteCall"); a < 0 || b < a {
		t.Errorf("PostWriteCall does not come after PreWriteCall: %q", got)
	}
	got = linesUntil(t, x.srvJ, "S2 PostWriteReply")
	wantLines(t, "a call at the callee", without(got, "PreReadHeader"),
		both("S1", "S2", "PostReadCallHeader", "PreReadCallBody", "PostReadCallBody", "handler", "PreWriteReply", "PostWriteReply")...)

	if r := x.call(t, "/call", "fail", nil); r == nil || r.Code != 1000 {
		t.Fatal(r)
	}
	lines := linesUntil(t, x.cliJ, "C2 PostWriteCall")
	wantLines(t, "an error reply has no body that was read", without(lines, "PostWriteCall", "PreReadHeader"),
		both("C1", "C2", "PreWriteCall", "PostReadReplyHeader", "PreReadReplyBody")...)
	linesUntil(t, x.srvJ, "S2 PostWriteReply")

	if r := x.call(t, "/nobody", "hi", nil); r == nil || r.Code != 404 {
		t.Fatal(r)
	}
	wantLines(t, "404 at the callee", without(linesUntil(t, x.srvJ, "S2 PostWriteReply"), "PreReadHeader"),
		both("S1", "S2", "PostReadCallHeader", "PreWriteReply", "PostWriteReply")...)
	x.cliJ.take()

	if r := x.sess.Push("/push", "hi"); r != nil {
		t.Fatal(r)
	}
	wantLines(t, "a push at the pusher", without(x.cliJ.take(), "PreReadHeader"), both("C1", "C2", "PreWritePush", "PostWritePush")...)
	receive(t, "the push", pushed)
	wantLines(t, "a push at the receiver", without(linesUntil(t, x.srvJ, "handler"), "PreReadHeader"),
		both("S1", "S2", "PostReadPushHeader", "PreReadPushBody", "PostReadPushBody", "handler")...)

	x.sess.Close()
	wantLines(t, "the end at the caller: the last first", without(linesUntil(t, x.cliJ, "C1 PostDisconnect"), "PreReadHeader"), "C2 PostDisconnect", "C1 PostDisconnect")
	wantLines(t, "the end at the callee", without(linesUntil(t, x.srvJ, "S1 PostDisconnect"), "PreReadHeader"), "S2 PostDisconnect", "S1 PostDisconnect")
}

// What an error, and a panic, does at each moment of a CALL and a PUSH.
func TestHookErrors(t *testing.T) {
	for _, test := range []struct {
		moment string
		server bool  // at the callee
		call   int32 // what a call ends with: 0, 1000 for the hook's error
		ran    bool  // the handler
		logged bool  // the error is only logged
		second bool  // the second plugin runs too (never after an error)
	}{
		{"PreWriteCall", false, 1000, false, false, false},
		{"PostWriteCall", false, 0, true, true, false},
		{"PostReadCallHeader", true, 1000, false, false, false},
		{"PreReadCallBody", true, 1000, false, false, false},
		{"PostReadCallBody", true, 1000, false, false, false},
		{"PreWriteReply", true, 0, true, true, false},
		{"PostWriteReply", true, 0, true, true, false},
		{"PostReadReplyHeader", false, 1000, true, false, false},
		{"PreReadReplyBody", false, 1000, true, false, false},
		{"PostReadReplyBody", false, 1000, true, false, false},
	} {
		for _, way := range []struct {
			name string
			code int32
			do   func() *tp.Rerror
		}{
			{"error", 1000, func() *tp.Rerror { return tp.NewRerror(1000, "hook says no", "reason") }},
			{"panic", 500, func() *tp.Rerror { panic("hook's panic") }},
			{"code 0", 0, func() *tp.Rerror { return tp.NewRerror(0, "", "") }},
		} {
			t.Run(test.moment+"/"+way.name, func(t *testing.T) {
				x := newHooked(t, nil)
				p, second, j, lines := x.cliP, "C2 ", x.cliJ, func() *lineLog { return x.cliLines }
				if test.server {
					p, second, j, lines = x.srvP, "S2 ", x.srvJ, func() *lineLog { return x.srvLines }
				}
				p.set(test.moment, way.do)
				x.dial(t)
				want := int32(0)
				if test.call != 0 {
					want = way.code
				}
				var got string
				r := x.call(t, "/call", "hi", &got)
				wantRerror(t, "the call", r, want)
				if r == nil && got != "hi" {
					t.Errorf("the reply is %q", got)
				}
				if way.name == "panic" && want == 500 && r != nil && r.Reason != "hook's panic" {
					t.Errorf("the reason is %q; want the panic's text", r.Reason)
				}
				if test.moment == "PostWriteReply" || test.moment == "PostWriteCall" {
					eventually(t, test.moment, func() bool { return j.has(p.name + " " + test.moment) })
				}
				if way.code == 0 {
					eventually(t, second+test.moment, func() bool { return j.has(second + test.moment) })
				} else if j.has(second + test.moment) {
					t.Error("the second plugin ran although the first has ended the row")
				}
				if ran := x.srvJ.has("handler"); ran != test.ran && way.code != 0 {
					t.Errorf("the handler ran: %v; want %v", ran, test.ran)
				}
				if test.logged && way.code != 0 {
					lines().want(t, "ERROR "+test.moment+` of "/call"`)
				}
				p.set(test.moment, nil)
				if r := x.call(t, "/call", "again", &got); r != nil || got != "again" || !x.sess.Health() {
					t.Errorf("afterwards a call gives %q, %v; want the session to live", got, r)
				}
			})
		}
	}
}

func TestPushHookErrors(t *testing.T) {
	for _, test := range []struct {
		moment string
		server bool
		code   int32 // Push returns the hook's error
		ran    bool
		log    string
	}{
		{"PreWritePush", false, 1000, false, ""},
		{"PostWritePush", false, 0, true, `ERROR PostWritePush of "/push"`},
		{"PostReadPushHeader", true, 0, false, `WARN PUSH "/push"`},
		{"PreReadPushBody", true, 0, false, `WARN PUSH "/push"`},
		{"PostReadPushBody", true, 0, false, `WARN PUSH "/push"`},
	} {
		for _, panics := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/panic=%v", test.moment, panics), func(t *testing.T) {
				x := newHooked(t, nil)
				p, lines := x.cliP, func() *lineLog { return x.cliLines }
				if test.server {
					p, lines = x.srvP, func() *lineLog { return x.srvLines }
				}
				code := int32(1000)
				p.set(test.moment, func() *tp.Rerror { return tp.NewRerror(1000, "no", "") })
				if panics {
					code = 500
					p.set(test.moment, func() *tp.Rerror { panic("hook's panic") })
				}
				x.dial(t)
				r := x.sess.Push("/push", "hi")
				if test.code == 0 {
					code = 0
				}
				wantRerror(t, "Push", r, code)
				if test.log != "" {
					lines().want(t, test.log)
				}
				if test.ran {
					receive(t, "the push", pushed)
				}
				if !test.ran && x.srvJ.has("handler") {
					t.Error("the handler ran")
				}
				if r := x.call(t, "/call", "again", nil); r != nil {
					t.Errorf("afterwards a call gives %v", r)
				}
				if len(pushed) > 0 {
					t.Errorf("the handler ran: %s", <-pushed)
				}
			})
		}
	}
}

func TestConnectionHookErrors(t *testing.T) {
	refuse := func() *tp.Rerror { return tp.NewRerror(403, "go away", "") }
	ouch := func() *tp.Rerror { panic("ouch") }
	for _, test := range []struct {
		name, moment string
		do           func() *tp.Rerror
		server       bool
		code         int32
		gone         []string // PostDisconnect of those that had passed
	}{
		{"PreDial", "PreDial", refuse, false, 403, nil},
		{"PreDial panics", "PreDial", ouch, false, 500, nil},
		{"PostDial", "PostDial", refuse, false, 403, nil},
		{"PostDial panics", "PostDial", ouch, false, 105, nil},
		{"PostAccept", "PostAccept", refuse, true, 102, nil},
		{"PostAccept panics", "PostAccept", ouch, true, 102, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := newHooked(t, nil)
			p := x.cliP
			if test.server {
				p = x.srvP
			}
			x.listen(t)
			p.set(test.moment, test.do)
			s, r := x.cli.Dial(x.addr)
			if !test.server {
				if s != nil {
					t.Errorf("Dial gives a session: %v", s)
				}
				wantRerror(t, "Dial", r, test.code)
			} else {
				if r != nil {
					t.Fatal(r)
				}
				wantRerror(t, "the call of a refused client", s.Call("/call", "x", nil).Rerror(), test.code)
				eventually(t, "the client notices", func() bool { return !s.Health() })
			}
			if n := x.srv.CountSession(); test.server && n != 0 {
				t.Errorf("the server has %d sessions", n)
			}
			p.set(test.moment, nil)
			s, r = x.cli.Dial(x.addr)
			if r != nil {
				t.Fatalf("afterwards Dial gives %v", r)
			}
			if r := s.Call("/call", "x", nil).Rerror(); r != nil {
				t.Errorf("afterwards a call gives %v", r)
			}
		})
	}
	t.Run("PreReadHeader", func(t *testing.T) {
		for _, do := range []func() *tp.Rerror{refuse, ouch} {
			x := newHooked(t, nil)
			x.dial(t)
			x.serverSession(t)
			x.srvP.set("PreReadHeader", do)
			r := x.call(t, "/call", "x", nil) // this one was read already when the hook begins to fail
			if r == nil {
				r = x.call(t, "/call", "x", nil)
			}
			wantRerror(t, "a call", r, tp.CodeConnClosed)
		}
	})
	t.Run("PostListen", func(t *testing.T) {
		for want, do := range map[string]func() *tp.Rerror{"go away": refuse, "ouch": ouch} {
			p := tp.NewPeer(tp.PeerConfig{LocalIP: "127.0.0.1", Logger: newQuiet(nil)}, &hooked{name: "p", j: new(journal), at: map[string]func() *tp.Rerror{"PostListen": do}})
			defer p.Close()
			err := p.Listen(func(tp.IOWithReadBuffer) tp.Proto { return nil })
			if err == nil || !strings.Contains(err.Error(), "[PostListenPlugin:p]") || !strings.Contains(err.Error(), want) || len(p.Addrs()) != 0 {
				t.Errorf("Listen gives %v with the addresses %v; want %q and none", err, p.Addrs(), want)
			}
		}
	})
	t.Run("PostDisconnect", func(t *testing.T) {
		for _, do := range []func() *tp.Rerror{refuse, ouch} {
			x := newHooked(t, nil)
			x.cliP.set("PostDisconnect", do)
			x.dial(t)
			if err := x.sess.Close(); err != nil {
				t.Error(err)
			}
			x.cliLines.want(t, "ERROR [PostDisconnectPlugin:C1]")
			if got := linesUntil(t, x.cliJ, "C1 PostDisconnect"); !slices.Contains(got, "C2 PostDisconnect") {
				t.Errorf("PostDisconnect of the other plugin did not run: %q", got)
			}
		}
	})
}

// PostDisconnect runs only for the plugins that had accepted the connection.
func TestPostDisconnectOfThoseThatHadPassed(t *testing.T) {
	x := newHooked(t, nil)
	second := x.cliPlugin[1].(*hooked)
	x.listen(t)
	second.set("PostDial", func() *tp.Rerror { return tp.NewRerror(401, "", "") })
	x.cliJ.take()
	_, r := x.cli.Dial(x.addr)
	wantRerror(t, "Dial", r, 401)
	wantLines(t, "hooks", linesUntil(t, x.cliJ, "C1 PostDisconnect"), "C1 PreDial", "C2 PreDial", "C1 PostDial", "C2 PostDial", "C1 PostDisconnect")
}
