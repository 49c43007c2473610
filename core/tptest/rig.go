package tptest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/prototest"
)

// The service methods of the suites' peers.
const (
	echoMethod  = "/tptest/echo"  // replies with its argument
	failMethod  = "/tptest/fail"  // fails with the error teapot
	panicMethod = "/tptest/panic" // panics with its argument
	waitMethod  = "/tptest/wait"  // replies when it is released, or its context ends
	noteMethod  = "/tptest/note"  // a PUSH that is recorded
	helloMethod = "/tptest/hello" // replies with the session's id
)

// teapot is an error with all fields set.
func teapot() *tp.Rerror {
	return tp.NewRerror(4018, "I am a teapot, “short” & stout", "line 1\nline 2: 100% \\ {\"tea\": 1}")
}

// rig is two peers and the session between them.
type rig struct {
	*recorder
	s        *suite
	srv, cli *end
	addr     string
}

// end is one side of a rig.
type end struct {
	r    *recorder
	s    *suite
	name string
	peer tp.Peer
	sess tp.Session

	entered chan string      // arguments of the wait handlers that have begun
	left    chan error       // causes of the contexts that ended wait handlers
	notes   chan noted       // PUSHes
	hello   chan string      // ids of sessions that have called helloMethod
	seen    func(tp.CallCtx) // called with the echo handler's context
	log     *Lines           // log lines of the peer

	mu      sync.Mutex    // guards the fields below
	release chan struct{} // closed: wait handlers reply
}

type noted struct {
	text string
	meta *tp.Meta
}

// newEnd makes a peer with the routes of the suite.
func (s *suite) newEnd(r *recorder, name string, cfg tp.PeerConfig, plugin ...tp.Plugin) *end {
	e := &end{
		r: r, s: s, name: name, log: new(Lines),
		entered: make(chan string, 1000), left: make(chan error, 1000), notes: make(chan noted, 1000),
		hello: make(chan string, 1000),
	}
	e.arm()
	if s.pf != nil {
		cfg.Protocol = s.pf
	}
	cfg.DefaultBodyCodec = s.codec
	cfg.Logger = e.log.Logger()
	e.peer = NewPeer(r, cfg, plugin...)
	r.Cleanup(e.releaseAll)
	e.route(e.peer)
	return e
}

// arm makes wait handlers wait from now on.
func (e *end) arm() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.release = make(chan struct{})
}

// releaseAll makes wait handlers reply.
func (e *end) releaseAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-e.release:
	default:
		close(e.release)
	}
}

// released returns the channel that releaseAll closes.
func (e *end) released() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.release
}

func (e *end) route(to tp.Router, plugin ...tp.Plugin) {
	b := e.s.bodies
	b.handleCall(to, echoMethod, func(ctx tp.CallCtx, text string) (string, error) {
		if e.seen != nil {
			e.seen(ctx)
		}
		return text, nil
	}, plugin...)
	b.handleCall(to, failMethod, func(tp.CallCtx, string) (string, error) { return "", teapot().Err() }, plugin...)
	b.handleCall(to, panicMethod, func(_ tp.CallCtx, text string) (string, error) { panic(text) }, plugin...)
	b.handleCall(to, waitMethod, func(ctx tp.CallCtx, text string) (string, error) {
		c := ctx.Context()
		e.entered <- text
		select {
		case <-e.released():
		case <-c.Done():
			e.left <- context.Cause(c)
			return "", context.Cause(c)
		}
		return text, nil
	}, plugin...)
	b.handleCall(to, helloMethod, func(ctx tp.CallCtx, _ string) (string, error) {
		e.hello <- ctx.Session().ID()
		return "", nil
	}, plugin...)
	b.handlePush(to, noteMethod, func(ctx tp.PushCtx, text string) {
		e.notes <- noted{text, ctx.CopyMeta()}
	}, plugin...)
}

// newRig makes two peers of the suite on a network in memory, connected.
func (s *suite) newRig(r *recorder, server, client tp.PeerConfig, opts ...NetworkOption) (*rig, *Network) {
	n := NewNetwork(opts...)
	server.Network, client.Network = n.Register(r), n.Register(r)
	g := &rig{recorder: r, s: s}
	g.srv, g.cli = s.newEnd(r, "accepting", server), s.newEnd(r, "dialling", client)
	g.connect()
	return g, n
}

// connect dials, and finds the session's other end.
func (g *rig) connect() {
	if g.addr == "" {
		g.addr = Listen(g, g.srv.peer)
	}
	g.cli.sess = Dial(g, g.cli.peer, g.addr)
	g.meet()
}

// meet finds the session's other end. It makes a call for that, since one side is ready
// before the other.
func (g *rig) meet() {
	if _, r := g.cli.call(helloMethod, "hello"); r != nil {
		g.Fatalf("the first call of a session: %s", r)
	}
	id := receive(g.recorder, g.srv.hello, "hello")
	sess, ok := g.srv.peer.GetSession(id)
	if !ok {
		g.Fatalf("the accepting side has no session %q", id)
	}
	g.srv.sess = sess
}

// ends returns the two sides in both orders, for checks in both directions.
func (g *rig) ends() [2][2]*end { return [2][2]*end{{g.cli, g.srv}, {g.srv, g.cli}} }

// call makes a call from this end, and returns the text of the reply.
func (e *end) call(method, text string, set ...tp.MessageSetting) (string, *tp.Rerror) {
	result := e.s.bodies.empty()
	r := e.sess.Call(method, e.s.bodies.wrap(text), result, set...).Rerror()
	if r.HasError() {
		return "", r
	}
	return e.s.bodies.text(result), nil
}

// async begins a call.
func (e *end) async(method, text string, set ...tp.MessageSetting) tp.CallCmd {
	return e.sess.AsyncCall(method, e.s.bodies.wrap(text), e.s.bodies.empty(), make(chan tp.CallCmd, 1), set...)
}

// echo makes a call, and records a fault unless it gets the right reply.
func (e *end) echo(text string, set ...tp.MessageSetting) bool {
	got, r := e.call(echoMethod, text, set...)
	if r != nil {
		e.r.Errorf("%s side: a call of %s with %s: %s", e.name, echoMethod, brief(text), r)
		return false
	}
	if got != text {
		e.r.Errorf("%s side: a call of %s with %s replied %s", e.name, echoMethod, brief(text), brief(got))
		return false
	}
	return true
}

// note sends a push that must arrive at the end to.
func (e *end) note(to *end, text string, set ...tp.MessageSetting) noted {
	if r := e.sess.Push(noteMethod, e.s.bodies.wrap(text), set...); r.HasError() {
		e.r.Fatalf("%s side: a push of %s: %s", e.name, noteMethod, r)
	}
	got := receive(e.r, to.notes, "the push of the "+e.name+" side")
	if got.text != text {
		e.r.Errorf("%s side: a push with %s arrived as %s", e.name, brief(text), brief(got.text))
	}
	return got
}

// works makes a call and a push in both directions.
func (g *rig) works() {
	for _, e := range g.ends() {
		e[0].echo("still there?")
		if !g.s.without[prototest.Push] {
			e[0].note(e[1], "still here")
		}
	}
}

// wait begins a call, and waits until its handler has begun.
func (e *end) wait(to *end, set ...tp.MessageSetting) tp.CallCmd {
	cmd := e.async(waitMethod, "wait", set...)
	receive(e.r, to.entered, "the call of "+waitMethod)
	return cmd
}

// receive waits for a value; if none comes, the check ends.
func receive[T any](r *recorder, c <-chan T, what string) T {
	patience := r.patient / 3
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case v := <-c:
		return v
	case <-t.C:
	}
	r.Fatalf("%s has not come after %v", what, patience)
	panic("unreachable")
}

// reply waits for the end of a call.
func reply(r *recorder, cmd tp.CallCmd, what string) *tp.Rerror {
	receive(r, cmd.Done(), "the end of "+what)
	return cmd.Rerror()
}

// wantCode records a fault unless the error has the code.
func wantCode(r *recorder, what string, got *tp.Rerror, code int32) bool {
	if got == nil && code != 0 || got != nil && got.Code != code {
		r.Errorf("%s: error %s; want code %d (%s)", what, got, code, tp.CodeText(code))
		return false
	}
	return true
}

// brief shortens a text for an error message.
func brief(text string) string {
	if len(text) <= 100 {
		return fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("%q… (%d bytes)", text[:60], len(text))
}

// long returns a text of n bytes without short repetitions.
func long(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d, ", i)
	}
	return b.String()[:n]
}
