package outproctest

import (
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/outproc"
	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// The suite does not know the protocol of a gateway. It opens and ends foreign connections,
// and sends bytes that are of no protocol.
var gatewayChecks = []check{
	{name: "open", byHand: gatewayOpen},
	{name: "drain", byHand: gatewayDrain},
	{name: "sessions", run: gatewaySessions},
	{name: "garbage", run: gatewayGarbage},
	{name: "many", run: gatewayMany},
	{name: "refused by the peer", run: gatewayRefused},
	{name: "limit", run: gatewayLimit},
	{name: "killed", run: gatewayKilled},
	{name: "reload", run: gatewayReloaded},
}

// dialGateway makes a foreign connection; with TLS if secure is true.
func dialGateway(addr string, secure bool) (net.Conn, error) {
	network := "tcp"
	if strings.HasPrefix(addr, "/") || strings.HasPrefix(addr, "@") {
		network = "unix"
	}
	conn, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	if !secure {
		return conn, nil
	}
	t := tls.Client(conn, anyCertificate)
	if err := t.Handshake(); err != nil {
		conn.Close()
		return nil, err
	}
	return t, nil
}

// wantGone waits until the guest has closed a foreign connection.
func wantGone(t *testing.T, conn net.Conn, why string) {
	t.Helper()
	_, err := io.Copy(io.Discard, conn)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the guest keeps a foreign connection, although %s", why)
}

// served is a peer that a gateway is for.
type served struct {
	t      *testing.T
	peer   tp.Peer
	h      *outproc.Handle
	name   string
	secure bool // the gateway speaks TLS

	accepted chan tp.Session
	refuse   atomic.Bool
}

func serveGateway(t *testing.T, h *outproc.Handle, part contract.Part, config ...outproc.GatewayConfig) *served {
	s := &served{t: t, h: h, name: part.Name, accepted: make(chan tp.Session, 1000)}
	s.peer = tptest.NewPeer(t, tp.PeerConfig{Logger: tptest.Logger(t), DefaultBodyCodec: "json"}, &tp.PluginImpl{
		PluginName:  "outproctest",
		OnPostReady: func(sess tp.Session) { s.accepted <- sess },
		OnPostAccept: func(tp.PreSession) *tp.Rerror {
			if s.refuse.Load() {
				return tp.NewRerror(tp.CodeUnauthorized, "refused by the suite", "")
			}
			return nil
		},
	})
	require.NoError(t, h.ServeGateway(t.Context(), part.Name, s.peer, config...))
	require.NotEmpty(t, h.GatewayAddr(part.Name))
	s.secure = s.speaksTLS()
	return s
}

// speaksTLS finds out whether the gateway speaks TLS: a connection that begins as one of TLS
// has a session in either case.
func (s *served) speaksTLS() bool {
	s.t.Helper()
	end := startTLS(s.t, s.addr())
	sess := s.session("a foreign connection")
	secure := sess.ConnectionState() != nil
	end()
	s.wantEnd(sess, "that has ended")
	return secure
}

// startTLS makes a foreign connection that begins as one of TLS, and returns a function that
// ends it.
func startTLS(t *testing.T, addr string) (end func()) {
	conn, err := dialGateway(addr, false)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tls.Client(conn, anyCertificate).Handshake()
	}()
	return func() { conn.Close(); <-done }
}

// anyCertificate is for gateways with TLS; whose they are does not matter here.
var anyCertificate = &tls.Config{InsecureSkipVerify: true}

func (s *served) addr() string { return s.h.GatewayAddr(s.name) }

// session waits for the session of the next foreign connection.
func (s *served) session(of string) tp.Session {
	s.t.Helper()
	select {
	case sess := <-s.accepted:
		return sess
	case <-time.After(patience):
		require.FailNow(s.t, "the guest has opened no session for "+of)
		return nil
	}
}

// dial makes a foreign connection, and returns its session.
func (s *served) dial() (net.Conn, tp.Session) {
	s.t.Helper()
	conn, sess := s.tryDial()
	require.NotNil(s.t, conn, "the guest has ended a foreign connection that has sent nothing")
	return conn, sess
}

// tryDial is dial that returns nil if the gateway is not there.
func (s *served) tryDial() (net.Conn, tp.Session) {
	s.t.Helper()
	conn, err := dialGateway(s.addr(), s.secure)
	if err != nil {
		return nil, nil
	}
	s.t.Cleanup(func() { conn.Close() })
	if conn.LocalAddr().String() == conn.RemoteAddr().String() && conn.LocalAddr().Network() == "tcp" {
		return nil, nil // TCP connects a port to itself if nothing listens there
	}
	for begun := time.Now(); time.Since(begun) < patience; {
		select {
		case sess := <-s.accepted:
			if conn.LocalAddr().Network() == "unix" || sess.RemoteAddr().String() == conn.LocalAddr().String() {
				return conn, sess
			}
		case <-time.After(time.Millisecond):
			// What the gateway says first, if it does, is not needed.
			conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, nil
			}
			conn.SetReadDeadline(time.Now().Add(patience))
		}
	}
	require.FailNow(s.t, "the guest has opened no session for a foreign connection")
	return nil, nil
}

// wantEnd waits for the end of a session.
func (s *served) wantEnd(sess tp.Session, why string) {
	s.t.Helper()
	select {
	case <-sess.CloseNotify():
	case <-time.After(patience):
		require.FailNow(s.t, "the guest keeps the session of a foreign connection, although "+why)
	}
}

// gatewaySessions: a foreign connection and its session end together, and are not confused
// with others.
func gatewaySessions(t *testing.T, h *outproc.Handle, part contract.Part) {
	s := serveGateway(t, h, part)
	a, sessA := s.dial()
	b, sessB := s.dial()
	require.NoError(t, sessA.Close())
	wantGone(t, a, "the host has closed its session")
	require.NoError(t, b.Close())
	s.wantEnd(sessB, "that has ended")
	c, sessC := s.dial()
	require.NoError(t, h.Close())
	wantGone(t, c, "the guest was closed")
	s.wantEnd(sessC, "the guest was closed")
}

// gatewayGarbage: bytes that are of no protocol, and a connection that is reset, do not end
// the guest.
func gatewayGarbage(t *testing.T, h *outproc.Handle, part contract.Part) {
	s := serveGateway(t, h, part)
	for i, n := range []int{1, 100, 100_000, 1 << 20} {
		conn, sess := s.dial()
		junk := make([]byte, n)
		r := rand.New(rand.NewPCG(uint64(n), 1))
		for i := range junk {
			junk[i] = byte(r.Uint32())
		}
		wrote := make(chan struct{})
		go func() { conn.Write(junk); close(wrote) }() // the guest may end the connection, or not read
		if tcp, ok := conn.(*net.TCPConn); ok && i%2 == 0 {
			<-wrote
			tcp.SetLinger(0)
		}
		conn.Close()
		<-wrote
		s.wantEnd(sess, "that has ended")
	}
	s.dial()
	require.Zero(t, h.Restarts())
}

// gatewayMany: each of many connections at once has a session of its own.
func gatewayMany(t *testing.T, h *outproc.Handle, part contract.Part) {
	s := serveGateway(t, h, part)
	const n = 100
	conns := make(chan net.Conn, n)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			conn, err := dialGateway(s.addr(), s.secure)
			if err != nil {
				t.Errorf("dial the gateway: %v", err)
				return
			}
			conns <- conn
		})
	}
	wg.Wait()
	close(conns)
	ids := make(map[string]bool)
	for range len(conns) {
		sess := s.session("each of many foreign connections")
		require.False(t, ids[sess.ID()], "two sessions have the id %s", sess.ID())
		ids[sess.ID()] = true
	}
	for conn := range conns {
		if conn.LocalAddr().Network() != "unix" {
			require.True(t, ids[conn.LocalAddr().String()], "no session is from the foreign address %s", conn.LocalAddr())
		}
		conn.Close()
	}
	require.Eventually(t, func() bool { return s.peer.CountSession() == 0 }, patience, time.Millisecond, "sessions are left, although their foreign connections have ended")
}

// gatewayRefused: a connection whose session the host's peer refuses is closed.
func gatewayRefused(t *testing.T, h *outproc.Handle, part contract.Part) {
	s := serveGateway(t, h, part)
	s.refuse.Store(true)
	conn, err := dialGateway(s.addr(), s.secure)
	require.NoError(t, err)
	defer conn.Close()
	wantGone(t, conn, "the host has refused its session")
	s.refuse.Store(false)
	s.dial()
	require.Zero(t, h.Restarts())
}

// gatewayLimit: a connection over the limit is closed and counted, and there is room for
// another one when one has ended.
func gatewayLimit(t *testing.T, h *outproc.Handle, part contract.Part) {
	s := serveGateway(t, h, part, outproc.GatewayConfig{MaxConns: 2})
	first, sess := s.dial()
	s.dial()
	if over, err := dialGateway(s.addr(), s.secure); err == nil {
		wantGone(t, over, "it is one more than GatewayConfig.MaxConns")
		over.Close()
	}
	require.Eventually(t, func() bool { return h.GatewayStats(part.Name).Refused > 0 }, patience, time.Millisecond, "the connection over the limit was not counted")
	require.Equal(t, 2, s.peer.CountSession())
	require.NoError(t, first.Close())
	s.wantEnd(sess, "that has ended")
	s.wantRoom("there is room for a connection again")
}

// gatewayKilled: when the guest is killed its connections end, and the next process listens.
func gatewayKilled(t *testing.T, h *outproc.Handle, part contract.Part) {
	s := serveGateway(t, h, part)
	s.replaced(func() { require.NoError(t, kill(activePID(h), os.Kill)) })
	require.Equal(t, 1, h.Restarts())
}

// gatewayReloaded: a Reload does the same in order.
func gatewayReloaded(t *testing.T, h *outproc.Handle, part contract.Part) {
	s := serveGateway(t, h, part)
	s.replaced(func() { require.NoError(t, h.Reload(t.Context())) })
	require.Zero(t, h.Restarts())
}

// replaced checks that connections end when the guest is replaced, and that new ones are
// accepted again.
func (s *served) replaced(replace func()) {
	conn, sess := s.dial()
	replace()
	wantGone(s.t, conn, "its process was replaced")
	s.wantEnd(sess, "its process was replaced")
	s.wantRoom("the new process listens")
}

// wantRoom waits until a connection is accepted.
func (s *served) wantRoom(why string) {
	s.t.Helper()
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		if conn, _ := s.tryDial(); conn != nil {
			return
		}
		require.Less(s.t, time.Since(begun), patience, "no connection is accepted, although %s", why)
	}
}
