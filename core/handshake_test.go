package tp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// memNetwork returns a Network that no name leads to.
func memNetwork(n *memnet.Network) *Network {
	return &Network{
		Name:   "nameless",
		Dial:   func(ctx context.Context, d DialConfig) (net.Conn, error) { return n.Dial(ctx, d.Addr) },
		Listen: func(context.Context, ListenConfig) (net.Listener, error) { return n.Listen("") },
	}
}

// inNetwork runs f in a bubble with a server that listens and a client, both on a network
// by value that change may change.
func inNetwork(t *testing.T, change func(*Network), cfg func(*PeerConfig), f func(t *testing.T, w *world), plugins ...Plugin) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := memNetwork(w.net)
		if change != nil {
			change(n)
		}
		w.open(func(c *PeerConfig) {
			c.Network, c.Net = "", n
			if cfg != nil {
				cfg(c)
			}
		}, plugins...)
		*n = Network{} // the peers have copies
		f(t, w)
	})
}

func (w *world) echo(s CtxSession) {
	w.t.Helper()
	var got string
	if r := s.Call("/echo", "x", &got).Rerror(); r != nil || got != "x" {
		w.t.Errorf("a call = %q, %v; want x", got, r)
	}
}

func TestNetworkByValue(t *testing.T) {
	inNetwork(t, nil, nil, func(t *testing.T, w *world) {
		w.echo(w.dial())
		if _, err := LookupNetwork("nameless"); !errors.Is(err, ErrInvalidNetwork) {
			t.Errorf("LookupNetwork = %v; want %v", err, ErrInvalidNetwork)
		}
	})
}

func TestNetworkConfig(t *testing.T) {
	nowhere := &Network{Name: "nowhere"}
	for _, test := range []struct {
		name string
		cfg  PeerConfig
		want string // in the error; "": none
	}{
		{"a value", PeerConfig{Net: nowhere}, ""},
		{"a value and its name", PeerConfig{Net: nowhere, Network: "nowhere"}, ""},
		{"a value and another name", PeerConfig{Net: nowhere, Network: "tcp"}, `tp: config: Network is "tcp", and Net is the network "nowhere"; set one of them`},
		{"a value without a name", PeerConfig{Net: new(Network)}, "tp: config: the network Net has no Name"},
		{"an unknown name", PeerConfig{Network: "nowhere"}, `tp: network "nowhere": Invalid network config`},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.cfg.Logger, test.cfg.Protocol = slog.New(slog.DiscardHandler), testwire.New
			p, err := Open(test.cfg)
			if test.want != "" {
				wantError(t, err, test.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			wantError(t, p.Listen(), "listen nowhere", "does not listen")
			if _, r := p.Dial("there"); r == nil || !strings.Contains(r.String(), `network \"nowhere\" does not dial`) {
				t.Errorf("Dial = %v; want that the network does not dial", r)
			}
		})
	}
}

// Networks get what limits their own handshakes, and where to log.
func TestNetworkArguments(t *testing.T) {
	var d DialConfig
	var l ListenConfig
	var lines strings.Builder
	inNetwork(t, func(n *Network) {
		dial, listen := n.Dial, n.Listen
		n.Dial = func(ctx context.Context, c DialConfig) (net.Conn, error) { d = c; return dial(ctx, c) }
		n.Listen = func(ctx context.Context, c ListenConfig) (net.Listener, error) { l = c; return listen(ctx, c) }
	}, func(c *PeerConfig) {
		c.HandshakeTimeout = 3 * time.Second
		c.Logger = slog.New(slog.NewTextHandler(&lines, nil))
	}, func(t *testing.T, w *world) {
		w.dial()
		if d.HandshakeTimeout != 3*time.Second || l.HandshakeTimeout != 3*time.Second {
			t.Errorf("HandshakeTimeout = %v, %v; want 3s", d.HandshakeTimeout, l.HandshakeTimeout)
		}
		if d.Network != "nameless" || l.Network != "nameless" {
			t.Errorf("Network = %q, %q; want nameless", d.Network, l.Network)
		}
		d.Logger.Infof("from Dial")
		l.Logger.Infof("from Listen")
		for _, want := range []string{"from Dial", "from Listen"} {
			if !strings.Contains(lines.String(), want) {
				t.Errorf("the peer's log is\n%s\nwant a line %q", &lines, want)
			}
		}
	})
}

// greet is a handshake: the dialling side sends a word, which the other side returns in
// upper case.
func greet(h *Handshake, word string) error {
	b := make([]byte, len(word))
	if h.Dialed {
		if _, err := h.Conn.Write([]byte(word)); err != nil {
			return err
		}
		if _, err := io.ReadFull(h.Conn, b); err != nil {
			return err
		}
		if string(b) != strings.ToUpper(word) {
			return fmt.Errorf("the answer is %q", b)
		}
		return nil
	}
	if _, err := io.ReadFull(h.Conn, b); err != nil {
		return err
	}
	h.Facts = ConnFacts{Remote: memnet.Addr("far away"), RealIP: "10.9.8.7", Swap: map[any]any{"word": string(b)}}
	_, err := h.Conn.Write([]byte(strings.ToUpper(string(b))))
	return err
}

// A network's handshake precedes hooks and protocol, on both sides and on each
// connection, and what it finds out is the session's.
func TestNetworkHandshake(t *testing.T) {
	var log journal
	wrapped := func(pf ProtoFunc) ProtoFunc {
		return func(rw io.ReadWriter) Proto { log.add("protocol"); return pf(rw) }
	}
	inNetwork(t, func(n *Network) {
		n.Handshake = func(ctx context.Context, h *Handshake) error {
			log.add("handshake dialed=%v addr=%v", h.Dialed, h.Addr != "")
			h.Proto = wrapped(h.Proto)
			return greet(h, "hello")
		}
	}, redials(-1), func(t *testing.T, w *world) {
		w.client.PluginContainer().AppendLeft(&reHook{connHook{"client", &log, nil}})
		s := w.dial()
		synctest.Wait()
		log.wantAnyOrder(t, "handshake dialed=true addr=true", "handshake dialed=false addr=false",
			"protocol", "protocol", "server accept hello", "client dial")
		w.echo(s)
		srv := w.server.env.hub.all()[0]
		if srv.ID() != "far away" || srv.RemoteAddr().String() != "far away" {
			t.Errorf("the server's session is %q from %v; want far away", srv.ID(), srv.RemoteAddr())
		}
		var where string
		if r := s.Call("/where", "", &where).Rerror(); r != nil || where != "far away, 10.9.8.7" {
			t.Errorf("a handler sees %q, %v; want the facts of the handshake", where, r)
		}
		mem(s).Cut()
		pass(time.Second)
		log.wantAnyOrder(t, "handshake dialed=true addr=true", "handshake dialed=false addr=false",
			"protocol", "protocol", "server accept hello", "client redial")
		w.echo(s)
	}, &PluginImpl{
		PluginName: "server",
		OnPostNewPeer: func(p EarlyPeer) error {
			HandleCall(p, "/where", func(c CallCtx, _ *string) (string, error) { return c.IP() + ", " + c.RealIP(), nil })
			return nil
		},
		OnPostAccept: func(s PreSession) *Rerror {
			word, _ := s.Swap().Load("word")
			log.add("server accept %v", word)
			return nil
		},
	})
}

func TestHandshakeFails(t *testing.T) {
	for _, test := range []struct {
		name     string
		side     bool // the one that dials
		do       func(ctx context.Context, h *Handshake) error
		code     int32  // of Dial
		text     string // in its text
		log      string // of the server; "": none
		accepted uint64 // connections that the server has refused
	}{
		{"an error of the dialling side", true, func(context.Context, *Handshake) error { return errors.New("no thanks") }, CodeDialFailed, "no thanks", "", 0},
		{"an error with a code", true, func(context.Context, *Handshake) error { return NewRerror(CodeForbidden, "no entry", "").Err() }, CodeForbidden, "no entry", "", 0},
		{"the accepting side refuses", false, func(context.Context, *Handshake) error { return errors.New("no thanks") }, CodeDialFailed, "EOF", "refused", 1},
		{"a panic", true, func(context.Context, *Handshake) error { panic("lost") }, CodeInternalServerError, "lost", "", 0},
		{"a panic of the accepting side", false, func(context.Context, *Handshake) error { panic("lost") }, CodeDialFailed, "EOF", "refused", 1},
		{"its goroutine ends", false, func(context.Context, *Handshake) error { runtime.Goexit(); return nil }, CodeDialFailed, "EOF", "refused", 1},
		{"nothing is left", true, func(_ context.Context, h *Handshake) error { h.Conn = nil; return nil }, CodeDialFailed, "no connection", "", 0},
		{"it takes too long", false, func(ctx context.Context, h *Handshake) error { <-ctx.Done(); return nil }, CodeDialFailed, "", errHandshakeTimeout.Error(), 1},
		{"the dialling side takes too long", true, func(ctx context.Context, h *Handshake) error {
			_, err := h.Conn.Read(make([]byte, 1))
			return err
		}, CodeDialFailed, errHandshakeTimeout.Error(), "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var lines strings.Builder
			inNetwork(t, func(n *Network) {
				n.Handshake = func(ctx context.Context, h *Handshake) error {
					if h.Dialed == test.side {
						return test.do(ctx, h)
					}
					if h.Dialed {
						_, err := h.Conn.Read(make([]byte, 1))
						return err
					}
					return nil
				}
			}, func(c *PeerConfig) { c.HandshakeTimeout = 5 * time.Second }, func(t *testing.T, w *world) {
				w.server.log = newLogger(slog.New(slog.NewTextHandler(&lines, nil)))
				w.server.env.log = w.server.log
				s, r := w.client.Dial(w.addr)
				if s != nil || r == nil || r.Code != test.code || !strings.Contains(r.String(), test.text) {
					t.Errorf("Dial = %v, %v; want code %d and %q", s, r, test.code, test.text)
				}
				synctest.Wait()
				if got := lines.String(); test.log == "" && got != "" || !strings.Contains(got, test.log) {
					t.Errorf("the server logs %q; want %q", got, test.log)
				}
				if got := w.server.Stats().RefusedConnections; got != test.accepted {
					t.Errorf("%d refused connections; want %d", got, test.accepted)
				}
				if n := w.net.Conns(); n != 0 {
					t.Errorf("%d connections are left", n)
				}
			})
		})
	}
}

// Peers that connect and send nothing keep nobody out.
func TestHandshakeOneAtATime(t *testing.T) {
	inNetwork(t, func(n *Network) {
		n.Handshake = func(_ context.Context, h *Handshake) error { return greet(h, "hello") }
	}, func(c *PeerConfig) { c.HandshakeTimeout = 5 * time.Second }, func(t *testing.T, w *world) {
		var silent [100]net.Conn
		for i := range silent {
			c, err := w.net.Dial(t.Context(), w.addr)
			if err != nil {
				t.Fatal(err)
			}
			silent[i] = c
		}
		start := time.Now()
		w.echo(w.dial())
		if took := time.Since(start); took > time.Second {
			t.Errorf("Dial took %v beside silent peers", took)
		}
		pass(6 * time.Second)
		for _, c := range silent {
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Fatalf("a silent peer reads %v; want io.EOF", err)
			}
			c.Close()
		}
		if n, refused := w.net.Conns(), w.server.Stats().RefusedConnections; n != 2 || refused != 100 {
			t.Errorf("%d ends of connections are left, and %d were refused; want the two ends of one and 100", n, refused)
		}
	})
}

// A client checks the name that it has dialled, unless its configuration says otherwise.
func TestClientTLS(t *testing.T) {
	for _, test := range []struct {
		addr string
		tls  *tls.Config
		want string
	}{
		{"example.com:443", &tls.Config{}, "example.com"},
		{"[::1]:443", &tls.Config{}, "::1"},
		{":443", &tls.Config{}, "localhost"},
		{"/run/socket", &tls.Config{}, "/run/socket"},
		{"example.com:443", &tls.Config{ServerName: "other.example"}, "other.example"},
		{"example.com:443", &tls.Config{InsecureSkipVerify: true}, ""},
	} {
		given := test.tls.ServerName
		if got := (DialConfig{Addr: test.addr, TLS: test.tls}).ClientTLS(); got.ServerName != test.want || test.tls.ServerName != given {
			t.Errorf("%s: the name is %q, and was %q, which is now %q; want %q", test.addr, got.ServerName, given, test.tls.ServerName, test.want)
		}
	}
}

// A network that panics fails the attempt to dial, also one to redial, and nothing else.
func TestNetworkPanicsInDial(t *testing.T) {
	var broken atomic.Bool
	inNetwork(t, func(n *Network) {
		dial := n.Dial
		n.Dial = func(ctx context.Context, d DialConfig) (net.Conn, error) {
			if broken.Load() {
				panic("boom")
			}
			return dial(ctx, d)
		}
	}, func(c *PeerConfig) { c.RedialTimes, c.RedialInterval = -1, time.Second }, func(t *testing.T, w *world) {
		c := w.dial()
		broken.Store(true)
		mem(c).Cut()
		pass(2 * shortLife)
		_, r := w.client.Dial(w.addr)
		wantRerror(t, r, CodeDialFailed, w.addr, "boom")
		broken.Store(false)
		w.echo(c)
	})
}
