package lot

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// told is a waiter that says when it was told.
type told chan struct{}

func (t told) Readable() { t <- struct{}{} }

func newTold() told { return make(told, 10) }

func (t told) want(tb testing.TB) {
	tb.Helper()
	select {
	case <-t:
	case <-time.After(10 * time.Second):
		tb.Fatal("it was not told")
	}
}

// pair returns both ends of a connection.
func pair(t testing.TB, network string) (a, b net.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	lis, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	if a, err = net.Dial(network, lis.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = lis.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func raw(t testing.TB, c net.Conn) syscall.RawConn {
	t.Helper()
	r, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// supported reports whether the system has lots; elsewhere Park says so.
func supported(t testing.TB, l *Lot[told], c net.Conn) bool {
	t.Helper()
	w := newTold()
	ticket, err := l.Park(raw(t, c), w)
	if errors.Is(err, errors.ErrUnsupported) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	l.Forget(ticket)
	return true
}

func TestPark(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for _, test := range []struct {
			name string
			do   func(t *testing.T, peer net.Conn)
		}{
			{"bytes", func(t *testing.T, peer net.Conn) { peer.Write([]byte("x")) }},
			{"half closed", func(t *testing.T, peer net.Conn) { peer.(interface{ CloseWrite() error }).CloseWrite() }},
			{"closed", func(t *testing.T, peer net.Conn) { peer.Close() }},
			{"reset", func(t *testing.T, peer net.Conn) {
				if c, ok := peer.(*net.TCPConn); ok {
					c.SetLinger(0)
				}
				peer.Close()
			}},
		} {
			t.Run(network+"/"+test.name, func(t *testing.T) {
				var l Lot[told]
				defer l.Close()
				a, b := pair(t, network)
				if !supported(t, &l, a) {
					return
				}
				w := newTold()
				if _, err := l.Park(raw(t, a), w); err != nil {
					t.Fatal(err)
				}
				test.do(t, b)
				w.want(t)
			})
		}
	}
}

// What has arrived before is an event as well, and each Park is told once.
func TestParkAgain(t *testing.T) {
	var l Lot[told]
	defer l.Close()
	a, b := pair(t, "tcp")
	if !supported(t, &l, a) {
		return
	}
	for i := range 100 {
		w := newTold()
		if i%2 == 0 {
			b.Write([]byte("x"))
		}
		if _, err := l.Park(raw(t, a), w); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			b.Write([]byte("x"))
		}
		w.want(t)
		if _, err := io.ReadFull(a, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if len(w) != 0 {
			t.Fatal("told twice")
		}
	}
}

func TestParkClosed(t *testing.T) {
	var l Lot[told]
	a, b := pair(t, "tcp")
	if !supported(t, &l, a) {
		return
	}
	c := raw(t, a)
	a.Close()
	if _, err := l.Park(c, newTold()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed connection: %v, want %v", err, net.ErrClosed)
	}
	l.Close()
	if _, err := l.Park(raw(t, b), newTold()); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed lot: %v, want %v", err, ErrClosed)
	}
	l.Close()
}

// A connection that somebody else has closed is noticed as well.
func TestClosedBehindIt(t *testing.T) {
	var l Lot[told]
	defer l.Close()
	a, b := pair(t, "tcp")
	if !supported(t, &l, a) {
		return
	}
	w, other := newTold(), newTold()
	for c, w := range map[net.Conn]told{a: w, b: other} {
		if _, err := l.Park(raw(t, c), w); err != nil {
			t.Fatal(err)
		}
	}
	l.look()
	if len(w) != 0 || len(other) != 0 {
		t.Fatal("told before the end")
	}
	a.Close()
	other.want(t) // an event
	w.want(t)
}

// A ticket of an earlier Park does not undo a later one.
func TestOldTicket(t *testing.T) {
	var l Lot[told]
	defer l.Close()
	a, b := pair(t, "tcp")
	if !supported(t, &l, a) {
		return
	}
	w := newTold()
	old, err := l.Park(raw(t, a), w)
	if err != nil {
		t.Fatal(err)
	}
	b.Write([]byte("x"))
	w.want(t)
	a.Read(make([]byte, 1))
	if _, err := l.Park(raw(t, a), w); err != nil {
		t.Fatal(err)
	}
	l.Forget(old)
	b.Write([]byte("y"))
	w.want(t)
}

// Many connections that come and go, so that descriptors are used again.
func TestMany(t *testing.T) {
	var l Lot[told]
	defer l.Close()
	a, _ := pair(t, "tcp")
	if !supported(t, &l, a) {
		return
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 100 {
				a, b := pair(t, "tcp")
				w := newTold()
				ticket, err := l.Park(raw(t, a), w)
				if err != nil {
					t.Error(err)
					return
				}
				if i%3 == 0 { // closed while it is parked
					a.Close()
					l.Forget(ticket)
					b.Close()
					continue
				}
				b.Write([]byte("x"))
				w.want(t)
				a.Close()
				b.Close()
			}
		})
	}
	wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) != 0 {
		t.Errorf("%d waiters are left", len(l.waiting))
	}
}
