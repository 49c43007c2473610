package tptest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// RunDatagrams checks what RunNetwork cannot: that a network over UDP accepts those that
// dial and send nothing; that its Listen says why it fails; that it loses nothing when a
// path loses, repeats, delays and reorders datagrams, and when a connection is closed; that
// it notices the end of the other side, a new address of it, and a server that was killed and
// is back, or that reboots; and that its ports are free again.
//
// It uses the real clock. The test must be a function of its own, not a subtest, since it is
// run in another process too. Neither it nor its subtests may run in parallel to others.
func RunDatagrams(t *testing.T, n DatagramNetwork) {
	if n.serveAsChild(t) {
		return
	}
	for _, c := range []struct {
		name string
		run  func(DatagramNetwork, *testing.T)
	}{
		{"silent dialler", DatagramNetwork.checkSilentDialler},
		{"listen errors", DatagramNetwork.checkListenErrors},
		{"close loses nothing", DatagramNetwork.checkClose},
		{"close is quick", DatagramNetwork.checkQuickClose},
		{"close alone", DatagramNetwork.checkCloseAlone},
		{"port is free", DatagramNetwork.checkPort},
		{"bad path", DatagramNetwork.checkBadPath},
		{"address change", DatagramNetwork.checkAddressChange},
		{"vanished", DatagramNetwork.checkVanished},
		{"keep alive", DatagramNetwork.checkKeepAlive},
		{"killed server", DatagramNetwork.checkKilled},
		{"reboot", DatagramNetwork.checkReboot},
	} {
		if c.name == "reboot" && runtime.GOOS == "windows" { // which has none
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			LeakCheck(t)
			c.run(n, t)
		})
	}
}

// checkSilentDialler: dialled sessions that send nothing are accepted, and get a push.
func (n DatagramNetwork) checkSilentDialler(t *testing.T) {
	const many = 50
	cfg := tp.PeerConfig{HandshakeTimeout: patience} // all dial at once
	srv, addr := n.Server(t, cfg, greeter{})
	cli := n.Peer(t, cfg)
	got := make(chan string, many)
	tp.HandlePush(cli, "/hello", func(_ tp.PushCtx, s *string) error { got <- *s; return nil })
	var wg sync.WaitGroup
	for range many {
		wg.Go(func() {
			if _, r := cli.Dial(addr); r.HasError() {
				t.Errorf("dial %s: %s", addr, r)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for range many {
		if s := Receive(t, got, "a push to a session that sends nothing"); s != "hello" {
			t.Errorf("a push has the body %q", s)
		}
	}
	if have := srv.CountSession(); have != many {
		t.Errorf("the server has %d sessions; want %d", have, many)
	}
}

// greeter pushes to each session.
type greeter struct{}

func (greeter) Name() string { return "greeter" }

func (greeter) PostReady(s tp.Session) { s.Push("/hello", "hello") }

// checkListenErrors: the error of Listen names the address, and what to do.
func (n DatagramNetwork) checkListenErrors(t *testing.T) {
	network := n.Net(0, 0)
	taken := portOf(t, n.Listen(t).Addr().String())
	for _, test := range []struct {
		ip   string
		port uint16
		want string
	}{
		{"127.0.0.1", taken, "address already in use: another process holds this UDP port; stop it, or set ListenPort (0 picks a free one)"},
		{"192.0.2.1", 0, "cannot assign requested address: this machine has no such address; set LocalIP (0.0.0.0 is all addresses)"},
	} {
		lis, err := network.Listen(t.Context(), tp.ListenConfig{LocalIP: test.ip, ListenPort: test.port, TLS: n.ServerTLS})
		if err == nil {
			lis.Close()
		}
		if want := fmt.Sprintf("tp: listen %s %s:%d: %s", network.Name, test.ip, test.port, test.want); err == nil || err.Error() != want {
			t.Errorf("listen: %v\nwant: %s", err, want)
		}
	}
}

// lossy is a bad path.
var lossy = Faults{Loss: 0.05, Duplicate: 0.05, Reorder: 0.1, Delay: 5 * time.Millisecond}

// checkClose: nothing that was written before Close is lost, whichever side closes first, and
// if both do at once.
func (n DatagramNetwork) checkClose(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	write := func(t *testing.T, c net.Conn) {
		if _, err := c.Write(data); err != nil {
			t.Errorf("write: %v", err)
		}
	}
	read := func(t *testing.T, c net.Conn, want []byte) {
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d of %d bytes have come: %v", len(got), len(want), err)
		}
	}
	for _, test := range []struct {
		name string
		run  func(t *testing.T, a, b net.Conn)
	}{
		{"one writes and closes", func(t *testing.T, a, b net.Conn) {
			write(t, a)
			a.Close()
			read(t, b, data)
			b.Close()
		}},
		{"the other answers and closes", func(t *testing.T, a, b net.Conn) {
			closeWrite(t, a)
			read(t, b, nil)
			write(t, b)
			b.Close()
			read(t, a, data)
			a.Close()
		}},
		{"both at once", func(t *testing.T, a, b net.Conn) {
			var wg sync.WaitGroup
			for _, c := range []net.Conn{a, b} {
				wg.Go(func() { write(t, c); closeWrite(t, c); read(t, c, data); c.Close() })
			}
			wg.Wait()
		}},
	} {
		for _, faults := range []Faults{{}, lossy} {
			t.Run(fmt.Sprintf("%s/loss %v", test.name, faults.Loss), func(t *testing.T) {
				LeakCheck(t)
				a, b, relay := n.Pair(t)
				relay.Set(faults)
				test.run(t, a, b)
				c, d, relay := n.Pair(t)
				relay.Set(faults)
				test.run(t, d, c)
			})
		}
	}
}

func closeWrite(t *testing.T, c net.Conn) {
	t.Helper()
	w, ok := c.(interface{ CloseWrite() error })
	if !ok {
		t.Fatalf("%T has no CloseWrite", c)
	}
	if err := w.CloseWrite(); err != nil {
		t.Errorf("CloseWrite = %v", err)
	}
}

// checkQuickClose: Close after CloseWrite returns once both sides have read everything, long
// before the grace is over.
func (n DatagramNetwork) checkQuickClose(t *testing.T) {
	a, b, _ := n.Pair(t)
	ended := make(chan struct{})
	go func() { defer close(ended); io.Copy(io.Discard, b); b.Close() }()
	closeWrite(t, a)
	begun := time.Now()
	if err := a.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if took := time.Since(begun); took >= n.Grace {
		t.Errorf("Close took %v, and the other side has closed at once; the grace is %v", took, n.Grace)
	}
	if err := a.Close(); err == nil {
		t.Error("Close again = nil; want net.ErrClosed")
	}
	<-ended
}

// checkCloseAlone: a connection whose other side is gone ends when the grace is over. The
// leak check sees that.
func (n DatagramNetwork) checkCloseAlone(t *testing.T) {
	a, b, relay := n.Pair(t)
	relay.Set(Faults{Loss: 1})
	ended := make(chan struct{}, 2)
	for _, c := range []net.Conn{a, b} {
		go func() { closeWrite(t, c); c.Close(); ended <- struct{}{} }()
	}
	for range 2 {
		Receive(t, ended, "the end of a Close whose other side is gone")
	}
}

// checkPort: the port is free when Peer.Close returns, also with sessions that were open.
func (n DatagramNetwork) checkPort(t *testing.T) {
	cli := n.Peer(t, tp.PeerConfig{RedialTimes: -1, RedialInterval: time.Millisecond})
	port := freePort(t)
	srv, addr := n.Server(t, tp.PeerConfig{ListenPort: port})
	var sessions []tp.Session
	for range 20 {
		sessions = append(sessions, Dial(t, cli, addr))
	}
	for range 3 {
		for _, s := range sessions {
			Echo(t, s, "hello")
		}
		if err := srv.Close(); err != nil {
			t.Errorf("close the server: %v", err)
		}
		srv, _ = n.Server(t, tp.PeerConfig{ListenPort: port}) // fails if the port is taken
	}
	for _, s := range sessions {
		Echo(t, s, "redialled")
	}
	cli.Close()
}

// checkBadPath: calls succeed over a path that loses, repeats and reorders datagrams.
func (n DatagramNetwork) checkBadPath(t *testing.T) {
	_, addr := n.Server(t, tp.PeerConfig{})
	relay := NewRelay(t, addr)
	relay.Set(Faults{Loss: 0.05, Duplicate: 0.05, Reorder: 0.2, Delay: 100 * time.Millisecond})
	sess := Dial(t, n.Peer(t, tp.PeerConfig{}), relay.Addr())
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 5 {
				Echo(t, sess, strings.Repeat("hello", 500))
			}
		})
	}
	wg.Wait()
}

// checkAddressChange: a client whose address changes keeps its session, also in the middle of
// large messages, or redials long before the idle timeout.
func (n DatagramNetwork) checkAddressChange(t *testing.T) {
	srv, addr := n.Server(t, tp.PeerConfig{})
	relay := NewRelay(t, addr)
	if !n.Keeps {
		sess := Dial(t, n.Peer(t, tp.PeerConfig{RedialTimes: -1, RedialInterval: time.Millisecond}), relay.Addr())
		Echo(t, sess, "before")
		for range 3 {
			relay.Rebind()
			n.echoes(t, sess)
		}
		return
	}
	sess := Dial(t, n.Peer(t, tp.PeerConfig{}), relay.Addr())
	Echo(t, sess, "before")
	id := ""
	srv.RangeSession(func(s tp.Session) bool { id = s.ID(); return true })
	big := strings.Repeat("0123456789", 100_000)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { Echo(t, sess, big) })
	}
	if clients := relay.Rebind(); clients != 1 {
		t.Errorf("the relay has %d clients; want 1", clients)
	}
	wg.Wait()
	for range 3 {
		relay.Rebind()
		Echo(t, sess, "after")
	}
	if _, same := srv.GetSession(id); !same || srv.CountSession() != 1 {
		t.Errorf("the server has %d sessions, the first one among them: %t", srv.CountSession(), same)
	}
}

// The times of checks that wait for them.
const (
	shortIdle  = 4 * time.Second
	shortAlive = 300 * time.Millisecond
)

// checkVanished: a session ends on both sides when the other one has vanished, and says why.
func (n DatagramNetwork) checkVanished(t *testing.T) {
	srv, addr := n.server(t, n.Net(shortIdle, shortAlive), tp.PeerConfig{}, nil)
	relay := NewRelay(t, addr)
	sess := Dial(t, n.peer(t, n.Net(shortIdle, shortAlive), n.ClientTLS, tp.PeerConfig{}, nil), relay.Addr())
	Echo(t, sess, "before")
	var other tp.Session
	srv.RangeSession(func(s tp.Session) bool { other = s; return true })
	relay.Set(Faults{Loss: 1})
	for _, s := range []tp.Session{sess, other} {
		Receive(t, s.CloseNotify(), "the end of a session whose other side has vanished")
		r := s.CloseReason()
		if r.Side != tp.SideNetwork || !strings.Contains(r.Error(), "nothing has come from the other side for the idle timeout") {
			t.Errorf("a session whose other side has vanished has ended by %s: %v", r.Side, r)
		}
	}
}

// checkKeepAlive: a session without messages lives on.
func (n DatagramNetwork) checkKeepAlive(t *testing.T) {
	_, addr := n.server(t, n.Net(shortIdle, shortAlive), tp.PeerConfig{}, nil)
	sess := Dial(t, n.peer(t, n.Net(shortIdle, shortAlive), n.ClientTLS, tp.PeerConfig{}, nil), addr)
	timer := time.NewTimer(shortIdle * 5 / 4)
	defer timer.Stop()
	select {
	case <-sess.CloseNotify():
		t.Fatalf("a session without messages has ended: %v", sess.CloseReason())
	case <-timer.C:
	}
	Echo(t, sess, "still there")
}
