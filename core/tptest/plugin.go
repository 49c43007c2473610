package tptest

import (
	"sync"
	"testing"
	"testing/synctest"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/prototest"
)

// RunPlugin checks the rules for all plugins: a plugin has a name, lets calls and
// pushes pass unchanged (see Gate), can be used by several peers at once, on either side
// or both (see Paired), at any level, works after redials, logs no errors, and ends with
// its peer. newPlugin makes a new plugin; those made for the two sides of a connection
// must work with each other.
//
// The checks run in testing/synctest bubbles, so the plugin must not use channels,
// timers and goroutines that were made outside of newPlugin. Neither the test nor its
// subtests may run in parallel to others.
func RunPlugin(t *testing.T, newPlugin func() tp.Plugin, opts ...Option) {
	runChecks(t, newPluginSuite(newPlugin, opts), pluginChecks)
}

func newPluginSuite(newPlugin func() tp.Plugin, opts []Option) *suite {
	s := newSuite(opts)
	s.newPlugin = newPlugin
	if s.dialSide == nil {
		s.dialSide = newPlugin
	}
	return s
}

var pluginChecks = []check{
	{"name", "Name is not empty, and always the same", false, checkPluginName},
	{"works", "calls, pushes and errors work with the plugin as without it", false, checkPluginWorks},
	{"one side", "one side may have the plugin and the other not", false, checkPluginOneSide},
	{"shared", "one plugin serves several peers at once", false, checkPluginShared},
	{"levels", "a peer, a group and a handler can have the plugin", false, checkPluginLevels},
	{"concurrent", "many calls and pushes at once, in both directions", false, checkPluginConcurrent},
	{"redial", "after a redial all works as before", false, checkPluginRedial},
	{"close", "Peer.Close leaves no goroutine", false, checkPluginClose},
	{"quiet", "without errors, nothing is logged at level error", false, checkPluginQuiet},
}

// guarded makes a rig whose sides have these plugins; nil means none.
func (s *suite) guarded(r *recorder, server, client []tp.Plugin) (*rig, *Network) {
	return s.guardedWith(r, s.cfg, server, client)
}

func (s *suite) guardedWith(r *recorder, cfg tp.PeerConfig, server, client []tp.Plugin) (*rig, *Network) {
	n := NewNetwork()
	cfg.Network = n.Register(r)
	g := &rig{recorder: r, s: s}
	g.srv = s.newEnd(r, "accepting", cfg, server...)
	g.cli = s.newEnd(r, "dialling", cfg, client...)
	g.link()
	return g, n
}

// link dials, without a call that the plugin might refuse.
func (g *rig) link() {
	if g.addr == "" {
		g.addr = Listen(g, g.srv.peer)
	}
	before := make(map[string]bool)
	g.srv.peer.RangeSession(func(s tp.Session) bool { before[s.ID()] = true; return true })
	g.cli.sess = Dial(g, g.cli.peer, g.addr)
	synctest.Wait()
	g.srv.sess = nil
	g.srv.peer.RangeSession(func(s tp.Session) bool {
		if !before[s.ID()] {
			g.srv.sess = s
		}
		return true
	})
	if g.srv.sess == nil {
		g.Fatalf("Dial returned a session, and the accepting side has none")
	}
}

func one(p tp.Plugin) []tp.Plugin { return []tp.Plugin{p} }

// pair makes a rig with new plugins on both sides.
func (s *suite) pair(r *recorder) *rig {
	g, _ := s.guarded(r, one(s.newPlugin()), one(s.dialSide()))
	return g
}

// serves makes calls and pushes of all kinds. A gate may refuse them, but only with an
// error.
func (g *rig) serves() {
	for _, e := range g.ends() {
		if g.s.gate {
			g.refusable(e[0], e[1])
			continue
		}
		e[0].echo("hello")
		e[0].echo(long(100_000))
		if _, r := e[0].call(failMethod, "x"); r == nil || r.String() != teapot().String() {
			g.Errorf("%s side: a call got the error %s; want %s", e[0].name, r, teapot())
		}
		_, r := e[0].call("/tptest/nobody", "x")
		wantCode(g.recorder, e[0].name+" side: a call of an unknown method", r, tp.CodeNotFound)
		if !g.s.without[prototest.Push] {
			e[0].note(e[1], "hello")
		}
	}
}

func (g *rig) refusable(from, to *end) {
	cmd := from.async(echoMethod, "may I?")
	if r := reply(g.recorder, cmd, "a call"); r == nil {
		if got := g.s.bodies.text(first(cmd.Reply())); got != "may I?" {
			g.Errorf("%s side: a call that was not refused replied %s", from.name, brief(got))
		}
	} else if r.Code == tp.CodeInternalServerError {
		g.Errorf("%s side: a call was refused with %s; want another error, with a message", from.name, r)
	}
	if !g.s.without[prototest.Push] {
		from.sess.Push(noteMethod, g.s.bodies.wrap("may I?"))
	}
}

func first[A, B any](a A, _ B) A { return a }

func checkPluginName(r *recorder, s *suite) {
	p := s.newPlugin()
	name := p.Name()
	if name == "" {
		r.Errorf("Name is empty")
		return
	}
	same := func(when string, p tp.Plugin) {
		if got := p.Name(); got != name {
			r.Errorf("Name is %q, and %s %q", name, when, got)
		}
	}
	same("when called again", p)
	same("of another plugin", s.newPlugin())
	g, _ := s.guarded(r, one(p), one(s.dialSide()))
	g.serves()
	same("after it was used", p)
	g.srv.peer.Close()
	same("after its peer was closed", p)
}

func checkPluginWorks(r *recorder, s *suite) {
	LeakCheck(r)
	s.pair(r).serves()
}

func checkPluginOneSide(r *recorder, s *suite) {
	if s.paired {
		return
	}
	LeakCheck(r)
	g, _ := s.guarded(r, one(s.newPlugin()), nil)
	g.serves()
	g, _ = s.guarded(r, nil, one(s.newPlugin()))
	g.serves()
}

func checkPluginShared(r *recorder, s *suite) {
	LeakCheck(r)
	server, client := one(s.newPlugin()), one(s.dialSide())
	a, _ := s.guarded(r, server, client)
	b, _ := s.guarded(r, server, client)
	var wg sync.WaitGroup
	for _, g := range []*rig{a, b} {
		wg.Go(g.serves)
	}
	wg.Wait()
	a.srv.peer.Close()
	a.cli.peer.Close()
	b.serves()
}

func checkPluginLevels(r *recorder, s *suite) {
	LeakCheck(r)
	for _, test := range []struct {
		level string
		route func(*end, tp.Plugin)
		path  string
	}{
		{"group", func(e *end, p tp.Plugin) { e.route(e.peer.SubRoute("/group", p)) }, "/group"},
		{"handler", func(e *end, p tp.Plugin) { e.route(e.peer.SubRoute("/handler"), p) }, "/handler"},
		{"unknown handler", func(e *end, p tp.Plugin) {
			e.peer.SetUnknownCall(func(ctx tp.UnknownCallCtx) (any, *tp.Rerror) {
				v := e.s.bodies.empty()
				if _, err := ctx.Bind(v); err != nil {
					return nil, tp.ToRerror(err)
				}
				return v, nil
			}, p)
		}, "/anywhere"},
	} {
		// The peer itself has no plugin here: a handler may have a plugin's name only once.
		server, client := s.newPlugin(), s.dialSide()
		g, _ := s.guarded(r, nil, nil)
		test.route(g.srv, server)
		test.route(g.cli, client)
		if s.paired {
			continue // it may need a plugin of the whole connection: check only that registering works
		}
		for _, e := range g.ends() {
			text, got := e[0].call(test.path+echoMethod, "hello")
			if s.gate {
				continue
			}
			if got != nil || text != "hello" {
				g.Errorf("%s side: a call of a %s with the plugin: %s, error %s", e[0].name, test.level, brief(text), got)
			}
		}
		g.works()
	}
}

func checkPluginConcurrent(r *recorder, s *suite) {
	LeakCheck(r)
	g := s.pair(r)
	if !s.gate {
		g.concurrent(8, 10)
		return
	}
	var wg sync.WaitGroup
	for _, e := range g.ends() {
		for range 8 {
			wg.Go(func() {
				for range 10 {
					g.refusable(e[0], e[1])
				}
			})
		}
	}
	wg.Wait()
}

func checkPluginRedial(r *recorder, s *suite) {
	LeakCheck(r)
	cfg := s.cfg
	cfg.RedialTimes = 5
	g, n := s.guardedWith(r, cfg, one(s.newPlugin()), one(s.dialSide()))
	for i := range 3 {
		g.serves()
		ended := g.srv.sess.CloseNotify()
		n.Find(g.cli.sess.LocalAddr().String()).Cut()
		receive(r, ended, "the end of the accepting side's session")
		synctest.Wait() // the dialling side has noticed it too
		_, got := g.cli.call(echoMethod, "after a break")
		if !s.gate && got != nil {
			g.Errorf("a call after break %d: %s", i+1, got)
			return
		}
		synctest.Wait()
		g.srv.peer.RangeSession(func(s tp.Session) bool { g.srv.sess = s; return false })
	}
	g.serves()
}

func checkPluginClose(r *recorder, s *suite) {
	LeakCheck(r)
	for i := range 2 {
		g := s.pair(r)
		g.serves()
		order := []*end{g.cli, g.srv}
		if i == 1 {
			order = []*end{g.srv, g.cli}
		}
		for _, e := range order {
			if err := e.peer.Close(); err != nil {
				g.Errorf("%s side: Close = %v; want nil", e.name, err)
			}
			if n := e.peer.CountSession(); n > 0 {
				g.Errorf("%s side: %d sessions after Close", e.name, n)
			}
		}
	}
	// A peer that never listens or dials ends as well.
	s.newEnd(r, "idle", s.cfg, s.newPlugin()).peer.Close()
}

func checkPluginQuiet(r *recorder, s *suite) {
	if old := tp.GetLoggerLevel(); old < tp.ERROR {
		tp.SetLoggerLevel2(tp.ERROR)
		r.Cleanup(func() { tp.SetLoggerLevel2(old) })
	}
	g := s.pair(r)
	for _, e := range g.ends() {
		e[0].call(echoMethod, "hello")
	}
	if err := g.cli.sess.Close(); err != nil {
		g.Errorf("Close = %v; want nil", err)
	}
	g.link()
	g.cli.peer.Close()
	g.srv.peer.Close()
	for _, e := range g.ends() {
		for _, line := range e[0].log.Errors() {
			g.Errorf("%s side: logged %s", e[0].name, line)
		}
	}
}
