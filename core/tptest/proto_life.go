package tptest

import (
	"errors"
	"io"
	"testing/synctest"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/prototest"
)

// authPlugin is a handshake: a password, and a reply that accepts or refuses it.
type authPlugin struct {
	r        *recorder
	s        *suite
	password string
}

func (p *authPlugin) Name() string { return "tptest-auth" }

func (p *authPlugin) PostDial(sess tp.PreSession) *tp.Rerror {
	if r := sess.PreSend(tp.TypeAuthCall, "/tptest/auth", p.s.bodies.wrap(p.password), nil); r.HasError() {
		return r
	}
	m := sess.PreReceive(p.newBody)
	if m.Rerror().HasError() {
		return m.Rerror()
	}
	if text := p.s.bodies.text(m.Body()); m.Mtype() != tp.TypeAuthReply || text != "welcome" {
		p.r.Errorf("the dialling side got a %s with %s; want AUTH_REPLY with %q", tp.TypeText(m.Mtype()), brief(text), "welcome")
	}
	return nil
}

func (p *authPlugin) PostAccept(sess tp.PreSession) *tp.Rerror {
	m := sess.PreReceive(p.newBody)
	if m.Rerror().HasError() {
		return m.Rerror()
	}
	if m.Mtype() != tp.TypeAuthCall {
		p.r.Errorf("the accepting side got a %s; want AUTH_CALL", tp.TypeText(m.Mtype()))
	}
	if p.s.bodies.text(m.Body()) != "open sesame" {
		refusal := tp.NewRerror(tp.CodeUnauthorized, "", "wrong password")
		sess.PreReply(m, nil, refusal)
		return refusal
	}
	return sess.PreReply(m, p.s.bodies.wrap("welcome"), nil)
}

// AuthCall takes the same password on a session that is ready.
func (p *authPlugin) AuthCall(ctx tp.AuthCallCtx) (any, *tp.Rerror) {
	body := p.s.bodies.empty()
	if _, err := ctx.Bind(body); err != nil {
		return nil, tp.NewRerror(tp.CodeBadMessage, "", err.Error())
	}
	if p.s.bodies.text(body) != "open sesame" {
		return nil, tp.NewRerror(tp.CodeUnauthorized, "", "wrong password")
	}
	return p.s.bodies.wrap("welcome back"), nil
}

func (p *authPlugin) newBody(tp.Header) any { return p.s.bodies.empty() }

func checkAuth(r *recorder, s *suite) {
	if s.without[prototest.Auth] {
		return
	}
	LeakCheck(r)
	g := &rig{recorder: r, s: s}
	cfg := s.cfg
	cfg.Network = NewNetwork().Register(r)
	g.srv = s.newEnd(r, "accepting", cfg, &authPlugin{r, s, ""})
	g.cli = s.newEnd(r, "dialling", cfg, &authPlugin{r, s, "open sesame"})
	g.connect()
	g.works()
	for _, password := range []string{"open sesame", "please", "open sesame"} {
		ret := s.bodies.empty()
		got := g.cli.sess.Call("/tptest/auth", s.bodies.wrap(password), ret, tp.WithMtype(tp.TypeAuthCall)).Rerror()
		if password == "please" {
			wantCode(r, "an AUTH_CALL on the ready session, with a wrong password", got, tp.CodeUnauthorized)
		} else if text := s.bodies.text(ret); got.HasError() || text != "welcome back" {
			g.Errorf("an AUTH_CALL on the ready session got %s, %s; want %q", brief(text), got, "welcome back")
		}
		g.works()
	}

	thief := s.newEnd(r, "refused", cfg, &authPlugin{r, s, "please"})
	sess, got := thief.peer.Dial(g.addr)
	if sess != nil {
		g.Errorf("Dial returned a session although it was refused")
	}
	if wantCode(r, "Dial with a wrong password", got, tp.CodeUnauthorized) && got.Reason != "wrong password" {
		g.Errorf("Dial with a wrong password: reason %q; want %q", got.Reason, "wrong password")
	}

	trusting := s.newEnd(r, "trusting", cfg)
	start := time.Now()
	_, got = g.cli.peer.Dial(Listen(r, trusting.peer))
	wantCode(r, "Dial with a password that nobody asks for", got, tp.CodeMtypeNotAllowed)
	took(r, "Dial with a password that nobody asks for", start, 0, sweepLate)
}

func checkAnswer(r *recorder, s *suite) {
	LeakCheck(r)
	g := &rig{recorder: r, s: s}
	cfg := s.cfg
	cfg.Network = NewNetwork().Register(r)
	answer := func(path string) func(tp.ReadCtx) *tp.Rerror {
		return func(ctx tp.ReadCtx) *tp.Rerror {
			if ctx.Path() != path {
				return nil
			}
			return tp.Answer(s.bodies.wrap(path))
		}
	}
	g.srv = s.newEnd(r, "accepting", cfg, &tp.PluginImpl{PluginName: "tptest-answer",
		OnPostReadCallHeader: answer("/header"), OnPreReadCallBody: answer("/before"), OnPostReadCallBody: answer("/after")})
	g.cli = s.newEnd(r, "dialling", cfg)
	for _, path := range []string{"/before", "/after"} {
		s.bodies.handleCall(g.srv.peer, path, func(tp.CallCtx, string) (string, error) { return "the handler has run", nil })
	}
	g.connect()
	for _, path := range []string{"/header", "/before", "/after"} {
		if got, rerr := g.cli.call(path, "x"); rerr.HasError() || got != path {
			g.Errorf("a call that a hook answers, at %s: %s, %s; want %q", path, brief(got), rerr, path)
		}
	}
	g.works()
}

func checkSessionAge(r *recorder, s *suite) {
	g := s.rig(r)
	for _, e := range g.ends() {
		const age = 10 * time.Second
		start := time.Now()
		e[0].sess.SetSessionAge(age)
		receive(r, e[0].sess.CloseNotify(), "the end of the session")
		took(r, "the session", start, age, sweepLate)
		_, got := e[0].call(echoMethod, "x")
		if wantCode(r, e[0].name+" side: a call after the session's age", got, tp.CodeConnClosed) && got.Reason != "session age" {
			g.Errorf("%s side: a call after the session's age: reason %q; want %q", e[0].name, got.Reason, "session age")
		}
		receive(r, e[1].sess.CloseNotify(), "the end of the session, at the other side,")
		took(r, "the session, at the other side,", start, age, sweepLate)
		g.gone()
		g.connect()
	}
}

// gone waits until both ends of the connection are closed, which takes no time in a bubble.
func (g *rig) gone() {
	start := time.Now()
	for _, e := range g.ends() {
		g.drained(e[0])
	}
	took(g.recorder, "closing both sides", start, 0, sweepLate)
}

// drained waits until the session has ended.
func (g *rig) drained(e *end) {
	over := make(chan struct{})
	go func() {
		e.sess.Drain(g.Context())
		close(over)
	}()
	receive(g.recorder, over, "the end of the "+e.name+" side's session")
}

func checkClose(r *recorder, s *suite) {
	g := s.rig(r)
	for _, e := range g.ends() {
		// Pending calls get their replies.
		cmds := []tp.CallCmd{e[0].wait(e[1]), e[0].wait(e[1])}
		closed := make(chan error, 1)
		go func() { closed <- e[0].sess.Close() }()
		synctest.Wait()
		_, got := e[0].call(echoMethod, "x")
		wantCode(r, e[0].name+" side: a call while the session closes", got, tp.CodeConnClosed)
		select {
		case err := <-closed:
			g.Errorf("%s side: Close = %v, before the pending calls had ended", e[0].name, err)
			return
		default:
		}
		e[1].releaseAll()
		for _, cmd := range cmds {
			wantCode(r, e[0].name+" side: a call that Close waits for", reply(r, cmd, "a call"), 0)
		}
		if err := receive(r, closed, "the end of Close"); err != nil {
			g.Errorf("%s side: Close = %v; want nil", e[0].name, err)
		}
		g.gone()
		g.again()

		// Replies are sent although this side closes.
		cmd := e[0].wait(e[1])
		if err := e[1].sess.Close(); err != nil {
			g.Errorf("%s side: Close while a handler runs = %v; want nil", e[1].name, err)
		}
		e[1].releaseAll()
		wantCode(r, e[0].name+" side: a call whose handler runs while its session closes", reply(r, cmd, "the call"), 0)
		g.gone()
		g.again()

		// A call without a reply is cut off.
		start := time.Now()
		cmd = e[0].wait(e[1])
		if err := e[0].sess.Close(); err == nil {
			g.Errorf("%s side: Close that had to cut off a call = nil; want an error", e[0].name)
		}
		took(r, "Close", start, closeTimeout(s.cfg), sweepLate)
		wantCode(r, e[0].name+" side: a call that was cut off", reply(r, cmd, "the call"), tp.CodeConnClosed)
		g.drained(e[1])
		g.again()
	}
}

func closeTimeout(cfg tp.PeerConfig) time.Duration {
	if cfg.CloseTimeout > 0 {
		return cfg.CloseTimeout
	}
	return 5 * time.Second
}

// again makes a new connection; wait handlers wait again.
func (g *rig) again() {
	for _, e := range []*end{g.cli, g.srv} {
		e.releaseAll()
		synctest.Wait()
		e.arm()
	}
	g.connect()
}

func checkRedial(r *recorder, s *suite) {
	LeakCheck(r)
	client := s.cfg
	client.RedialTimes = -1
	g, n := s.newRig(r, s.cfg, client)
	for range 3 {
		ended := g.srv.sess.CloseNotify()
		cmds := []tp.CallCmd{g.cli.wait(g.srv), g.cli.wait(g.srv), g.srv.wait(g.cli)}
		n.Find(g.cli.sess.LocalAddr().String()).Cut()
		for _, cmd := range cmds {
			wantCode(r, "a call that was pending when the connection broke", reply(r, cmd, "the call"), tp.CodeConnClosed)
		}
		receive(r, ended, "the end of the accepting side's session")
		if !g.cli.echo("after a break") {
			return
		}
		g.meet()
		g.works()
	}
}

func checkCut(r *recorder, s *suite) {
	LeakCheck(r)
	g, n := s.newRig(r, s.cfg, s.cfg)
	for _, from := range []*end{g.cli, g.srv} {
		for _, at := range []int{0, 1, 2, 3, 4, 5, 8, 13, 21, 34, 55, 500} {
			conn := n.Find(g.cli.sess.LocalAddr().String())
			if from == g.srv {
				conn = conn.Peer()
			}
			conn.CutAfter(at)
			cmd := g.cli.async(echoMethod, long(1000))
			wantCode(r, "a call over a connection that breaks", reply(r, cmd, "the call"), tp.CodeConnClosed)
			g.gone()
			g.connect()
		}
	}
	g.works()
}

func checkGarbage(r *recorder, s *suite) {
	LeakCheck(r)
	g, n := s.newRig(r, s.cfg, s.cfg)
	for _, b := range []string{"\xff", "\x00", "GET / HTTP/1.1\r\n\r\n", "\x00\x00\x00\x20"} {
		conn, err := n.Dial(r.Context(), g.addr)
		if err != nil {
			g.Fatal(err)
		}
		for len(b) < 4096 {
			b += b
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = io.WriteString(conn, b)
		if err == nil {
			err = conn.(*Conn).CloseWrite()
		}
		if err != nil && !errors.Is(err, ErrReset) && !errors.Is(err, ErrBrokenPipe) {
			g.Errorf("writing garbage %s: %v", brief(b), err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, ErrReset) {
			g.Errorf("a connection with garbage %s is not closed: %v", brief(b), err)
		}
		conn.Close()
		g.works()
	}
}

func checkDribble(r *recorder, s *suite) {
	LeakCheck(r)
	for _, chunk := range []int{1, 7} {
		g, _ := s.newRig(r, s.cfg, s.cfg, Chunk(chunk), Seed(int64(chunk)), Latency(time.Millisecond), Buffer(500))
		g.works()
		g.concurrent(2, 3)
		g.large(10_000)
	}
}

func checkTCP(r *recorder, s *suite) {
	LeakCheck(r)
	cfg := s.cfg
	cfg.Network, cfg.LocalIP, cfg.ListenPort = "tcp", "127.0.0.1", 0
	g := &rig{recorder: r, s: s}
	g.srv, g.cli = s.newEnd(r, "accepting", cfg), s.newEnd(r, "dialling", cfg)
	g.connect()
	g.works()
	g.concurrent(4, 25)
	g.large(1 << 20)
	for _, p := range []tp.Peer{g.cli.peer, g.srv.peer} {
		if err := p.Close(); err != nil {
			g.Errorf("close peer: %v", err)
		}
	}
	if left := g.cli.peer.CountSession() + g.srv.peer.CountSession(); left > 0 {
		g.Errorf("%d sessions are left after the peers were closed", left)
	}
}
