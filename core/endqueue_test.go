package tp

import (
	"io"
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
