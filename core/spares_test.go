package tp

import (
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/inlining"
	"github.com/teleport-go/teleport/core/internal/poison"
	"github.com/teleport-go/teleport/core/internal/poller"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// TestSpares drops the context of one connection of a poll loop: whether the next one gets it.
func TestSpares(t *testing.T) {
	first, _ := polledLink(t, 0)
	second, _ := polledLink(t, 0)
	if first == nil {
		return
	}
	for _, test := range []struct {
		name string
		loop *poller.Loop
		used bool
		late bool // poison finds late uses
		want bool
	}{
		{"recycled", new(poller.Loop), false, false, true},
		{"with a message", new(poller.Loop), true, false, false},
		{"not on a poll loop", nil, false, false, false},
		{"in a test of late uses", new(poller.Loop), false, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.late {
				defer poison.Switch()()
			}
			a, b := first.readLoop(), second.readLoop()
			a.loop, b.loop = test.loop, test.loop
			c := a.makeNext()
			c.named = &route{name: "/named"}
			c.recycle()
			a.used = test.used
			a.dropNext()
			if a.next != nil || c.sess != nil || c.link != nil {
				t.Errorf("dropped, the reader has it: %v, and it has a session: %v, and a link: %v", a.next != nil, c.sess != nil, c.link != nil)
			}
			kept := test.loop != nil && sparesOf(test.loop).c == c
			if kept != test.want {
				t.Fatalf("the loop has kept it: %v; want %v", kept, test.want)
			}
			if !kept {
				if c.named != nil && !test.late { // with poison it is not used again
					t.Error("in the pool it remembers a route, which may be another peer's")
				}
				return
			}
			next := b.makeNext()
			defer b.dropNext()
			if next != c || c.link != second || c.sess != second.sess || c.logger != second.sess.logger || c.named == nil {
				t.Errorf("the next connection has got it: %v, as its own: %v, with the route that it remembers: %v", next == c, c.link == second, c.named != nil)
			}
			if sparesOf(test.loop).c != nil {
				t.Error("the loop has it still")
			}
		})
	}
}

// doOnLoops returns sessions whose handler "/do" calls do with the spares of the poll loop that
// runs it, nil if none does. It returns nil where poll loops run no handlers.
func doOnLoops(t *testing.T, do func(l *link, sp *spares)) *manySessions {
	t.Helper()
	if inlining.Always { // then another goroutine takes the reading over at once
		return nil
	}
	d := doHandler{do: func(c CallCtx, _ *session) error {
		h := c.(*handlerCtx)
		h.link.mu.Lock() // nobody takes the reading over meanwhile
		defer h.link.mu.Unlock()
		var sp *spares
		if h.inReader() {
			sp = sparesOf(h.link.loop)
		}
		do(h.link, sp)
		return nil
	}}
	return newManySessions(t, "tcp", testwire.New, d.route)
}

// TestLoopLendsBuffer serves connections on poll loops, each with the buffer of the one before.
func TestLoopLendsBuffer(t *testing.T) {
	last := make(map[*poller.Loop]*byte) // the buffer of the last connection
	again := 0
	g := doOnLoops(t, func(l *link, sp *spares) {
		if sp == nil {
			return
		}
		if sp.c != nil || sp.buf != nil {
			t.Errorf("while the loop serves a connection it has a context: %v, a buffer: %v", sp.c != nil, sp.buf != nil)
		}
		b := l.sock.TakeEmpty()
		l.sock.Lend(b)
		if len(b) == 0 {
			t.Error("the connection has no empty buffer")
			return
		}
		if before := last[l.loop]; before != nil {
			if before != &b[0] {
				t.Error("the connection has another buffer than the one before")
			}
			again++
		}
		last[l.loop] = &b[0]
	})
	if g == nil {
		return
	}
	for range 3 {
		for _, c := range g.clients {
			allow(g.srv, "/do")
			wantReply(t, c.Call("/do", "", new(string)), "done")
		}
	}
	if again == 0 {
		t.Error("no poll loop ran two of the handlers")
	}
}

// TestSparesOfDetachedLoop detaches a poll loop while it serves a connection: its goroutine,
// the session's own from then on, keeps nothing while it waits.
func TestSparesOfDetachedLoop(t *testing.T) {
	seen := false
	g := doOnLoops(t, func(l *link, sp *spares) {
		if sp == nil {
			return
		}
		seen = true
		loop := l.loop
		sp.buf = make([]byte, 1)
		l.detach()
		if sparesOf(loop) != nil || loop.Local != nil {
			t.Error("a detached loop has spares")
		}
	})
	if g == nil {
		return
	}
	for _, c := range g.clients {
		allow(g.srv, "/do")
		wantReply(t, c.Call("/do", "", new(string)), "done")
	}
	if !seen {
		t.Error("no poll loop ran the handler")
	}
}

// TestSparesOfLoopLeft makes a session whose messages follow each other closely its own reader:
// the goroutine that ran the poll loop keeps nothing of it.
func TestSparesOfLoopLeft(t *testing.T) {
	var loop *poller.Loop
	g := doOnLoops(t, func(l *link, sp *spares) {
		switch {
		case loop != nil:
			left, _ := loop.Local.(*spares)
			if has := left != nil && (left.c != nil || left.buf != nil); has || !loop.Detached() {
				t.Errorf("the loop is detached: %v, and its goroutine has spares: %v; want true, false", loop.Detached(), has)
			}
		case sp != nil:
			loop = l.loop
			l.cadence.wait = -int64(time.Minute)
		}
	})
	if g == nil {
		return
	}
	for _, c := range g.clients {
		allow(g.srv, "/do")
		wantReply(t, c.Call("/do", "", new(string)), "done")
		if loop != nil {
			wantReply(t, c.Call("/do", "", new(string)), "done")
			return
		}
	}
	t.Error("no poll loop ran the handler")
}

// TestMessageIsReset calls Reset of a context's messages, as a hook may: for the next message
// they have what belongs to the context.
func TestMessageIsReset(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		_, s := w.pair()
		c := getCtx(s.currentLink())
		defer putCtx(c)
		c.in.Reset()
		c.out.Reset()
		c.recycle()
		if c.in.SetServiceMethodBytes([]byte("/echo")); c.named == nil {
			t.Error("the names of routes are not found any more")
		}
	})
}
