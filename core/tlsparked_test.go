package tp

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

// lateConn writes what follows the first write in one piece, when it is released.
type lateConn struct {
	net.Conn
	n    int
	kept bytes.Buffer
}

func (c *lateConn) Write(p []byte) (int, error) {
	if c.n++; c.n == 1 {
		return c.Conn.Write(p)
	}
	return c.kept.Write(p)
}

// A message that arrives together with the end of the handshake is in the memory of TLS,
// where no poller sees it.
func TestTLSFirstMessageWithTheHandshake(t *testing.T) {
	g := newManySessions(t, "tls", testwire.New, nil)
	if g == nil {
		return
	}
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	late := &lateConn{Conn: conn}
	c := tls.Client(late, GenerateTLSConfigForClient())
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(frames(t, "/echo", "early", 1, 3)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(late.kept.Bytes()); err != nil {
		t.Fatal(err)
	}
	s := &rawClient{Conn: c, sock: socket.NewSocket(c, testwire.New)}
	s.wantReplies(t, 3, "early")
}

// Large and small messages go both ways at once, over many sessions with TLS.
func TestTLSTransfer(t *testing.T) {
	g := newManySessions(t, "tls", testwire.New, nil)
	if g == nil {
		return
	}
	var wg sync.WaitGroup
	for i, s := range g.all() {
		if i%4 > 0 {
			continue
		}
		for j := range 4 {
			wg.Go(func() {
				for k := range 8 {
					arg := strings.Repeat(fmt.Sprint(i, j, k), []int{1, 500, 9_000, 80_000}[(j+k)%4])
					var got string
					if r := s.Call("/echo", arg, &got).Rerror(); r != nil || got != arg {
						t.Errorf("a call with %d bytes: %d bytes, %v", len(arg), len(got), r)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	g.wantServed(t)
	g.wantRegistered(t)
	g.wantNoGoroutines(t)
}

// A peer that does not read is given up after WriteTimeout, though it sends.
func TestTLSStalledPeer(t *testing.T) {
	g := newManySessions(t, "tls", testwire.New, nil)
	if g == nil {
		return
	}
	g.srv.env.cfg.WriteTimeout = 500 * time.Millisecond
	s := g.rawClient(t, "tls")
	go func() {
		call := frames(t, "/echo", strings.Repeat("x", 50_000), 1, 1)
		for {
			if _, err := s.Write(call); err != nil {
				return
			}
		}
	}()
	select {
	case <-s.sess.done.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the session goes on")
	}
	wantReason(t, s.sess, SideNetwork, "no progress")
	g.wantServed(t, s.sess)
}
