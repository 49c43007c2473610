package tp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/inlining"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

var pollableNetworks = []string{"tcp", "unix", "tls"}

// Calls over many sessions leave none of them with a goroutine, also before the sweeper runs.
func TestPolledSessionsNeedNoGoroutines(t *testing.T) {
	if inlining.Always {
		return // every handler loses the reading
	}
	for _, network := range pollableNetworks {
		t.Run(network, func(t *testing.T) {
			g := newManySessions(t, network, testwire.New, nil)
			if g == nil {
				return
			}
			before := runtime.NumGoroutine()
			for range 3 {
				g.wantServed(t)
			}
			g.wantRegistered(t)
			for _, s := range g.all() {
				if l := s.currentLink(); !l.isParked() || l.generation() < 2 {
					t.Errorf("the reader of a session is in phase %d, generation %d; want it parked again", l.state.phase(), l.generation())
				}
			}
			soon(t, "no session has a goroutine", func() bool { return runtime.NumGoroutine() < before+len(g.clients)/2 })
			g.wantNoGoroutines(t)
		})
	}
}

// A frame that has arrived in part holds up only its own session.
func TestPolledHalfAFrame(t *testing.T) {
	for _, network := range pollableNetworks {
		t.Run(network, func(t *testing.T) {
			g := newManySessions(t, network, testwire.New, nil)
			if g == nil {
				return
			}
			for _, cut := range []int{1, 3, 4, 20} {
				s := g.rawClient(t, network)
				f := frames(t, "/echo", "two frames", 1, 2)
				s.send(t, f[:cut])
				soon(t, "the session has a reader", func() bool { return s.sess.currentLink().hasReader() })
				g.wantServed(t, s.sess)
				g.wantRegistered(t)
				s.send(t, f[cut:])
				s.wantReplies(t, 2, "two frames")
			}
			g.wantNoGoroutines(t)
		})
	}
}

// doHandler is the handler "/do": what it does, and how often the poll loop ran it.
type doHandler struct {
	do   func(c CallCtx, s *session) error
	seen atomic.Int32
}

func (d *doHandler) route(p *peer) {
	HandleCall(p, "/do", func(c CallCtx, _ *string) (string, error) {
		h := c.(*handlerCtx)
		if h.turn != 0 && h.link.isPolled() {
			d.seen.Add(1)
		}
		return "done", d.do(c, h.sess)
	})
}

// Whatever a handler does on the poll loop, its session and all others go on, or end
// as they should.
func TestPolledHandlers(t *testing.T) {
	echo := func(s CtxSession) error { return s.Call("/echo", "back", new(string)).Rerror().Err() }
	for _, test := range []struct {
		name string
		do   func(g *manySessions, i int, c CallCtx, s *session) error // i: the index of the handler's session
		want string                                                    // a part of the error's text; "": a reply
		ends int                                                       // which session ends: 1 that of i, 2 the next one, 0 none
	}{
		{"returns", func(*manySessions, int, CallCtx, *session) error { return nil }, "", 0},
		{"fails", func(*manySessions, int, CallCtx, *session) error { return NewRerror(1001, "mine", "").Err() }, "mine", 0},
		{"panics", func(*manySessions, int, CallCtx, *session) error { panic("aside") }, "aside", 0},
		{"ends its goroutine", func(*manySessions, int, CallCtx, *session) error { runtime.Goexit(); return nil }, "runtime.Goexit", 0},
		{"blocks until the others were served", func(g *manySessions, i int, _ CallCtx, s *session) error {
			for j, c := range g.clients {
				if j != i {
					if err := echo(c); err != nil {
						return err
					}
				}
			}
			return nil
		}, "", 0},
		{"calls back", func(_ *manySessions, _ int, c CallCtx, _ *session) error { return echo(c.Session()) }, "", 0},
		{"calls back by a session it had before", func(_ *manySessions, _ int, _ CallCtx, s *session) error { return echo(s) }, "", 0},
		{"calls over all other sessions", func(g *manySessions, i int, c CallCtx, _ *session) error {
			c.Peer()
			for j, s := range g.servers {
				if j != i {
					if err := echo(s); err != nil {
						return err
					}
				}
			}
			return nil
		}, "", 0},
		{"calls back and ends its goroutine", func(_ *manySessions, _ int, c CallCtx, _ *session) error {
			if err := echo(c.Session()); err != nil {
				return err
			}
			runtime.Goexit()
			return nil
		}, "runtime.Goexit", 0},
		{"pushes more than there is room for", func(_ *manySessions, _ int, _ CallCtx, s *session) error {
			for range 100 {
				if r := s.Push("/none", strings.Repeat("x", 10<<10)); r != nil {
					return r.Err()
				}
			}
			return nil
		}, "", 0},
		{"closes its session", func(_ *manySessions, _ int, _ CallCtx, s *session) error { return s.Close() }, "", 1},
		{"breaks its connection", func(_ *manySessions, _ int, _ CallCtx, s *session) error { s.Break(io.ErrNoProgress); return nil }, "reset|closed by peer", 1},
		{"closes another session", func(g *manySessions, i int, _ CallCtx, _ *session) error { return g.servers[i+1].Close() }, "", 2},
		{"breaks another session", func(g *manySessions, i int, _ CallCtx, _ *session) error {
			g.servers[i+1].Break(io.ErrNoProgress)
			return nil
		}, "", 2},
		{"closes another one's connection", func(g *manySessions, i int, _ CallCtx, _ *session) error {
			return g.servers[i+1].currentLink().conn.Close()
		}, "", 2},
		{"the peer breaks the connection", func(g *manySessions, i int, _ CallCtx, s *session) error {
			g.clients[i].Break(io.ErrNoProgress)
			<-g.clients[i].done.Done()
			return nil
		}, "multiple Read calls", 1},
		{"the peer resets", func(g *manySessions, i int, _ CallCtx, s *session) error {
			if c, ok := g.clients[i].currentLink().conn.(*net.TCPConn); ok {
				c.SetLinger(0)
			}
			g.clients[i].currentLink().close()
			<-g.clients[i].done.Done()
			return nil
		}, "closed network connection", 1},
	} {
		for _, network := range pollableNetworks {
			t.Run(test.name+"/"+network, func(t *testing.T) {
				var d doHandler
				g := newManySessions(t, network, testwire.New, d.route)
				if g == nil {
					return
				}
				var over []*session
				for i := 0; i < len(g.clients)-1; i += 2 {
					d.do = func(c CallCtx, s *session) error { return test.do(g, i, c, s) }
					allow(g.srv, "/do")
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					r := g.clients[i].Call("/do", "", new(string), WithContext(ctx)).Rerror()
					cancel()
					if text := r.String(); test.want == "" && r != nil || test.want != "" && !anyOf(text, test.want) {
						t.Fatalf("the error is %s; want the words %q", text, test.want)
					}
					for j := range test.ends {
						if j == test.ends-1 {
							gone := []*session{g.clients[i+j], g.servers[i+j]}
							over = append(over, gone...)
							for _, s := range gone {
								soon(t, "the session is over", func() bool { return s.getState() == closed })
							}
						}
					}
					g.wantServed(t, over...)
					g.wantRegistered(t)
					if d.seen.Load() >= 2 {
						break
					}
				}
				if d.seen.Load() == 0 && !inlining.Always {
					t.Error("no poll loop ran the handler")
				}
				g.wantNoGoroutines(t)
			})
		}
	}
}

// blockingHook is a plugin whose hook blocks for messages for "/waits".
type blockingHook struct{ come, leave chan struct{} }

func (*blockingHook) Name() string { return "blocking" }

func (w *blockingHook) PostReadCallHeader(c ReadCtx) *Rerror {
	if c.ServiceMethod() == "/waits" {
		w.come <- struct{}{}
		<-w.leave
	}
	return nil
}

// blockingBodyHook is a blockingHook that blocks before the body.
type blockingBodyHook struct{ w *blockingHook }

func (blockingBodyHook) Name() string                        { return "blocking before the body" }
func (b blockingBodyHook) PreReadCallBody(c ReadCtx) *Rerror { return b.w.PostReadCallHeader(c) }

// A hook that blocks holds up only its own session, whichever route has the plugin.
func TestPolledHooksThatBlock(t *testing.T) {
	handler := func(CallCtx, *string) (string, error) { return "done", nil }
	for _, test := range []struct {
		name  string
		route func(p *peer, w *blockingHook)
	}{
		{"of the peer", func(p *peer, w *blockingHook) {
			p.PluginContainer().AppendRight(w)
			HandleCall(p, "/waits", handler)
		}},
		{"of the peer, before the body", func(p *peer, w *blockingHook) {
			p.PluginContainer().AppendRight(blockingBodyHook{w})
			HandleCall(p, "/waits", handler)
		}},
		{"of the handler", func(p *peer, w *blockingHook) { HandleCall(p, "/waits", handler, w) }},
		{"of the handler, before the body", func(p *peer, w *blockingHook) { HandleCall(p, "/waits", handler, blockingBodyHook{w}) }},
		{"of another handler, called for a message without a route", func(p *peer, w *blockingHook) { HandleCall(p, "/other", handler, w) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := &blockingHook{make(chan struct{}), make(chan struct{})}
			g := newManySessions(t, "tcp", testwire.New, func(p *peer) { test.route(p, w) })
			if g == nil {
				return
			}
			over := make(chan *Rerror, 1)
			go func() { over <- g.clients[0].Call("/waits", "", new(string)).Rerror() }()
			<-w.come
			g.wantServed(t, g.clients[0], g.servers[0])
			close(w.leave)
			if r := <-over; r != nil && r.Code != CodeNotFound {
				t.Error(r)
			}
			g.wantServed(t)
		})
	}
}

// anyOf reports whether text contains one of the words, which are separated by |.
func anyOf(text, words string) bool {
	for w := range strings.SplitSeq(words, "|") {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// A session that receives much at once gets a reader of its own, and loses the reader
// when it receives single messages.
func TestPolledBusySession(t *testing.T) {
	if inlining.Always {
		return // readers change all the time
	}
	g := newManySessions(t, "tcp", testwire.New, nil)
	if g == nil {
		return
	}
	s := g.rawClient(t, "tcp")
	l := s.sess.currentLink()
	big := strings.Repeat("x", 8<<10)
	const n = 400
	flood := frames(t, "/echo", big, 1, n)
	var wg sync.WaitGroup
	wg.Go(func() { s.Write(flood) })
	s.wantReplies(t, n/2, big)
	soon(t, "the session has a reader of its own", func() bool { return l.hasReader() })
	s.wantReplies(t, n/2, big)
	wg.Wait()
	three := frames(t, "/echo", "3", 1, 3)
	for i := range 2 * maxSingles {
		calmly()
		s.send(t, three)
		s.wantReplies(t, 3, "3")
		if !l.hasReader() {
			t.Fatalf("the session has lost its reader after %d batches of three messages", i)
		}
	}
	one := frames(t, "/echo", "1", 1, 1)
	for range 2 * maxSingles {
		calmly()
		s.send(t, one)
		s.wantReplies(t, 1, "1")
	}
	soon(t, "the session is parked again", func() bool { return l.isParked() })
	g.wantRegistered(t)
	g.wantNoGoroutines(t)
}

// calmly waits so long that a reader does not poll for the next message.
func calmly() {
	for end := time.Now().Add(200 * time.Microsecond); time.Now().Before(end); {
		runtime.Gosched()
	}
}

// With a protocol that reads ahead into its own buffer, no buffered message is missed.
func TestPolledProtocolReadsAhead(t *testing.T) {
	ahead := func(rw io.ReadWriter) Proto {
		return testwire.New(struct {
			io.Reader
			io.Writer
		}{bufio.NewReader(rw), rw})
	}
	g := newManySessions(t, "tcp", ahead, nil)
	if g == nil {
		return
	}
	s := g.rawClient(t, "tcp")
	for range 3 {
		s.send(t, frames(t, "/echo", "ahead", 1, 5))
		s.wantReplies(t, 5, "ahead")
	}
	g.wantServed(t, s.sess)
	g.wantNoGoroutines(t)
}

// Sessions end when other code closes their connections.
func TestPolledConnClosedBelow(t *testing.T) {
	for _, network := range pollableNetworks {
		t.Run(network, func(t *testing.T) { polledConnClosedBelow(t, network) })
	}
}

func polledConnClosedBelow(t *testing.T, network string) {
	g := newManySessions(t, network, testwire.New, nil)
	if g == nil {
		return
	}
	over := g.servers[len(g.servers)/2:]
	for _, s := range over {
		s.currentLink().conn.Close()
	}
	for _, s := range over {
		soon(t, "the session is over", func() bool { return s.getState() == closed })
	}
	g.wantServed(t, over...)
	g.wantNoGoroutines(t)
}

// The poller drops a closed connection though its descriptor has a duplicate: else the
// duplicate would cause events for ever.
func TestPolledDuplicatedDescriptor(t *testing.T) {
	g := newManySessions(t, "tcp", testwire.New, nil)
	if g == nil {
		return
	}
	g.wantRegistered(t) // a session is parked before its connection is registered
	s := g.servers[0]
	f, err := s.currentLink().conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var fd uintptr
	s.ControlFD(func(n uintptr) { fd = n })
	if !inPoller(t, fd) {
		t.Fatal("the session is not parked")
	}
	s.Break(io.ErrNoProgress)
	<-s.done.Done()
	if inPoller(t, fd) {
		t.Error("the connection is still in the poller")
	}
}

// Calls in both directions while sessions are closed: each call gets its reply, or the
// error of a session that has ended.
func TestPolledAtAnyMoment(t *testing.T) {
	for _, network := range pollableNetworks {
		t.Run(network, func(t *testing.T) {
			g := newManySessions(t, network, testwire.New, func(p *peer) {
				HandleCall(p, "/back", func(c CallCtx, arg *string) (string, error) {
					return *arg, c.Session().Call("/echo", *arg, new(string)).Rerror().Err()
				})
				HandleCall(p, "/slow", func(_ CallCtx, arg *string) (string, error) {
					for range 50 {
						runtime.Gosched()
					}
					return *arg, nil
				})
			})
			if g == nil {
				return
			}
			var stop atomic.Bool
			var allower, callers sync.WaitGroup
			allower.Go(func() {
				for !stop.Load() {
					allow(g.srv, "/echo", "/slow", "/back")
					allow(g.cli, "/echo", "/slow", "/back")
					runtime.Gosched()
				}
			})
			const ending = 4 // the last sessions are closed during the test
			for i, from := range g.all() {
				index := i % len(g.clients)
				callers.Go(func() {
					rnd := rand.New(rand.NewPCG(uint64(i), 7))
					for n := range 30 {
						ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
						arg := fmt.Sprint(i, " ", n)
						var reply string
						method := []string{"/echo", "/back", "/slow"}[rnd.IntN(3)]
						r := from.Call(method, arg, &reply, WithContext(ctx)).Rerror()
						cancel()
						switch {
						case r == nil && reply == arg:
						case index >= len(g.clients)-ending && r != nil && (r.Code == CodeConnClosed || r.Code == CodeInternalServerError):
							return
						default:
							t.Errorf("%s of session %d = %q, %s; want %q", method, index, reply, r, arg)
						}
						if n == 15 && index >= len(g.clients)-ending {
							switch rnd.IntN(3) {
							case 0:
								from.Close()
							case 1:
								from.Break(io.ErrNoProgress)
							case 2:
								from.currentLink().conn.Close()
							}
						}
						for range rnd.IntN(100) {
							runtime.Gosched()
						}
					}
				})
			}
			callers.Wait()
			stop.Store(true)
			allower.Wait()
			n := len(g.clients) - ending
			g.wantServed(t, append(append([]*session(nil), g.clients[n:]...), g.servers[n:]...)...)
			g.wantNoGoroutines(t)
		})
	}
}

// Whether the poll loop serves sessions depends on their number and on the hooks.
func TestUsesPoller(t *testing.T) {
	for _, test := range []struct {
		name     string
		sessions int32
		blocks   bool // a hook may block
		want     bool
	}{
		{"few", minPolledSessions - 1, false, inlining.Always},
		{"enough", minPolledSessions, false, true},
		{"enough, with a hook that may block", minPolledSessions, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var plugins []Plugin
			if test.blocks {
				plugins = append(plugins, &blockingHook{})
			}
			p := NewPeer(PeerConfig{Logger: slog.New(slog.DiscardHandler)}, plugins...).(*peer)
			defer p.Close()
			s := newSession(p.env, nil)
			p.env.hub.size.Store(test.sessions)
			if got := s.usesPoller(); got != test.want {
				t.Errorf("usesPoller() = %v, want %v", got, test.want)
			}
			p.env.hub.size.Store(0)
		})
	}
}
