package tp

import (
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/inlining"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// attending is a client's link that nobody reads, and whose reader is said to attend;
// nil where readers do not.
func attending(t *testing.T, p *parking) (c *session, l *link) {
	c, _ = p.dial(t)
	if !idle(t, c) {
		return c, nil
	}
	l = c.currentLink()
	l.sock.Cork()
	return c, l
}

func launched(s *session, method, arg string) CallCmd {
	return s.AsyncCall(method, arg, new(string), make(chan CallCmd, 1))
}

// enqueue leaves a message to whoever flushes next.
func enqueue(t *testing.T, l *link) {
	t.Helper()
	var m socket.Envelope
	if r := prepareMessage(l.sess, &m, TypePush, "/nowhere", "x", nil); r != nil {
		t.Fatal(r)
	}
	if err := l.sock.Enqueue(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
}

// Calls that are launched while the reader attends are the reader's to flush, but for
// one that has the session for itself; nothing is left behind when it stops.
func TestAttendingReaderFlushes(t *testing.T) {
	p := newParking(t, "tcp")
	begun, gate := make(chan string, 3), make(chan struct{})
	HandleCall(p.srv, "/held", func(_ CallCtx, arg *string) (string, error) { begun <- *arg; <-gate; return *arg, nil })
	c, l := attending(t, p)
	if l == nil {
		return
	}
	first := launched(c, "/held", "first")
	if got := <-begun; got != "first" {
		t.Fatalf("%q has come", got)
	}
	second := launched(c, "/held", "second")
	third := launched(c, "/held", "third")
	soon(t, "two calls wait for the reader", func() bool { n, _ := l.sock.Queued(); return n == 2 })
	l.sock.Uncork()
	for range 2 {
		<-begun
	}
	close(gate)
	wantReply(t, first, "first")
	wantReply(t, second, "second")
	wantReply(t, third, "third")
}

// A push is nobody's but its caller's: no reply of it keeps the reader busy.
func TestPushesAreFlushedAtOnce(t *testing.T) {
	p := newParking(t, "tcp")
	pushed, gate := make(chan string, 1), make(chan struct{})
	HandleCall(p.srv, "/held", func(CallCtx, *string) (string, error) { <-gate; return "", nil })
	HandlePush(p.srv, "/pushed", func(_ PushCtx, arg *string) error { pushed <- *arg; return nil })
	c, l := attending(t, p)
	if l == nil {
		return
	}
	held := launched(c, "/held", "")
	soon(t, "a call is under way", func() bool { return c.pending.Len() == 1 })
	if r := c.Push("/pushed", "x"); r != nil {
		t.Fatal(r)
	}
	if got := <-pushed; got != "x" {
		t.Errorf("%q has come", got)
	}
	close(gate)
	wantReply(t, held, "")
}

// A reader that runs a handler does not attend, since that may take its time: it
// flushes first.
func TestReaderInHandlerDoesNotAttend(t *testing.T) {
	l, far := polledLink(t, -1)
	if l == nil || inlining.Always {
		return // or the reading is handed over
	}
	type state struct {
		here, attends bool
		queued        int
	}
	seen := make(chan state, 1)
	p := l.env.peer.(*peer)
	HandleCall(p, "/look", func(CallCtx, *string) (string, error) {
		n, _ := l.sock.Queued()
		seen <- state{l.inHandler(), l.sock.Corked(), n}
		return "", nil
	})
	earn(p, "/look")
	far.Write(frames(t, "/look", "", 1, 1))
	soon(t, "a call has come", func() bool { ok, _ := l.sock.TryWait(); return ok })
	l.sock.Cork()
	enqueue(t, l)
	go l.readLoop().serve()
	if got := <-seen; got.attends || got.queued > 0 || !got.here {
		t.Errorf("in the handler: %+v", got)
	}
}

// Nor does one whose hooks may ask a database.
func TestReaderWithHooksThatMayWaitDoesNotAttend(t *testing.T) {
	if inlining.Always {
		return // all are visited
	}
	for _, waits := range []bool{true, false} {
		p := newParking(t, "tcp")
		seen := make(chan bool, 100)
		var plugin Plugin = &attendHook{seen}
		if !waits {
			plugin = &promptAttendHook{attendHook{seen}}
		}
		p.cli.PluginContainer().AppendRight(plugin)
		c, _ := p.dial(t)
		if l := c.currentLink(); runtime.GOOS != "linux" || l.sock.Pollable() == nil {
			return
		}
		for i := range 10 {
			wantEcho(t, c, fmt.Sprint(i))
		}
		close(seen)
		any := false
		for attends := range seen {
			any = any || attends
		}
		if any == waits {
			t.Errorf("hooks may wait: %v; the reader attends: %v", waits, any)
		}
	}
}

type attendHook struct{ seen chan bool }

func (*attendHook) Name() string { return "attend" }

func (h *attendHook) PostReadReplyHeader(c ReadCtx) *Rerror {
	h.seen <- c.(*handlerCtx).link.sock.Corked()
	return nil
}

type promptAttendHook struct{ attendHook }

func (*promptAttendHook) NonBlocking() {}

// waitingHook waits, on the goroutine that reads.
type waitingHook struct{ begun, gate chan struct{} }

func (*waitingHook) Name() string { return "waiting" }

func (h *waitingHook) wait() *Rerror {
	close(h.begun)
	<-h.gate
	return nil
}

type waitingBodyHook struct{ waitingHook }

func (h *waitingBodyHook) PreReadPushBody(ReadCtx) *Rerror { return h.wait() }

type waitingHeaderHook struct{ waitingHook }

func (h *waitingHeaderHook) PostReadPushHeader(ReadCtx) *Rerror { return h.wait() }

// Hooks of a route, or of one that a message might be rerouted to, may wait as well:
// a call that comes behind a reply and such a message is sent all the same.
func TestReaderInHookOfRouteDoesNotAttend(t *testing.T) {
	for _, test := range []struct {
		name, method string
		plugin       func(waitingHook) Plugin
	}{
		{"the route's own", "/slow", func(h waitingHook) Plugin { return &waitingBodyHook{h} }},
		{"of another route", "/nowhere", func(h waitingHook) Plugin { return &waitingHeaderHook{h} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			hook := waitingHook{make(chan struct{}), make(chan struct{})}
			defer close(hook.gate)
			p := newParking(t, "tcp")
			HandlePush(p.cli, "/slow", func(PushCtx, *string) error { return nil }, test.plugin(hook))
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer lis.Close()
			c, r := p.cli.Dial(lis.Addr().String())
			if r != nil {
				t.Fatal(r)
			}
			far, err := lis.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer far.Close()
			far.SetReadDeadline(time.Now().Add(20 * time.Second))
			sock := socket.NewSocket(far, testwire.New)
			read := func(what string) socket.Message {
				m := socket.NewMessage()
				if err := sock.ReadMessage(m); err != nil {
					t.Errorf("%s call does not come: %v", what, err)
				}
				return m
			}
			launched(c.(*session), "/a", "first")
			launched(c.(*session), "/a", "second")
			read("the first")
			seq := int(read("the second").Seq())
			far.Write(append(framesOf(t, TypeReply, "/a", "x", seq, 1), framesOf(t, TypePush, test.method, "y", 99, 1)...))
			<-hook.begun
			launched(c.(*session), "/a", "third")
			read("the third")
		})
	}
}

// A reader that waits does not attend; it flushes first.
func TestWaitingReaderDoesNotAttend(t *testing.T) {
	l, far := polledLink(t, -1)
	if l == nil {
		return
	}
	l.sock.Cork()
	enqueue(t, l)
	waited := make(chan error, 1)
	go func() { waited <- l.readLoop().await() }()
	if _, err := far.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	far.Write([]byte("x"))
	if err := <-waited; err != nil || l.sock.Corked() {
		t.Errorf("wait = %v; the reader attends: %v", err, l.sock.Corked())
	}
}

// A reader that gives its session back to the lot does not attend any more.
func TestParkingReaderDoesNotAttend(t *testing.T) {
	l, _ := polledLink(t, -1)
	if l == nil {
		return
	}
	l.env.hub.size.Add(minPolledSessions)
	defer l.env.hub.size.Add(-minPolledSessions)
	l.cadence.singles, l.cadence.wait = maxSingles, longWait
	l.sock.Cork()
	if err := l.readLoop().await(); err != errNotReader {
		t.Fatalf("wait = %v, want %v", err, errNotReader)
	}
	if l.sock.Corked() {
		t.Error("the reader of a parked session attends")
	}
}
