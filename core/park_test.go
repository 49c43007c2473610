package tp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// peerPair is a server and a client over a real network.
type peerPair struct {
	srv, cli *peer
	addr     string
}

func newPeerPair(t *testing.T, network string) *peerPair {
	t.Helper()
	testwire.Register()
	isTLS := network == "tls"
	if isTLS {
		network = "tcp"
	}
	open := func() *peer {
		p := NewPeer(PeerConfig{
			Network: network, LocalIP: "127.0.0.1", DefaultBodyCodec: "testtext", Protocol: testwire.New,
			RedialTimes: -1, RedialInterval: time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		}).(*peer)
		if isTLS {
			useTLS(p)
		}
		t.Cleanup(func() { p.Close() })
		HandleCall(p, "/echo", func(_ CallCtx, arg *string) (string, error) { return *arg, nil })
		return p
	}
	p := &peerPair{srv: open(), cli: open()}
	if err := p.srv.Listen(); err != nil {
		t.Fatal(err)
	}
	p.addr = p.srv.Addrs()[0].String()
	return p
}

func (p *peerPair) dial(t *testing.T) (client, server *session) {
	t.Helper()
	s, r := p.cli.Dial(p.addr)
	if r != nil {
		t.Fatal(r)
	}
	c := s.(*session)
	soon(t, "the server has the session", func() bool {
		server = nil
		for _, s := range p.srv.env.hub.all() {
			if s.RemoteAddr().String() == c.LocalAddr().String() {
				server = s
			}
		}
		return server != nil
	})
	return c, server
}

// soon waits until other goroutines have made cond true.
func soon(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("not so after 20 s: %s", what)
		}
	}
}

// idle does what the sweeper does until the session is parked. It returns false on
// systems where sessions are not parked.
func idle(t testing.TB, s *session) bool {
	t.Helper()
	if l := s.currentLink(); l.sock.Pollable() == nil || runtime.GOOS != "linux" {
		return false
	}
	soon(t, "the session is parked", func() bool {
		l := s.currentLink()
		if !l.isParked() {
			sweepIdle(l)
		}
		return l.isParked()
	})
	return true
}

// sweepIdle makes the sweeper check l now.
func sweepIdle(l *link) {
	env := l.sess.env
	env.sweeper.Touch(l.sess, 1) // only the sweeper may use idleSeen
	l.idleAt.CompareAndSwap(l.idleAt.Load(), 1)
}

func wantEcho(t testing.TB, s *session, arg string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var reply string
	if r := s.Call("/echo", arg, &reply, WithContext(ctx)).Rerror(); r != nil || reply != arg {
		t.Errorf("Call = %q, %s; want %q", reply, r, arg)
	}
}

// Idle sessions have no goroutine, and still serve calls of either side.
func TestParkedSessions(t *testing.T) {
	for _, network := range []string{"tcp", "tls"} {
		t.Run(network, func(t *testing.T) { parkedSessions(t, network) })
	}
}

func parkedSessions(t *testing.T, network string) {
	p := newPeerPair(t, network)
	before := runtime.NumGoroutine()
	const n = 50
	var all []*session
	for range n {
		c, s := p.dial(t)
		all = append(all, c, s)
	}
	for _, s := range all {
		if !idle(t, s) {
			return
		}
	}
	soon(t, fmt.Sprintf("%d sessions at both ends have no goroutine each", n), func() bool {
		return runtime.NumGoroutine() < before+n
	})
	for round := range 3 {
		for i, s := range all {
			if round > 0 {
				idle(t, s)
			}
			wantEcho(t, s, fmt.Sprint(round, i))
		}
	}
}

// Whichever side ends a parked session, both sides notice.
func TestParkedSessionEnds(t *testing.T) {
	for _, network := range []string{"tcp", "tls"} {
		t.Run(network, func(t *testing.T) { parkedSessionEnds(t, network) })
	}
}

func parkedSessionEnds(t *testing.T, network string) {
	for _, test := range []struct {
		name   string
		end    func(c, s *session) error
		client string // the reason there; "" if it redials
		server string
	}{
		{"the client closes", func(c, s *session) error { return c.Close() }, "closed by this side", "closed by peer"},
		{"the server closes", func(c, s *session) error { return s.Close() }, "", "closed by this side"},
		{"the server drains", func(c, s *session) error { return s.Drain(context.Background()) }, "", "closed by this side"},
		{"the server breaks the connection", func(c, s *session) error {
			if !s.Break(io.ErrNoProgress) {
				return errors.New("Break = false")
			}
			return nil
		}, "", io.ErrNoProgress.Error()},
		{"the client breaks the connection", func(c, s *session) error {
			if !c.Break(io.ErrNoProgress) {
				return errors.New("Break = false")
			}
			return nil
		}, "", "closed by peer"},
		{"a reset", func(c, s *session) error {
			conn := c.currentLink().conn
			if secure, ok := conn.(*tls.Conn); ok {
				conn = secure.NetConn().(interface{ NetConn() net.Conn }).NetConn()
			}
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close() // without an alert of TLS
			c.currentLink().close()
			return nil
		}, "", "reset"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPeerPair(t, network)
			c, s := p.dial(t)
			old := c.currentLink()
			if !idle(t, c) || !idle(t, s) {
				return
			}
			if err := test.end(c, s); err != nil {
				t.Fatal(err)
			}
			<-s.done.Done()
			wantReason(t, s, s.CloseReason().Side, test.server)
			if test.client != "" {
				<-c.done.Done()
				wantReason(t, c, c.CloseReason().Side, test.client)
				return
			}
			soon(t, "the client has redialled", func() bool { l := c.cur.Load(); return l != nil && l != old })
			idle(t, c)
			wantEcho(t, c, "again")
		})
	}
}

// Sessions are parked and used again at any moment, and no message is lost.
func TestParkAtAnyMoment(t *testing.T) {
	for _, network := range []string{"tcp", "tls"} {
		t.Run(network, func(t *testing.T) { parkAtAnyMoment(t, network) })
	}
}

func parkAtAnyMoment(t *testing.T, network string) {
	p := newPeerPair(t, network)
	var stop atomic.Bool
	var sweeps, callers sync.WaitGroup
	for range 4 {
		c, s := p.dial(t)
		if !idle(t, c) {
			return
		}
		sweeps.Go(func() {
			for !stop.Load() {
				sweepIdle(c.currentLink())
				sweepIdle(s.currentLink())
				runtime.Gosched()
			}
		})
		for g := range 3 {
			callers.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(g), 1))
				for i := range 300 {
					from := c
					if rnd.IntN(2) == 0 {
						from = s
					}
					wantEcho(t, from, fmt.Sprint(g, i))
					for range rnd.IntN(200) {
						runtime.Gosched()
					}
				}
			})
		}
	}
	callers.Wait()
	stop.Store(true)
	sweeps.Wait()
}

// unreadLink returns a link that no goroutine reads, of a client's session.
func unreadLink(t *testing.T) *link {
	t.Helper()
	p := newPeerPair(t, "tcp")
	c, _ := p.dial(t)
	near, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	l := &link{sess: c, env: c.env, sock: socket.NewConn(near, testwire.New, socket.Options{})}
	t.Cleanup(func() { l.sock.Release(); near.Close() })
	return l
}

// A connection that is closed while its reader parks it is not left to the poller, also if
// its descriptor outlives its Close, as that of a Pollable may: then Register does not fail.
func TestParkClosed(t *testing.T) {
	l := unreadLink(t)
	l.shut.Store(true) // as close does, which has found no parked connection
	if l.park() || l.isParked() {
		t.Error("the connection is parked, and nobody will read its end")
	}
}

// A reader that has polled holds a buffer; a connection that is parked holds none.
func TestParkedHoldsNoBuffer(t *testing.T) {
	if runtime.GOOS != "linux" { // nothing is parked
		return
	}
	l := unreadLink(t)
	buffer := reflect.ValueOf(l.sock).Elem().FieldByName("in").FieldByName("buf")
	if _, err := l.sock.TryWait(); err != nil || buffer.IsNil() {
		t.Fatalf("TryWait = %v, and holds a buffer: %v; want true", err, !buffer.IsNil())
	}
	if !l.park() {
		t.Fatal("the connection is not parked")
	}
	defer l.deregister()
	if !buffer.IsNil() {
		t.Error("a parked connection holds a buffer")
	}
}
