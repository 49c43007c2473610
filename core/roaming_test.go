//go:build linux

package tp

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/teleport-go/teleport/core/socket"
)

// roamer is a Roaming connection: a TCP connection that another one takes the place of.
type roamer struct {
	net.Conn // the first one, for its addresses
	tries    atomic.Int64

	mu     sync.Mutex
	cur    *net.TCPConn // nil: none at the moment
	next   chan struct{}
	roamed func()
	limit  time.Time

	watched *net.TCPConn
}

func newRoamer(c net.Conn) *roamer {
	return &roamer{Conn: c, cur: c.(*net.TCPConn), next: make(chan struct{}), roamed: func() {}}
}

func (r *roamer) current() (*net.TCPConn, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cur, r.next
}

// roam changes the connection; nil is none.
func (r *roamer) roam(c *net.TCPConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cur != nil {
		r.cur.Close()
	}
	if r.cur = c; c != nil {
		c.SetReadDeadline(r.limit)
	}
	close(r.next)
	r.next = make(chan struct{})
	r.roamed()
}

func (r *roamer) Watch(f func()) syscall.RawConn {
	r.mu.Lock()
	r.roamed, r.watched = f, r.cur
	r.mu.Unlock()
	return r.Descriptor()
}

func (r *roamer) Roamed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cur == nil || r.cur != r.watched
}

func (r *roamer) Drained() bool { return false }

func (r *roamer) Descriptor() syscall.RawConn {
	if c, _ := r.current(); c != nil {
		raw, err := c.SyscallConn()
		if err == nil {
			return raw
		}
	}
	return nil
}

func (r *roamer) TryRead(p []byte) (n int, err error) {
	c, _ := r.current()
	if c == nil {
		return 0, socket.ErrAgain
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	if raw.Control(func(fd uintptr) { n, err = syscall.Read(int(fd), p) }) != nil || err == syscall.EAGAIN || n <= 0 {
		return 0, socket.ErrAgain // a test ends no connection
	}
	return n, err
}

func (r *roamer) Read(p []byte) (int, error) {
	for {
		c, next := r.current()
		if c == nil {
			<-next
			continue
		}
		n, err := c.Read(p)
		if err == nil || c == closedTCP || errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		<-next
	}
}

func (r *roamer) TryWrite(p []byte) (int, error) {
	r.tries.Add(1)
	return r.Write(p)
}

func (r *roamer) Write(p []byte) (int, error) {
	c, _ := r.current()
	return c.Write(p)
}

func (r *roamer) SetReadDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.limit = t; r.cur != nil {
		r.cur.SetReadDeadline(t)
	}
	return nil
}

func (r *roamer) Close() error {
	r.roam(closedTCP)
	return nil
}

// closedTCP is a connection that is closed.
var closedTCP = new(net.TCPConn)

// A session over a connection whose descriptor changes is parked, whichever it is, and
// served by that.
func TestRoaming(t *testing.T) {
	p := newPeerPair(t, "tcp")
	var ends [2]*roamer
	var sessions [2]*session
	near, far := tcpPair(t)
	for i, c := range []net.Conn{near, far} {
		ends[i] = newRoamer(c)
		s := p.srv.ServeConn(ends[i])
		if s == nil {
			t.Fatal("ServeConn made no session")
		}
		sessions[i] = s.(*session)
	}
	for range 20 {
		for i, s := range sessions {
			wantEcho(t, s, "parked")
			for _, s := range sessions {
				idle(t, s)
			}
			if i == 1 { // the other one has no connection for a while
				ends[1].roam(nil)
			}
			near, far := tcpPair(t)
			ends[0].roam(near.(*net.TCPConn))
			ends[1].roam(far.(*net.TCPConn))
		}
	}
	for i, s := range sessions {
		wantEcho(t, s, "after all")
		if ends[i].tries.Load() == 0 {
			t.Error("nothing was written by TryWrite")
		}
	}
}

// tcpPair returns the ends of a connection.
func tcpPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	if far, err = net.Dial("tcp", lis.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if near, err = lis.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}
