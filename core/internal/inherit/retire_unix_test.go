//go:build unix

package inherit

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func listenFor(t *testing.T, network, addr string) *Listener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // as the peers' listeners: those of MPTCP take no filter
	lis, err := lc.Listen(t.Context(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	l := newListener(network, addr, lis)
	t.Cleanup(func() { l.Close() })
	return l
}

// dialTimes connects n clients to the listener, until the end of the test.
func dialTimes(t *testing.T, l *Listener, n int) {
	t.Helper()
	for range n {
		c, err := net.Dial(l.Addr().Network(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
}

// acceptAll accepts until the listener has ended, and returns how many it has accepted.
func acceptAll(t *testing.T, l *Listener) (n int) {
	t.Helper()
	for ; ; n++ {
		c, err := l.Accept()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

// Connections that the kernel has made, and the process has not accepted, are not lost.
func TestRetire(t *testing.T) {
	for network, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		t.Run(network, func(t *testing.T) {
			l := listenFor(t, network, addr)
			const waiting = 20
			dialTimes(t, l, waiting)
			if !l.Retire(10*time.Millisecond, time.Minute) {
				t.Fatal("the listener cannot retire")
			}
			if n := acceptAll(t, l); n != waiting {
				t.Errorf("%d connections accepted; want %d", n, waiting)
			}
			if runtime.GOOS != "linux" && network == "tcp" {
				return
			}
			if c, err := net.DialTimeout(network, l.Addr().String(), 100*time.Millisecond); err == nil {
				c.Close()
				t.Error("a client has connected to a listener that has retired")
			}
		})
	}
}

func TestRetireWakesAccept(t *testing.T) {
	l := listenFor(t, "tcp", "127.0.0.1:0")
	ended := make(chan error, 1)
	go func() { _, err := l.Accept(); ended <- err }()
	l.Retire(time.Millisecond, time.Minute)
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Accept returned %v; want %v", err, os.ErrDeadlineExceeded)
	}
}

// heldUp is a listener whose caller is held up, each second time, until its deadline is over.
type heldUp struct {
	*net.TCPListener
	calls int
}

func (l *heldUp) Accept() (net.Conn, error) {
	if l.calls++; l.calls%2 == 1 {
		l.SetDeadline(time.Unix(1, 0))
	}
	return l.TCPListener.Accept()
}

// Where no new ones come in, what waits is accepted however long that takes on a busy machine.
func TestRetireOnABusyMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		return
	}
	l := listenFor(t, "tcp", "127.0.0.1:0")
	const waiting = 20
	dialTimes(t, l, waiting)
	if !l.Retire(10*time.Millisecond, 0) {
		t.Fatal("the listener cannot retire")
	}
	l.Listener = &heldUp{TCPListener: l.Listener.(*net.TCPListener)}
	if n := acceptAll(t, l); n != waiting {
		t.Errorf("%d connections accepted; want %d", n, waiting)
	}
}

// Clients that go on coming, where the system does not refuse them, do not keep a listener
// for ever.
func TestRetireEnds(t *testing.T) {
	network, addr := "tcp", "127.0.0.1:0"
	if runtime.GOOS == "linux" { // which refuses those of TCP, but a name without a file cannot be taken away
		network, addr = "unix", "@"+filepath.Join(t.TempDir(), "s")
	}
	l := listenFor(t, network, addr)
	c, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l.Retire(time.Minute, 0)
	if c, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Accept returned %v, %v; want %v", c, err, os.ErrDeadlineExceeded)
	}
}

// The child goes on accepting from a socket that it has: its connections are not the
// parent's, and neither is the file.
func TestRetireHanded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listenFor(t, "unix", path)
	l.handed.Store(true)
	if l.Retire(time.Minute, time.Minute) {
		t.Error("a listener that was handed over is to accept on")
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the file of a socket that was handed over: %v", err)
	}
	if newListener("x", "y", &fakeListener{}).Retire(0, 0) {
		t.Error("a listener without deadlines is to accept on")
	}
}

// A process that gives up its listener does not take it from another one that has the
// socket too, such as the parent of a child that has failed.
func TestRetireOfASharedSocket(t *testing.T) {
	l := listenFor(t, "tcp", "127.0.0.1:0")
	f, err := l.Listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	other, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	l.Retire(time.Millisecond, time.Millisecond)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := net.DialTimeout("tcp", other.Addr().String(), 20*time.Second)
	if err != nil {
		t.Fatalf("a client of the other process: %v", err)
	}
	c.Close()
	if c, err = other.Accept(); err != nil {
		t.Fatal(err)
	}
	c.Close()
}
