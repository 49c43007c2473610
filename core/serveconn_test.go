package tp

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teleport-go/teleport/core/internal/memnet"
	"github.com/teleport-go/teleport/core/internal/testwire"
)

// What is known about a connection is the session's before PostAccept, and each context's.
func TestServeConnWithFacts(t *testing.T) {
	far := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("10.1.2.3:4567"))
	var log journal
	inWorld(t, func(c *PeerConfig) { c.TrustedProxies = []string{"10.1.0.0/16"} }, func(t *testing.T, w *world) {
		w.server.PluginContainer().AppendLeft(&PluginImpl{PluginName: "server", OnPostAccept: func(s PreSession) *Rerror {
			user, _ := s.Swap().Load("user")
			log.add("accept %v %v %s", user, s.RemoteAddr(), s.ConnectionState().ServerName)
			return nil
		}})
		HandleCall(w.server, "/facts", func(c CallCtx, _ *string) (string, error) {
			user, _ := c.Session().Swap().Load("user")
			return strings.Join([]string{c.IP(), c.RealIP(), user.(string), c.ConnectionState().ServerName}, " "), nil
		})
		for _, test := range []struct {
			name   string
			realIP string
			want   string
		}{
			{"real address", "2001:db8::1", "10.1.2.3:4567 2001:db8::1 ada web"},
			{"the message's, since Remote is a trusted proxy", "", "10.1.2.3:4567 192.0.2.1 ada web"},
		} {
			a, b := memnet.Pipe()
			facts := ConnFacts{Remote: far, RealIP: test.realIP, TLS: &tls.ConnectionState{ServerName: "web"}, Swap: map[any]any{"user": "ada"}}
			s, r := w.server.ServeConnWith(a, facts)
			if r != nil {
				t.Fatal(r)
			}
			log.want(t, "accept ada 10.1.2.3:4567 web")
			if s.ID() != "10.1.2.3:4567" || s.RemoteAddr() != far {
				t.Errorf("the session is %q from %v; want %v", s.ID(), s.RemoteAddr(), far)
			}
			client := w.client.ServeConn(b)
			var got string
			if r := client.Call("/facts", "", &got, WithAddMeta(MetaRealIP, "192.0.2.1")).Rerror(); r != nil || got != test.want {
				t.Errorf("%s: a handler sees %q, %v; want %q", test.name, got, r, test.want)
			}
			s.Close()
		}
	})
}

func TestServeConnWithErrors(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(p *peer)
		code  int32
		count uint64 // of refused connections
		log   string // of ServeConn
	}{
		{"a hook refuses", func(p *peer) {
			p.PluginContainer().AppendLeft(&PluginImpl{PluginName: "refuses", OnPostAccept: func(PreSession) *Rerror { return NewRerror(CodeForbidden, "no entry", "") }})
		}, CodeForbidden, 1, "no entry"},
		{"a closed peer", func(p *peer) { p.Close() }, CodeConnClosed, 0, errPeerClosed.Error()},
		{"no protocol", func(p *peer) { p.cfg.Protocol, p.cfg.Protocols = nil, []string{"unknown"} }, CodeInternalServerError, 0, "unknown"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var lines strings.Builder
			inWorld(t, nil, func(t *testing.T, w *world) {
				p := w.peer(func(c *PeerConfig) { c.Logger = slog.New(slog.NewTextHandler(&lines, nil)) })
				test.spoil(p)
				lines.Reset()
				for i, serve := range []func(net.Conn) (Session, *Rerror){
					func(c net.Conn) (Session, *Rerror) { return p.ServeConnWith(c, ConnFacts{}) },
					func(c net.Conn) (Session, *Rerror) { return p.ServeConn(c), nil },
				} {
					a, b := memnet.Pipe()
					s, r := serve(a)
					if s != nil || i == 0 && (r == nil || r.Code != test.code) {
						t.Errorf("%d: %v, %v; want no session, and code %d of ServeConnWith", i, s, r, test.code)
					}
					if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
						t.Errorf("%d: the other end reads %d, %v; want io.EOF", i, n, err)
					}
					b.Close()
					if got := lines.String(); i == 0 && got != "" || i == 1 && !strings.Contains(got, test.log) {
						t.Errorf("%d: logged is %q; want %q, and nothing by ServeConnWith", i, got, test.log)
					}
				}
				if got := p.Stats().RefusedConnections; got != 2*test.count {
					t.Errorf("%d refused connections; want %d", got, 2*test.count)
				}
			})
		})
	}
}

// recorded keeps a copy of what is written to it.
type recorded struct {
	net.Conn
	b bytes.Buffer
}

func (r *recorded) Write(p []byte) (int, error) { return r.b.Write(p) }

// Bytes that a web server has read already are the protocol's first, and the session is
// parked nevertheless: its connection is not wrapped.
func TestServeConnWithBytesRead(t *testing.T) {
	frames := func(n int) (b []byte) { // of pushes
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			near, far := memnet.Pipe()
			defer far.Close()
			r := &recorded{Conn: near}
			s := w.peer(nil).ServeConn(r)
			for range n {
				s.Push("/note", "before")
			}
			synctest.Wait()
			b = bytes.Clone(r.b.Bytes())
		})
		return b
	}
	for _, test := range []struct {
		name string
		n    int // pushes that were read before
		cut  int // bytes of them that come later
	}{{"a message", 1, 0}, {"half a message", 1, 5}, {"more than a buffer", 2000, 0}} {
		t.Run(test.name, func(t *testing.T) {
			all := frames(test.n)
			testwire.Register()
			var log journal
			w := &world{t: t, gate: make(chan struct{})}
			opened, err := Open(PeerConfig{Logger: slog.New(slog.DiscardHandler), DefaultBodyCodec: "testtext", Protocol: testwire.New})
			if err != nil {
				t.Fatal(err)
			}
			p := opened.(*peer)
			defer p.Close()
			arrived := make(chan struct{}, test.n)
			HandlePush(p, "/note", func(_ PushCtx, arg *string) error { log.add("%s", *arg); arrived <- struct{}{}; return nil })
			near, far := w.tcp()
			s, r := p.ServeConnWith(near, ConnFacts{Read: all[:len(all)-test.cut]})
			if r != nil {
				t.Fatal(r)
			}
			if raw := s.(*session).link.conn; raw != near {
				t.Errorf("the connection is %T; want that of ServeConnWith", raw)
			}
			if _, err := far.Write(all[len(all)-test.cut:]); err != nil {
				t.Fatal(err)
			}
			for range test.n {
				select {
				case <-arrived:
				case <-time.After(10 * time.Second):
					t.Fatal("a message is missing")
				}
			}
		})
	}
}

// tcp returns the two ends of a connection over the loopback interface.
func (w *world) tcp() (near, far net.Conn) {
	w.t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	defer lis.Close()
	if far, err = net.Dial("tcp", lis.Addr().String()); err != nil {
		w.t.Fatal(err)
	}
	if near, err = lis.Accept(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// A connection that was accepted and did not become ready has not been dialled, and the
// error does not say so.
func TestServeConnOfAPeerThatCloses(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.server.PluginContainer().AppendLeft(&PluginImpl{
			PluginName:   "late",
			OnPostAccept: func(PreSession) *Rerror { w.server.env.hub.close(); return nil }, // as Close does when it has waited long enough
		})
		a, b := memnet.Pipe()
		defer b.Close()
		s, r := w.server.ServeConnWith(a, ConnFacts{})
		if s != nil {
			t.Errorf("ServeConnWith = %v; want an error", s)
		}
		wantRerror(t, r, CodeConnClosed, errPeerClosed.Error())
		if strings.Contains(r.String(), "dial") || !errors.Is(r.Err(), errPeerClosed) {
			t.Errorf("error is %s; want %v, and no word about dialling", r, errPeerClosed)
		}
	})
}
