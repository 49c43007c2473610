package tptest

import (
	"context"
	"fmt"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/internal/inherit"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// Move does what a Reboot does with the sessions that a peer has accepted: it hands them to
// another one, which stands for that of the new process and must listen too, with their
// connections. It runs the hooks of both, as they are in two processes. It returns how many
// sessions have moved, and why the others stay. On systems without unix sockets none moves.
// Sessions in use are tried again for up to five seconds.
func Move(t testing.TB, from, to tp.Peer) (moved int, stayed map[string]int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return inherit.Rehearse(ctx, from, to)
}

// Rebooted is a server whose process is replaced again and again, in one process, and the
// session of a client that moves along.
type Rebooted struct {
	Server, Client tp.Peer    // Server is the present one
	Session        tp.Session // the client's
	Accepted       tp.Session // the present server's
	t              testing.TB
	open           func() tp.Peer
}

// NewRebooted makes the server with the function, which adds plugins and routes to a peer
// that it opens with cfg, and the client with the other one. Without settings both speak a
// protocol of the tests over tcp, and the client does not redial.
func NewRebooted(t testing.TB, cfg tp.PeerConfig, server, client func(cfg tp.PeerConfig) (tp.Peer, error)) *Rebooted {
	t.Helper()
	testwire.Register()
	if cfg.Protocol == nil && len(cfg.Protocols) == 0 {
		cfg.Protocol = testwire.New
	}
	if cfg.DefaultBodyCodec == "" {
		cfg.DefaultBodyCodec = "testtext"
	}
	if cfg.LocalIP == "" {
		cfg.LocalIP = "127.0.0.1"
	}
	r := &Rebooted{t: t}
	r.open = func() tp.Peer {
		p, err := server(cfg)
		if err == nil {
			t.Cleanup(func() { p.Close() })
			err = p.Listen()
		}
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	r.Server = r.open()
	c, err := client(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	r.Client = c
	s, rerr := c.Dial(r.Server.Addrs()[0].String())
	if rerr != nil {
		t.Fatal(rerr)
	}
	r.Session = s
	r.findAccepted()
	return r
}

func (r *Rebooted) findAccepted() {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for _, s := range sessions(r.Server) {
			r.Accepted = s
			return
		}
	}
	r.t.Fatal("the server has no session")
}

func sessions(p tp.Peer) (all []tp.Session) {
	p.RangeSession(func(s tp.Session) bool { all = append(all, s); return true })
	return all
}

// Reboot moves the session to a new server, which must succeed.
func (r *Rebooted) Reboot() {
	r.t.Helper()
	if err := r.TryReboot(); err != nil {
		r.t.Fatal(err)
	}
}

// TryReboot is Reboot that may fail: the error says why the session stays where it was.
func (r *Rebooted) TryReboot() error {
	r.t.Helper()
	old, next := r.Server, r.open()
	moved, stayed := Move(r.t, old, next)
	if moved != 1 || len(stayed) > 0 {
		return fmt.Errorf("%d sessions have moved; others stay: %v", moved, stayed)
	}
	r.Server = next
	r.findAccepted()
	old.Close()
	return nil
}
