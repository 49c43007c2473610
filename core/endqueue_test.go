package tp

import (
	"io"
	"sync/atomic"
	"testing"

	"github.com/teleport-go/teleport/core/internal/testwire"
)

// While the clean-up after many connections waits, the poll loop serves the others.
func TestPolledEnds(t *testing.T) {
	g := newManySessions(t, "tcp", testwire.New, nil)
	if g == nil {
		return
	}
	const gone = 10
	q := &g.srv.env.ends
	setRunning := func(running bool) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.running = running
	}
	setRunning(true) // as if a goroutine did it, which has no processor
	for _, s := range g.clients[:gone] {
		s.currentLink().kill(SideNetwork, io.ErrClosedPipe, "testing")
	}
	soon(t, "the connections have ended", func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return len(q.list) == gone
	})
	g.wantServed(t, g.clients[:gone]...)
	if n := g.srv.CountSession(); n != len(g.servers) {
		t.Errorf("%d sessions; want %d, with those that wait for their clean-up", n, len(g.servers))
	}
	setRunning(false)
	q.run()
	soon(t, "the sessions have ended", func() bool { return g.srv.CountSession() == len(g.servers)-gone })
}

// Sessions of a crowd that hangs up are read to their end by other goroutines.
func TestReadToTheEnd(t *testing.T) {
	var handled atomic.Int32
	g := newManySessions(t, "tcp", testwire.New, func(p *peer) {
		HandlePush(p, "/count", func(PushCtx, *string) error { handled.Add(1); return nil })
	})
	if g == nil {
		return
	}
	const gone, each = 12, 5
	for i, s := range g.servers[:gone] {
		s.currentLink().OnHangUp() // as the poll loop does
		for range each {
			if r := g.clients[i].Push("/count", "x"); r != nil {
				t.Fatal(r)
			}
		}
		g.clients[i].Close()
	}
	soon(t, "the sessions have ended", func() bool { return g.srv.CountSession() == len(g.servers)-gone })
	soon(t, "all pushes are handled", func() bool { return handled.Load() == gone*each })
	g.wantServed(t, g.clients[:gone]...)
	g.servers[gone].currentLink().OnHangUp() // which is not so
	g.wantServed(t, g.clients[:gone]...)
}
