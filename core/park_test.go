package tp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/testwire"
)

// parking is a server and a client over TCP.
type parking struct {
	srv, cli *peer
	addr     string
}

func newParking(t *testing.T, network string) *parking {
	t.Helper()
	testwire.Register()
	open := func() *peer {
		p := NewPeer(PeerConfig{
			Network: network, LocalIP: "127.0.0.1", DefaultBodyCodec: "testtext", Protocol: testwire.New,
			RedialTimes: -1, RedialInterval: time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		}).(*peer)
		t.Cleanup(func() { p.Close() })
		HandleCall(p, "/echo", func(_ CallCtx, arg *string) (string, error) { return *arg, nil })
		return p
	}
	p := &parking{srv: open(), cli: open()}
	if err := p.srv.Listen(); err != nil {
		t.Fatal(err)
	}
	p.addr = p.srv.Addrs()[0].String()
	return p
}

func (p *parking) dial(t *testing.T) (client, server *session) {
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

// soon waits for what other goroutines are about to do.
func soon(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("not so after 20 s: %s", what)
		}
	}
}

// idle does what the sweep does until the session is parked. It returns false
// where sessions are not.
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

// sweepIdle is the sweep of a second.
func sweepIdle(l *link) {
	env := l.sess.env
	env.sweeper.Touch(l.sess, 1) // it is the one that may look at idleSeen
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

// Sessions over which nothing comes have no goroutine; they serve calls of either
// side as if they had.
func TestParkedSessions(t *testing.T) {
	p := newParking(t, "tcp")
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

// Whoever ends a parked session, both sides notice.
func TestParkedSessionEnds(t *testing.T) {
	for _, test := range []struct {
		name   string
		end    func(c, s *session) error
		client string // the reason there; "" if it redials
		server string
	}{
		{"the client closes", func(c, s *session) error { return c.Close() }, "closed by this side", "closed by peer"},
		{"the server closes", func(c, s *session) error { return s.Close() }, "", "closed by this side"},
		{"the server drains", func(c, s *session) error { return s.Drain(context.Background()) }, "", "closed by this side"},
		{"the server gives up", func(c, s *session) error {
			if !s.Break(io.ErrNoProgress) {
				return errors.New("Break = false")
			}
			return nil
		}, "", io.ErrNoProgress.Error()},
		{"the client gives up", func(c, s *session) error {
			if !c.Break(io.ErrNoProgress) {
				return errors.New("Break = false")
			}
			return nil
		}, "", "closed by peer"},
		{"a reset", func(c, s *session) error {
			conn := c.currentLink().conn.(*net.TCPConn)
			conn.SetLinger(0)
			c.currentLink().close()
			return nil
		}, "", "reset"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newParking(t, "tcp")
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

// Sessions are parked and used again at any moment, and nothing is lost.
func TestParkAtAnyMoment(t *testing.T) {
	p := newParking(t, "tcp")
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
