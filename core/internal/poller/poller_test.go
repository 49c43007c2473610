package poller

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// once is a connection that deregisters itself when it is served, and counts that.
type once struct {
	c      chan struct{}
	poller *Poller[once, *once]
	key    Key
	hungUp chan struct{} // when OnHangUp was called; nil: it must not be
	gate   chan struct{} // OnReadable receives from it; nil: it does not
}

func (t *once) OnReadable(*Loop) {
	t.poller.Deregister(t.key)
	t.c <- struct{}{}
	if t.gate != nil {
		<-t.gate
	}
}

func (t *once) OnHangUp() {
	t.poller.Deregister(t.key)
	t.hungUp <- struct{}{}
}

func newOnce(l *Poller[once, *once]) *once { return &once{c: make(chan struct{}, 10), poller: l} }

func (t *once) register(c syscall.RawConn) error {
	return t.poller.Register(c, t, func(k Key) { t.key = k })
}

func (t *once) want(tb testing.TB) {
	tb.Helper()
	select {
	case <-t.c:
	case <-time.After(10 * time.Second):
		tb.Fatal("it was not served")
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

// supported reports whether the system has pollers; elsewhere Register returns an error.
func supported(t testing.TB, l *Poller[once, *once], c net.Conn) bool {
	t.Helper()
	w := newOnce(l)
	err := w.register(raw(t, c))
	if errors.Is(err, errors.ErrUnsupported) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	l.Deregister(w.key)
	return true
}

func TestRegister(t *testing.T) {
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
				var l Poller[once, *once]
				defer l.Close()
				a, b := pair(t, network)
				if !supported(t, &l, a) {
					return
				}
				w := newOnce(&l)
				if err := w.register(raw(t, a)); err != nil {
					t.Fatal(err)
				}
				test.do(t, b)
				w.want(t)
			})
		}
	}
}

// Bytes that have arrived before cause an event too, and each registration is served once.
func TestRegisterAgain(t *testing.T) {
	var l Poller[once, *once]
	defer l.Close()
	a, b := pair(t, "tcp")
	if !supported(t, &l, a) {
		return
	}
	for i := range 100 {
		w := newOnce(&l)
		if i%2 == 0 {
			b.Write([]byte("x"))
		}
		if err := w.register(raw(t, a)); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			b.Write([]byte("x"))
		}
		w.want(t)
		if _, err := io.ReadFull(a, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if len(w.c) != 0 {
			t.Fatal("served twice")
		}
	}
}

func TestRegisterClosed(t *testing.T) {
	var l Poller[once, *once]
	a, b := pair(t, "tcp")
	if !supported(t, &l, a) {
		return
	}
	c := raw(t, a)
	a.Close()
	if err := newOnce(&l).register(c); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed connection: %v, want %v", err, net.ErrClosed)
	}
	l.Close()
	if err := newOnce(&l).register(raw(t, b)); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed poller: %v, want %v", err, ErrClosed)
	}
	l.Close()
}

// The poller notices a connection that other code has closed.
func TestClosedBehindIt(t *testing.T) {
	var l Poller[once, *once]
	defer l.Close()
	a, b := pair(t, "tcp")
	if !supported(t, &l, a) {
		return
	}
	w, other := newOnce(&l), newOnce(&l)
	for c, w := range map[net.Conn]*once{a: w, b: other} {
		if err := w.register(raw(t, c)); err != nil {
			t.Fatal(err)
		}
	}
	l.sweep(new(Loop))
	if len(w.c) != 0 || len(other.c) != 0 {
		t.Fatal("served before the end")
	}
	a.Close()
	other.want(t) // an event
	w.want(t)
}

// A connection that other code has closed is served too if another connection has got
// the number of its descriptor and is registered.
func TestDescriptorUsedAgain(t *testing.T) {
	var l Poller[once, *once]
	defer l.Close()
	a, _ := pair(t, "tcp")
	if !supported(t, &l, a) {
		return
	}
	w := newOnce(&l)
	if err := w.register(raw(t, a)); err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	was := number(t, raw(t, a))
	a.Close()
	for n := 0; ; n++ {
		b, err := net.Dial("tcp", lis.Addr().String()) // the lowest number that is free
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		other := newOnce(&l)
		if err := other.register(raw(t, b)); err != nil {
			t.Fatal(err)
		}
		if number(t, raw(t, b)) == was {
			break
		}
		if n == 100 {
			t.Fatal("the number is not used again")
		}
	}
	w.want(t)
}

// A loop that is detached, or whose goroutine ends, in the middle of its events leaves
// the others to the next loop.
func TestDetach(t *testing.T) {
	for _, test := range []struct {
		name   string
		detach func(l *Loop)
	}{
		{"detaches", (*Loop).Detach},
		{"detaches twice", func(l *Loop) { l.Detach(); l.Detach() }},
		{"detached by another goroutine", func(l *Loop) {
			done := make(chan struct{})
			go func() { l.Detach(); close(done) }()
			<-done
		}},
		{"ends its goroutine", func(*Loop) { runtime.Goexit() }},
		{"detaches and ends its goroutine", func(l *Loop) { l.Detach(); runtime.Goexit() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			var l Poller[reader, *reader]
			defer l.Close()
			var reported sync.WaitGroup
			var peers []net.Conn
			for range 10 {
				a, b := pair(t, "tcp")
				peers = append(peers, b)
				reported.Add(1)
				var key Key
				err := l.Register(raw(t, a), &reader{func(loop *Loop) {
					l.Deregister(key)
					reported.Done()
					test.detach(loop)
				}}, func(k Key) { key = k })
				if errors.Is(err, errors.ErrUnsupported) {
					return
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, b := range peers {
				b.Write([]byte("x"))
			}
			all := make(chan struct{})
			go func() { reported.Wait(); close(all) }()
			select {
			case <-all:
			case <-time.After(10 * time.Second):
				t.Fatal("some were not served")
			}
		})
	}
}

// reader is a connection that runs a function of the test when it is served.
type reader struct{ do func(l *Loop) }

func (r *reader) OnReadable(l *Loop) { r.do(l) }
func (r *reader) OnHangUp()          {}

// Bytes left unread cause another event, without another registration.
func TestLevelTriggered(t *testing.T) {
	var l Poller[reader, *reader]
	defer l.Close()
	a, b := pair(t, "tcp")
	var key Key
	read, one := make(chan byte, 10), make([]byte, 1)
	err := l.Register(raw(t, a), &reader{func(*Loop) {
		if _, err := a.Read(one); err != nil {
			l.Deregister(key)
			close(read)
			return
		}
		read <- one[0]
	}}, func(k Key) { key = k })
	if errors.Is(err, errors.ErrUnsupported) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	b.Write([]byte("abc"))
	b.(*net.TCPConn).CloseWrite()
	var got []byte
	for end := time.After(10 * time.Second); ; {
		select {
		case c, ok := <-read:
			if !ok {
				if string(got) != "abc" {
					t.Errorf("got %q, want %q", got, "abc")
				}
				return
			}
			got = append(got, c)
		case <-end:
			t.Fatalf("got %q, and nothing more", got)
		}
	}
}

// A key whose registration has ended does not end a later one.
func TestOldKey(t *testing.T) {
	var l Poller[once, *once]
	defer l.Close()
	a, b := pair(t, "tcp")
	if !supported(t, &l, a) {
		return
	}
	w := newOnce(&l)
	err := w.register(raw(t, a))
	old := w.key
	if err != nil {
		t.Fatal(err)
	}
	b.Write([]byte("x"))
	w.want(t)
	a.Read(make([]byte, 1))
	if err := w.register(raw(t, a)); err != nil {
		t.Fatal(err)
	}
	l.Deregister(old)
	b.Write([]byte("y"))
	w.want(t)
}

// Many connections open and close, so that descriptors are used again.
func TestMany(t *testing.T) {
	var l Poller[once, *once]
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
				w := newOnce(&l)
				err := w.register(raw(t, a))
				if err != nil {
					t.Error(err)
					return
				}
				if i%3 == 0 { // closed while it is parked
					a.Close()
					l.Deregister(w.key)
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
	if len(l.byFD) != 0 {
		t.Errorf("%d registrations are left", len(l.byFD))
	}
}

// number returns the descriptor of a connection.
func number(t *testing.T, c syscall.RawConn) (fd uintptr) {
	t.Helper()
	if err := c.Control(func(n uintptr) { fd = n }); err != nil {
		t.Fatal(err)
	}
	return fd
}

// Slots are used again, and a poller that has become empty does not keep many.
func TestSlotsAreUsedAgain(t *testing.T) {
	var l Poller[once, *once]
	defer l.Close()
	var conns []syscall.RawConn
	for range 3 {
		a, _ := pair(t, "tcp")
		conns = append(conns, raw(t, a))
	}
	park := func(c syscall.RawConn) *once {
		w := newOnce(&l)
		if err := w.register(c); err != nil {
			t.Fatal(err)
		}
		return w
	}
	first, second := park(conns[0]), park(conns[1])
	l.Deregister(first.key)
	third := park(conns[2])
	if uint32(third.key) != uint32(first.key) || third.key == first.key {
		t.Errorf("keys %x, %x, %x; want the slot of the first for the third, with another serial number", first.key, second.key, third.key)
	}
	l.Deregister(first.key) // again: another registration has the slot now
	if p, ok := l.slot(third.key); !ok || p.c != third {
		t.Error("an old key freed another's slot")
	}
	l.mu.Lock()
	for range 2 * keepSlots {
		l.free = append(l.free, uint32(len(l.slots)))
		l.slots = append(l.slots, slot[*once]{})
	}
	l.mu.Unlock()
	l.Deregister(second.key)
	l.Deregister(third.key)
	if len(l.slots)+len(l.free)+len(l.byFD) != 0 {
		t.Errorf("%d slots, %d of them free, for %d registrations; want none", len(l.slots), len(l.free), len(l.byFD))
	}
	l.Deregister(third.key)
	if again := park(conns[0]); uint32(again.key) != 0 {
		t.Errorf("key %x after that, want slot 0", again.key)
	}
}

// A crowd that hangs up at once is left to other goroutines, and the loop serves the rest.
func TestHangUps(t *testing.T) {
	for _, test := range []struct {
		name  string
		n     int
		aside bool
	}{{"few", fewHangUps, false}, {"many", fewHangUps + 1, true}} {
		t.Run(test.name, func(t *testing.T) {
			var l Poller[once, *once]
			defer l.Close()
			a, b := pair(t, "tcp")
			if !supported(t, &l, a) {
				return
			}
			first := newOnce(&l) // it holds the loop while the others hang up
			first.gate = make(chan struct{})
			if err := first.register(raw(t, a)); err != nil {
				t.Fatal(err)
			}
			b.Write([]byte("x"))
			first.want(t)
			var crowd []*once
			for range test.n {
				a, b := pair(t, "tcp")
				w := newOnce(&l)
				w.hungUp = make(chan struct{}, 1)
				if err := w.register(raw(t, a)); err != nil {
					t.Fatal(err)
				}
				b.Write([]byte("x"))
				b.Close()
				crowd = append(crowd, w)
			}
			a, b = pair(t, "tcp")
			last := newOnce(&l)
			if err := last.register(raw(t, a)); err != nil {
				t.Fatal(err)
			}
			b.Write([]byte("x"))
			first.gate <- struct{}{}
			for _, w := range crowd {
				if test.aside {
					w.c = w.hungUp
				}
				w.want(t)
			}
			last.want(t)
		})
	}
}
