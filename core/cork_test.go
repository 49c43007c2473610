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

// corkedLink returns a client's session and its link, which no goroutine reads and
// whose socket is corked. The link is nil on systems where readers do not cork.
func corkedLink(t *testing.T, p *peerPair) (c *session, l *link) {
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

// enqueue queues a message without flushing it.
func enqueue(t *testing.T, l *link) {
	t.Helper()
	var m socket.Envelope
	m.SetMtype(TypePush)
	if r := prepareMessage(l.sess, &m, "/nowhere", "x", nil); r != nil {
		t.Fatal(r)
	}
	if err := l.sock.Enqueue(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
}

// The reader of a corked socket flushes the calls that are launched, except a call
// while no other is pending; Uncork flushes the rest.
func TestCorkedReaderFlushes(t *testing.T) {
	p := newPeerPair(t, "tcp")
	begun, gate := make(chan string, 3), make(chan struct{})
	HandleCall(p.srv, "/held", func(_ CallCtx, arg *string) (string, error) { begun <- *arg; <-gate; return *arg, nil })
	c, l := corkedLink(t, p)
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

// A push is flushed by its caller: no reply will follow that makes the reader flush.
func TestPushesAreFlushedAtOnce(t *testing.T) {
	p := newPeerPair(t, "tcp")
	pushed, gate := make(chan string, 1), make(chan struct{})
	HandleCall(p.srv, "/held", func(CallCtx, *string) (string, error) { <-gate; return "", nil })
	HandlePush(p.srv, "/pushed", func(_ PushCtx, arg *string) error { pushed <- *arg; return nil })
	c, l := corkedLink(t, p)
	if l == nil {
		return
	}
	held := launched(c, "/held", "")
	soon(t, "a call is pending", func() bool { return c.pending.Len() == 1 })
	if r := c.Push("/pushed", "x"); r != nil {
		t.Fatal(r)
	}
	if got := <-pushed; got != "x" {
		t.Errorf("%q has come", got)
	}
	close(gate)
	wantReply(t, held, "")
}

// A reader uncorks and flushes before it runs a handler, since that may take its time.
func TestReaderInHandlerUncorks(t *testing.T) {
	type state struct {
		here, corked bool
		queued       int
	}
	inHandler := func() (seen state, ok bool) {
		l, far := polledLink(t, -1)
		if l == nil || inlining.Always {
			return state{}, false // else the handler loses the reading
		}
		states := make(chan state, 1)
		p := l.env.peer.(*peer)
		p.admit() // a whole session: another reader may end it
		if _, err := p.env.hub.claim(l.sess, l); err != nil {
			t.Fatal(err)
		}
		HandleCall(p, "/state", func(CallCtx, *string) (string, error) {
			n, _ := l.sock.Queued()
			states <- state{l.inHandler(), l.sock.Corked(), n}
			return "", nil
		})
		allow(p, "/state")
		far.Write(frames(t, "/state", "", 1, 1))
		soon(t, "a call has arrived", func() bool { ok, _ := l.sock.TryWait(); return ok })
		l.sock.Cork()
		enqueue(t, l)
		l.startReader()
		return <-states, true
	}
	// On a busy machine the watchdog may be asleep again, or take the reading from the handler.
	soon(t, "the reader runs a handler, uncorked, with nothing in its queue", func() bool {
		got, ok := inHandler()
		if ok && got.here && (got.corked || got.queued > 0) {
			t.Fatalf("in the handler: %+v", got)
		}
		return !ok || got.here
	})
}

// quickPlugin promises that its hooks do not block.
type quickPlugin struct{ *PluginImpl }

func (quickPlugin) NonBlocking() {}

// A reader writes the reply of its handler before it does anything else, if it has read no
// other request yet. Otherwise the replies become one write.
func TestReaderWritesRepliesAtOnce(t *testing.T) {
	for _, test := range []struct {
		name   string
		calls  int
		queued []int // replies, after each
	}{
		{"one call", 1, []int{0}},
		{"two calls at once", 2, []int{1, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			type state struct {
				here   bool
				queued int
			}
			afterReplies := func() (seen []state) {
				l, far := polledLink(t, -1)
				if l == nil || inlining.Always {
					return nil // the handler would lose the reading
				}
				states := make(chan state, test.calls)
				p := l.env.peer.(*peer)
				p.admit() // a whole session: another reader may end it
				if _, err := p.env.hub.claim(l.sess, l); err != nil {
					t.Fatal(err)
				}
				HandleCall(p, "/state", func(CallCtx, *string) (string, error) { return "", nil }, quickPlugin{&PluginImpl{PluginName: "queued",
					OnPostWriteReply: func(WriteCtx) *Rerror {
						n, _ := l.sock.Queued()
						states <- state{l.inHandler(), n}
						return nil
					},
				}})
				allow(p, "/state")
				far.Write(frames(t, "/state", "", 1, test.calls))
				soon(t, "the calls have arrived", func() bool { ok, _ := l.sock.TryWait(); return ok })
				l.startReader()
				for range test.calls {
					seen = append(seen, <-states)
				}
				return seen
			}
			// On a busy machine the watchdog may be asleep again, or take the reading from the handler.
			soon(t, "the reader runs all handlers", func() bool {
				seen := afterReplies()
				for _, s := range seen {
					if !s.here {
						return false
					}
				}
				for i, s := range seen {
					if s.queued != test.queued[i] {
						t.Fatalf("after reply %d: %d replies are not written; want %d", i, s.queued, test.queued[i])
					}
				}
				return true
			})
		})
	}
}

// A reader whose hooks may block does not cork.
func TestReaderWithHooksThatMayBlockDoesNotCork(t *testing.T) {
	if inlining.Always {
		return // the poll loop serves all sessions
	}
	for _, blocks := range []bool{true, false} {
		p := newPeerPair(t, "tcp")
		seen := make(chan bool, 100)
		var plugin Plugin = &corkHook{seen}
		if !blocks {
			plugin = &nonBlockingCorkHook{corkHook{seen}}
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
		for corked := range seen {
			any = any || corked
		}
		if any == blocks {
			t.Errorf("hooks may block: %v; the reader corks: %v", blocks, any)
		}
	}
}

type corkHook struct{ seen chan bool }

func (*corkHook) Name() string { return "cork" }

func (h *corkHook) PostReadReplyHeader(c ReadCtx) *Rerror {
	h.seen <- c.(*handlerCtx).link.sock.Corked()
	return nil
}

type nonBlockingCorkHook struct{ corkHook }

func (*nonBlockingCorkHook) NonBlocking() {}

// gateHook blocks the reader until the gate is open.
type gateHook struct{ begun, gate chan struct{} }

func (*gateHook) Name() string { return "waiting" }

func (h *gateHook) wait() *Rerror {
	close(h.begun)
	<-h.gate
	return nil
}

type gateBodyHook struct{ gateHook }

func (h *gateBodyHook) PreReadPushBody(ReadCtx) *Rerror { return h.wait() }

type gateHeaderHook struct{ gateHook }

func (h *gateHeaderHook) PostReadPushHeader(ReadCtx) *Rerror { return h.wait() }

// Hooks of a route, or of one that a message might be rerouted to, may block too: a
// call that is made while they block is still sent.
func TestReaderInHookOfRouteUncorks(t *testing.T) {
	for _, test := range []struct {
		name, method string
		plugin       func(gateHook) Plugin
	}{
		{"the route's own", "/slow", func(h gateHook) Plugin { return &gateBodyHook{h} }},
		{"of another route", "/nowhere", func(h gateHook) Plugin { return &gateHeaderHook{h} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			hook := gateHook{make(chan struct{}), make(chan struct{})}
			defer close(hook.gate)
			p := newPeerPair(t, "tcp")
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
					t.Errorf("%s call does not arrive: %v", what, err)
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

// A reader uncorks and flushes before it waits.
func TestWaitingReaderUncorks(t *testing.T) {
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
		t.Errorf("await = %v, corked = %v; want nil, false", err, l.sock.Corked())
	}
}

// A reader that parks its session uncorks.
func TestParkingReaderUncorks(t *testing.T) {
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
		t.Error("the socket of a parked session is corked")
	}
}
