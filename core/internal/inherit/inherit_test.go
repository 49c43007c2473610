package inherit

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeListener is a listener with a name in place of a socket.
type fakeListener struct {
	net.Listener
	name   string
	closed atomic.Bool
}

func (l *fakeListener) Addr() net.Addr { return fakeAddr(l.name) }
func (l *fakeListener) Close() error   { l.closed.Store(true); return nil }

type fakeAddr string

func (a fakeAddr) Network() string { return "tcp" }
func (a fakeAddr) String() string  { return string(a) }

// newTakeover has a socket for each of the words network/addr/real.
func newTakeover(ready *atomic.Int32, sockets ...string) *takeover {
	t := &takeover{quiet: quietTime, unclaim: unclaimTime, ready: func() { ready.Add(1) }}
	for _, s := range sockets {
		w := strings.Split(s, "/")
		t.left = append(t.left, claim{entry{Network: w[0], Addr: w[1], Real: w[2]}, &fakeListener{name: w[2]}})
	}
	return t
}

func (t *takeover) mustListen(tb testing.TB, network, addr string) string {
	tb.Helper()
	l, err := t.listen(network, addr, func() (net.Listener, error) { return &fakeListener{name: "fresh"}, nil })
	if err != nil {
		tb.Fatal(err)
	}
	return l.Addr().String()
}

func TestClaim(t *testing.T) {
	var ready atomic.Int32
	to := newTakeover(&ready, "tcp/:0/:1001", "tcp/:0/:1002", "tcp4/:0/:1003", "tcp/:9/:9", "unix/x/x")
	for _, test := range []struct{ network, addr, want string }{
		{"tcp", ":0", ":1001"},
		{"tcp", ":0", ":1002"},
		{"tcp", ":0", "fresh"},
		{"tcp", ":9", ":9"},
		{"tcp", ":1003", "fresh"}, // that one is tcp4
		{"tcp4", ":1003", ":1003"},
		{"tcp", "x", "fresh"},
	} {
		if got := to.mustListen(t, test.network, test.addr); got != test.want {
			t.Errorf("listen %s %s gets %s; want %s", test.network, test.addr, got, test.want)
		}
	}
	if ready.Load() != 0 {
		t.Error("ready before the last socket is claimed")
	}
	if got := to.mustListen(t, "unix", "x"); got != "x" || ready.Load() != 1 {
		t.Errorf("listen unix x gets %s, ready called %d times; want x, once", got, ready.Load())
	}
	to.mustListen(t, "tcp", ":0")
	if ready.Load() != 1 {
		t.Errorf("ready is called %d times; want once", ready.Load())
	}
}

func TestListenWithoutParent(t *testing.T) {
	var to takeover
	if got := to.mustListen(t, "tcp", ":0"); got != "fresh" {
		t.Errorf("listen gets %s; want fresh", got)
	}
	want := errors.New("in use")
	if _, err := to.listen("tcp", ":0", func() (net.Listener, error) { return nil, want }); err != want {
		t.Errorf("error is %v; want %v", err, want)
	}
}

func TestFewerListenersThanBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ready atomic.Int32
		var problems []string
		to := newTakeover(&ready, "tcp/:1/:1", "tcp/:2/:2", "tcp/:3/:3")
		to.report = func(err error) { problems = append(problems, err.Error()) }
		unwanted := to.left[1].lis.(*fakeListener)

		time.Sleep(10 * time.Second)
		if ready.Load() != 0 {
			t.Fatal("ready before anything listens")
		}
		to.mustListen(t, "tcp", ":1")
		time.Sleep(quietTime - 1)
		to.mustListen(t, "udp", ":1") // a new socket restarts the time too
		time.Sleep(quietTime - 1)
		synctest.Wait()
		if ready.Load() != 0 {
			t.Fatal("ready before the listeners were quiet")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if ready.Load() != 1 {
			t.Fatalf("quiet, and ready is called %d times; want once", ready.Load())
		}

		time.Sleep(unclaimTime / 2)
		if got := to.mustListen(t, "tcp", ":3"); got != ":3" {
			t.Errorf("a late listener gets %s; want its socket, :3", got)
		}
		if unwanted.closed.Load() {
			t.Error("a socket is closed before its time")
		}
		time.Sleep(unclaimTime / 2)
		synctest.Wait()
		if !unwanted.closed.Load() {
			t.Error("the unclaimed socket is still open")
		}
		if got := fmt.Sprint(problems); got != "[inherit: closed the socket of tcp :2, on which the new process does not listen]" {
			t.Errorf("reported is %s", got)
		}
		if ready.Load() != 1 || to.mustListen(t, "tcp", ":2") != "fresh" {
			t.Error("the closed socket can be claimed, or ready is ready again")
		}
	})
}

func TestSorted(t *testing.T) {
	a := newListener("tcp", "a", &fakeListener{})
	b := newListener("tcp", "b", &fakeListener{})
	c := newListener("tcp", "c", &fakeListener{})
	got := ""
	for _, l := range sorted([]*Listener{c, a, b, c, a}) {
		got += l.addr
	}
	if got != "abc" {
		t.Errorf("order is %s; want abc", got)
	}
}

// resumed is a listener whose Accept ends by a deadline, and Resume is called before its
// caller goes on.
type resumed struct {
	fakeListener
	resume func()
}

func (l *resumed) SetDeadline(time.Time) error { return nil }

func (l *resumed) Accept() (net.Conn, error) {
	if l.resume == nil {
		return nil, net.ErrClosed
	}
	l.resume()
	l.resume = nil
	return nil, os.ErrDeadlineExceeded
}

// The deadline of a Pause that has just ended is no error of Accept.
func TestAcceptAsPauseEnds(t *testing.T) {
	lis := new(resumed)
	l := newListener("tcp", "a", lis)
	lis.resume = l.Resume
	l.Pause()
	if _, err := l.Accept(); err != net.ErrClosed {
		t.Errorf("Accept: %v; want %v, of the next one", err, net.ErrClosed)
	}
}

func TestReportLater(t *testing.T) {
	saved := successor.report
	t.Cleanup(func() { successor.report = saved; successor.errs = nil })
	successor.report, successor.errs = nil, nil
	successor.problem(errors.New("a"))
	got := ""
	Report(func(err error) { got += err.Error() })
	successor.problem(errors.New("b"))
	if got != "ab" {
		t.Errorf("reported is %q; want ab", got)
	}
}
