package tp

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
)

// addrConn is a connection with the given addresses.
type addrConn struct {
	net.Conn
	remote string
}

func (c *addrConn) RemoteAddr() net.Addr { return memnet.Addr(c.remote) }

func (w *world) serveFrom(remote string) (*session, *rawEnd) {
	w.t.Helper()
	a, b := memnet.Pipe()
	s := w.server.ServeConn(&addrConn{a, remote})
	if s == nil {
		w.t.Fatal("ServeConn refused")
	}
	return s.(*session), newRawEnd(w.t, b)
}

func TestRuleIdsDefaultsAreUniqueAndNeverTakeOver(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		seen := map[string]bool{}
		for _, remote := range []string{"@", "@", "@", "", "", "pipe", "pipe", "10.0.0.1:5", "10.0.0.1:5"} {
			s, _ := w.serveFrom(remote)
			wantReady(t, s)
			id := s.ID()
			if seen[id] || !strings.HasPrefix(id, remote) || id == "" || id == "@" || id == "pipe" {
				t.Errorf("id of a session from %q is %q; want a new one", remote, id)
			}
			if remote == "10.0.0.1:5" && !seen[remote] && id != remote {
				t.Errorf("id %q; want the free address %q", id, remote)
			}
			seen[id] = true
		}
		if n := w.server.CountSession(); n != len(seen) {
			t.Errorf("%d sessions; want %d", n, len(seen))
		}
	})
}

func TestRuleIdsUnixClients(t *testing.T) {
	w := newWorld(t)
	cfg := func(cfg *PeerConfig) { cfg.Network, cfg.LocalIP = "unix", t.TempDir()+"/s" }
	w.server, w.client = w.peer(cfg), w.peer(cfg)
	w.addr = w.listen(w.server)
	for range 20 {
		c := w.dial()
		wantReply(t, c.Call("/echo", "x", new(string)), "x")
	}
	if a, b := w.server.CountSession(), w.client.CountSession(); a != 20 || b != 20 {
		t.Errorf("%d and %d sessions; want 20", a, b)
	}
}

func TestRuleIdsClaimedOnlyWhenReady(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		live, _ := w.serveFrom("10.0.0.1:1")
		live.SetID("admin")
		w.server.PluginContainer().AppendRight(
			&connHook{"auth", &w.log, func(_ string, s PreSession) *Rerror { s.SetID("admin"); return nil }},
			&connHook{"late", &w.log, func(_ string, s PreSession) *Rerror {
				if got, _ := w.server.GetSession("admin"); got != Session(live) {
					t.Error("the id is taken while preparing")
				}
				if s.RemoteAddr().String() == "10.0.0.2:2" {
					return NewRerror(401, "no", "")
				}
				return nil
			}})
		a, b := memnet.Pipe()
		if s := w.server.ServeConn(&addrConn{a, "10.0.0.2:2"}); s != nil {
			t.Error("ServeConn succeeds")
		}
		b.Close()
		wantReady(t, live)
		fresh, _ := w.serveFrom("10.0.0.3:3")
		if fresh.ID() != "admin" {
			t.Errorf("id %q; want admin", fresh.ID())
		}
		wantReady(t, fresh)
		pass(2 * time.Second)
		wantState(t, live, closed)
	})
}

func TestRulePostDialErrorAsItIs(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		mine := NewRerror(999, "mine", "and mine alone").WithCause(errors.ErrUnsupported)
		w.client.PluginContainer().AppendLeft(&connHook{"c", &w.log, func(string, PreSession) *Rerror { return mine }})
		if _, r := w.client.Dial(w.addr); r != mine {
			t.Errorf("Dial = %s; want the hook's error itself", r)
		}
	})
}
