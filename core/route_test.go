package tp

import (
	"net"
	"testing"

	"github.com/teleport-go/teleport/core/internal/poison"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// What a context remembers of the request before does not change which handler is found.
func TestLookup(t *testing.T) {
	p := newPeerPair(t, "tcp")
	HandlePush(p.srv, "/note", func(PushCtx, *string) error { return nil })
	srv, cli := newSession(p.srv.env, nil), newSession(p.cli.env, nil)
	echo, note := p.srv.env.router.lookup(kindCall, "/echo"), p.srv.env.router.lookup(kindPush, "/note")
	var added *Handler
	c := new(handlerCtx)
	for _, step := range []struct {
		name string
		sess *session
		kind kind
		path string
		want func() *Handler
	}{
		{"the first", srv, kindCall, "/echo", func() *Handler { return echo }},
		{"the same", srv, kindCall, "/echo", func() *Handler { return echo }},
		{"a PUSH of that name", srv, kindPush, "/echo", func() *Handler { return nil }},
		{"a PUSH", srv, kindPush, "/note", func() *Handler { return note }},
		{"a CALL of that name", srv, kindCall, "/note", func() *Handler { return nil }},
		{"no route", srv, kindCall, "/new", func() *Handler { return nil }},
		{"one that was registered since", srv, kindCall, "/new", func() *Handler { return added }},
		{"of the peer once more", srv, kindCall, "/echo", func() *Handler { return echo }},
		{"of another peer", cli, kindCall, "/echo", func() *Handler { return p.cli.env.router.lookup(kindCall, "/echo") }},
	} {
		if step.path == "/new" && added == nil && step.name != "no route" {
			HandleCall(p.srv, "/new", func(CallCtx, *string) (string, error) { return "", nil })
			added = p.srv.env.router.lookup(kindCall, "/new")
		}
		c.sess = step.sess
		if got := c.lookup(step.kind, step.path); got != step.want() {
			t.Errorf("%s: found the handler %p; want %p", step.name, got, step.want())
		}
	}
	if echo == p.cli.env.router.lookup(kindCall, "/echo") {
		t.Error("both peers have the same handler")
	}
}

// A context from the pool does not keep the handler of another peer, which may be closed.
func TestContextForgetsOtherPeers(t *testing.T) {
	p := newPeerPair(t, "tcp")
	link := func(of *peer) *link {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		return newLink(newSession(of.env, nil), &Handshake{Conn: near, Proto: testwire.New}, 1)
	}
	srv, cli := link(p.srv), link(p.cli)
	soon(t, "another peer gets a context from the pool", func() bool {
		c := getCtx(srv)
		if h := c.lookup(kindCall, "/echo"); h == nil || c.lately != h {
			t.Fatalf("the context remembers %p; want the handler %p", c.lately, h)
		}
		putCtx(c)
		again := getCtx(cli)
		defer putCtx(again)
		if again.lately != nil || again.latelyIn != nil {
			t.Fatal("it has a handler of the first peer")
		}
		return again == c || poison.On()
	})
}
