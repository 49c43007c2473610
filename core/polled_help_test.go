package tp

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// manySessions is a server and a client with so many sessions between them that the
// poll loops of both serve them.
type manySessions struct {
	*peerPair
	clients, servers []*session // the two ends of each connection, by index
	goroutines       int        // how many there were before the first session
	closeAll         func()
}

// isParked, hasReader and inHandler report what the reader of l does.
func (l *link) isParked() bool  { return l.state.phase() == parked }
func (l *link) hasReader() bool { return !l.state.registered() }
func (l *link) inHandler() bool { h, _ := l.state.handler(); return h != 0 }

// isPolled reports whether the poll loop reads l.
func (l *link) isPolled() bool { return l.state.registered() && !l.isParked() }

// newManySessions returns nil on systems where sessions are not parked.
func newManySessions(t *testing.T, network string, pf ProtoFunc, routes func(p *peer)) *manySessions {
	t.Helper()
	if runtime.GOOS != "linux" {
		return nil
	}
	testwire.Register()
	g := &manySessions{goroutines: runtime.NumGoroutine()}
	open := func() *peer {
		cfg := PeerConfig{
			Network: network, LocalIP: "127.0.0.1", DefaultBodyCodec: "testtext", Protocol: pf,
			CloseTimeout: 5 * time.Second, WriteBound: 64 << 10, Logger: slog.New(slog.DiscardHandler),
		}
		switch network {
		case "unix":
			cfg.LocalIP = filepath.Join(t.TempDir(), "s")
		case "tls":
			cfg.Network = "tcp"
		}
		p := NewPeer(cfg).(*peer)
		if network == "tls" {
			useTLS(p)
		}
		HandleCall(p, "/echo", func(_ CallCtx, arg *string) (string, error) { return *arg, nil })
		if routes != nil {
			routes(p)
		}
		return p
	}
	g.peerPair = &peerPair{srv: open(), cli: open()}
	g.closeAll = sync.OnceFunc(func() { g.cli.Close(); g.srv.Close() })
	t.Cleanup(g.closeAll)
	if err := g.srv.Listen(); err != nil {
		t.Fatal(err)
	}
	g.addr = g.srv.Addrs()[0].String()
	for range minPolledSessions + 4 {
		c, r := g.cli.Dial(g.addr)
		if r != nil {
			t.Fatal(r)
		}
		g.clients = append(g.clients, c.(*session))
		g.servers = append(g.servers, g.newest(t))
	}
	for _, s := range g.all() {
		soon(t, "the session is parked", func() bool { return s.currentLink().isParked() })
	}
	return g
}

func (g *manySessions) all() []*session {
	return append(append([]*session(nil), g.clients...), g.servers...)
}

// newest waits for a session of the server that is not in g.servers yet.
func (g *manySessions) newest(t *testing.T) (s *session) {
	t.Helper()
	soon(t, "the server has the session", func() bool {
		for _, s = range g.srv.env.hub.all() {
			if !contains(g.servers, s) {
				return true
			}
		}
		return false
	})
	return s
}

func contains(list []*session, s *session) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// wantServed calls over all sessions except these, in both directions.
func (g *manySessions) wantServed(t *testing.T, but ...*session) {
	t.Helper()
	for i := range g.clients {
		if c, s := g.clients[i], g.servers[i]; !contains(but, c) && !contains(but, s) {
			wantEcho(t, c, fmt.Sprint("to the server ", i))
			wantEcho(t, s, fmt.Sprint("to the client ", i))
		}
	}
}

// wantRegistered checks that the pollers wait for the parked connections, and for no
// others: a registration of another connection would report events for ever.
func (g *manySessions) wantRegistered(t *testing.T) {
	t.Helper()
	soon(t, "exactly the parked connections are registered with the pollers", func() bool {
		for _, s := range g.all() {
			var fd uintptr
			if raw := s.currentLink().sock.NetConn(); raw != nil && descriptor(raw, &fd) != nil {
				continue
			}
			if l := s.currentLink(); l.isPolled() || inPoller(t, fd) != l.isParked() {
				return false
			}
		}
		return true
	})
}

// descriptor finds the number of the descriptor of a connection, of the socket below TLS.
func descriptor(conn net.Conn, fd *uintptr) error {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	return socket.ControlFD(conn, func(n uintptr) { *fd = n })
}

// useTLS makes a peer one with TLS on both sides.
func useTLS(p *peer) {
	cfg := GenerateTLSConfigForServer()
	cfg.InsecureSkipVerify = true
	p.SetTLSConfig(cfg)
}

// inPoller reports whether the descriptor is in an epoll, with the events of our pollers.
func inPoller(t *testing.T, fd uintptr) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil || len(files) == 0 {
		t.Fatal("no descriptors: ", err)
	}
	for _, f := range files {
		b, _ := os.ReadFile(f) // the file may have been closed meanwhile
		for line := range strings.Lines(string(b)) {
			var n uintptr
			var events uint32
			if _, err := fmt.Sscanf(line, "tfd: %d events: %x", &n, &events); err == nil && n == fd && events&^0x18 == 0x2001 { // the kernel adds the bits for errors and hang-ups
				return true
			}
		}
	}
	return false
}

// wantNoGoroutines closes both peers and checks that no goroutine is left.
func (g *manySessions) wantNoGoroutines(t *testing.T) {
	t.Helper()
	g.closeAll()
	soon(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= g.goroutines })
}

// rawClient is a connection to the server without a peer, and the server's session for it.
type rawClient struct {
	net.Conn
	sock socket.Socket
	sess *session
}

func (g *manySessions) rawClient(t *testing.T, network string) *rawClient {
	t.Helper()
	var conn net.Conn
	var err error
	if network == "tls" {
		conn, err = tls.Dial("tcp", g.addr, GenerateTLSConfigForClient())
	} else {
		conn, err = net.Dial(network, g.addr)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &rawClient{Conn: conn, sock: socket.NewSocket(conn, testwire.New), sess: g.newest(t)}
	g.servers = append(g.servers, s.sess)
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return s
}

// frames returns n encoded calls of method, numbered from seq on.
func frames(t *testing.T, method, arg string, seq, n int) []byte {
	t.Helper()
	return framesOf(t, TypeCall, method, arg, seq, n)
}

func framesOf(t *testing.T, mtype byte, method, arg string, seq, n int) []byte {
	t.Helper()
	rec := &recorder{Conn: new(net.TCPConn)}
	sock := socket.NewSocket(rec, testwire.New)
	for i := range n {
		m := socket.NewMessage(socket.WithServiceMethod(method), socket.WithBody(arg), socket.WithBodyCodec(testwire.TextCodec{}.ID()))
		m.SetMtype(mtype)
		m.SetSeq(int32(seq + i))
		if err := sock.WriteMessage(m); err != nil {
			t.Fatal(err)
		}
	}
	return rec.written
}

func (s *rawClient) send(t *testing.T, b []byte) {
	t.Helper()
	if _, err := s.Write(b); err != nil {
		t.Fatal(err)
	}
}

// wantReplies reads n replies.
func (s *rawClient) wantReplies(t *testing.T, n int, want string) {
	t.Helper()
	for i := range n {
		m := socket.NewMessage(socket.WithNewBody(func(socket.Header) any { return new(string) }))
		if err := s.sock.ReadMessage(m); err != nil {
			t.Fatalf("reply %d of %d: %v", i+1, n, err)
		}
		if got := *m.Body().(*string); got != want {
			t.Errorf("a reply of %d bytes, want %d", len(got), len(want))
		}
	}
}
