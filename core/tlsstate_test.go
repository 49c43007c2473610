package tp

import (
	"crypto/tls"
	"net"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/teleport-go/teleport/core/internal/testwire"
)

// mutualTLS are configurations that show each other a certificate.
func mutualTLS() (server, client *tls.Config) {
	server, client = GenerateTLSConfigForServer(), GenerateTLSConfigForClient()
	server.ClientAuth = tls.RequireAnyClientCert
	client.Certificates = server.Certificates
	return server, client
}

// peerName returns the name in the certificate of the other side.
func peerName(state *tls.ConnectionState) string {
	if state == nil {
		return "nobody"
	}
	return state.PeerCertificates[0].Subject.CommonName
}

func TestConnectionState(t *testing.T) {
	server, client := mutualTLS() // not in the bubble, whose time is another
	const name = "teleport self-signed"
	for _, test := range []struct {
		name   string
		secure bool
		want   string
	}{{"TLS", true, name}, {"plain", false, "nobody"}} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, redials(-1), func(t *testing.T, w *world) {
				see := func(where string, state *tls.ConnectionState) {
					if got := peerName(state); got != test.want {
						t.Errorf("%s: the peer is %s; want %s", where, got, test.want)
					}
					w.log.add("%s", where)
				}
				hooks := func(side string) *PluginImpl {
					return &PluginImpl{
						PluginName:       "sees",
						OnPostDial:       func(s PreSession) *Rerror { see(side+" PostDial", s.ConnectionState()); return nil },
						OnPostAccept:     func(s PreSession) *Rerror { see(side+" PostAccept", s.ConnectionState()); return nil },
						OnPreWriteCall:   func(c WriteCtx) *Rerror { see(side+" PreWriteCall", c.ConnectionState()); return nil },
						OnPostDisconnect: func(s BaseSession) *Rerror { see(side+" PostDisconnect", s.ConnectionState()); return nil },
					}
				}
				srv, cli := w.peer(nil, hooks("server")), w.peer(nil, hooks("client"))
				if test.secure {
					srv.SetTLSConfig(server)
					cli.SetTLSConfig(client)
				}
				HandleCall(srv, "/see", func(c CallCtx, _ *string) (string, error) {
					see("handler", c.ConnectionState())
					see("its session", c.Session().ConnectionState())
					return "", nil
				})
				s, r := cli.Dial(w.listen(srv))
				if r != nil {
					t.Fatal(r)
				}
				synctest.Wait()
				see("session", s.ConnectionState())
				wantRerror(t, s.Call("/see", "", nil).Rerror(), 0)
				w.log.wantAnyOrder(t, "client PostDial", "server PostAccept", "session", "client PreWriteCall", "handler", "its session")
				s.Close()
				synctest.Wait()
				if w.log.len() != 2 {
					t.Errorf("%d hooks have seen the end; want 2", w.log.len())
				}
			})
		})
	}
}

// covered hides what is below, but for what the test gives it.
type covered struct{ net.Conn }

type withState struct {
	covered
	state tls.ConnectionState
}

func (c withState) ConnectionState() tls.ConnectionState { return c.state }

type withConn struct{ covered }

func (c withConn) NetConn() net.Conn { return c.Conn }

type endless struct{ covered }

func (c endless) NetConn() net.Conn { return c }

func TestConnectionStateBehindWrappers(t *testing.T) {
	inner := withState{state: tls.ConnectionState{ServerName: "inner"}}
	for _, test := range []struct {
		name string
		conn net.Conn
		want string
	}{
		{"of its own", inner, "inner"},
		{"below", withConn{covered{withConn{covered{inner}}}}, "inner"},
		{"the outer of two", withState{covered{inner}, tls.ConnectionState{ServerName: "outer"}}, "outer"},
		{"hidden", covered{inner}, "none"},
		{"none", nil, "none"},
		{"endless", endless{}, "none"},
	} {
		got := "none"
		if state := connectionState(test.conn); state != nil {
			got = state.ServerName
		}
		if got != test.want {
			t.Errorf("%s: the state is that of %s; want %s", test.name, got, test.want)
		}
	}
}

// A hook that begins TLS by itself, behind bytes that came before, shows it as well.
func TestConnectionStateAfterModifySocket(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		state := tls.ConnectionState{ServerName: "modified"}
		modify := func(s PreSession) *Rerror {
			s.ModifySocket(func(conn net.Conn) (net.Conn, ProtoFunc) { return withState{covered{conn}, state}, testwire.New })
			return nil
		}
		w.client.PluginContainer().AppendLeft(&PluginImpl{PluginName: "m", OnPostDial: modify})
		c := w.dial()
		if got := c.ConnectionState(); got == nil || got.ServerName != "modified" {
			t.Errorf("the state is %v; want that of the new connection", got)
		}
		wantReply(t, c.Call("/echo", "x", new(string)), "x")
	})
}

// What is said of the contexts' session and addresses.
func TestContextSessionAndIP(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		c, s := w.pair()
		HandleCall(w.server, "/ctx", func(ctx CallCtx, _ *string) (string, error) {
			if got, ok := ctx.Session().(Session); !ok || got != Session(s) {
				t.Errorf("Session() is %v; want the session, as a Session", ctx.Session())
			}
			if want := c.LocalAddr().String(); ctx.IP() != want || ctx.RealIP() != want {
				t.Errorf("IP %s, RealIP %s; want %s, with the port", ctx.IP(), ctx.RealIP(), want)
			}
			ctx.Swap().Store("exchange", 1)
			ctx.Session().Swap().Store("session", 2)
			return "", nil
		})
		wantRerror(t, c.Call("/ctx", "", nil).Rerror(), 0)
		_, gone := s.Swap().Load("exchange")
		_, kept := s.Swap().Load("session")
		if gone || !kept {
			t.Errorf("in the session's Swap: what Swap has stored %v, what Session().Swap() has %v; want false, true", gone, kept)
		}
	})
}

// A function of the TLS configuration that panics, or ends its goroutine, fails its
// handshake alone, on either side.
func TestTLSFunctionFails(t *testing.T) {
	cert := GenerateTLSConfigForServer().Certificates
	for _, test := range []struct {
		name string
		f    func() error
	}{
		{"panics", func() error { panic("boom") }},
		{"ends its goroutine", func() error { runtime.Goexit(); return nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				verify := func(tls.ConnectionState) error { return test.f() }
				secure := func(server, client *tls.Config) (srv, cli *peer, addr string) {
					srv, cli = w.peer(nil), w.peer(nil)
					srv.SetTLSConfig(server)
					cli.SetTLSConfig(client)
					return srv, cli, w.listen(srv)
				}
				srv, cli, addr := secure(
					&tls.Config{Certificates: cert, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, test.f() }},
					GenerateTLSConfigForClient())
				_, r := cli.Dial(addr)
				wantRerror(t, r, CodeDialFailed)
				synctest.Wait()
				if n := srv.Stats().RefusedConnections; n != 1 {
					t.Errorf("%d refused connections; want 1", n)
				}
				_, cli, addr = secure(&tls.Config{Certificates: cert}, &tls.Config{InsecureSkipVerify: true, VerifyConnection: verify})
				_, r = cli.Dial(addr)
				wantRerror(t, r, CodeDialFailed, addr)
				synctest.Wait()
				if n := w.net.Conns(); n != 0 {
					t.Errorf("%d connections are left", n)
				}
			})
		})
	}
}
