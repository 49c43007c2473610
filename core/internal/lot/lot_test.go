package lot

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

// told is a waiter that says when it was told, and is taken out by that.
type told struct {
	c      chan struct{}
	lot    *Lot[*told]
	ticket Ticket
	leaves bool // the keeper's goroutine has something else to do then
}

func (t *told) Readable(k *Keeper) {
	t.lot.Take(t.ticket)
	if t.leaves {
		k.Leave()
	}
	t.c <- struct{}{}
}

func newTold(l *Lot[*told]) *told { return &told{c: make(chan struct{}, 10), lot: l} }

func (t *told) park(c syscall.RawConn) error {
	return t.lot.Park(c, t, func(k Ticket) { t.ticket = k })
}

func (t *told) want(tb testing.TB) {
	tb.Helper()
	select {
	case <-t.c:
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
func supported(t testing.TB, l *Lot[*told], c net.Conn) bool {
	t.Helper()
	w := newTold(l)
	err := w.park(raw(t, c))
	if errors.Is(err, errors.ErrUnsupported) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	l.Take(w.ticket)
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
				var l Lot[*told]
				defer l.Close()
				a, b := pair(t, network)
				if !supported(t, &l, a) {
					return
				}
				w := newTold(&l)
				if err := w.park(raw(t, a)); err != nil {
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
	var l Lot[*told]
	defer l.Close()
	a, b := pair(t, "tcp")
	if !supported(t, &l, a) {
		return
	}
	for i := range 100 {
		w := newTold(&l)
		if i%2 == 0 {
			b.Write([]byte("x"))
		}
		if err := w.park(raw(t, a)); err != nil {
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
			t.Fatal("told twice")
		}
	}
}

func TestParkClosed(t *testing.T) {
	var l Lot[*told]
	a, b := pair(t, "tcp")
	if !supported(t, &l, a) {
		return
	}
	c := raw(t, a)
	a.Close()
	if err := newTold(&l).park(c); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed connection: %v, want %v", err, net.ErrClosed)
	}
	l.Close()
	if err := newTold(&l).park(raw(t, b)); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed lot: %v, want %v", err, ErrClosed)
	}
	l.Close()
}

// A connection that somebody else has closed is noticed as well.
func TestClosedBehindIt(t *testing.T) {
	var l Lot[*told]
	defer l.Close()
	a, b := pair(t, "tcp")
	if !supported(t, &l, a) {
		return
	}
	w, other := newTold(&l), newTold(&l)
	for c, w := range map[net.Conn]*told{a: w, b: other} {
		if err := w.park(raw(t, c)); err != nil {
			t.Fatal(err)
		}
	}
	l.look(new(Keeper))
	if len(w.c) != 0 || len(other.c) != 0 {
		t.Fatal("told before the end")
	}
	a.Close()
	other.want(t) // an event
	w.want(t)
}

// All of them are noticed at the same look, even if each makes the keeper leave.
func TestManyClosedBehindIt(t *testing.T) {
	var l Lot[*told]
	defer l.Close()
	a, _ := pair(t, "tcp")
	if !supported(t, &l, a) {
		return
	}
	var all []*told
	for range 10 {
		a, _ := pair(t, "tcp")
		w := newTold(&l)
		w.leaves = true
		if err := w.park(raw(t, a)); err != nil {
			t.Fatal(err)
		}
		all = append(all, w)
		a.Close()
	}
	told := make(chan time.Time, len(all))
	for _, w := range all {
		go func() { <-w.c; told <- time.Now() }()
	}
	var first, last time.Time
	for i := range all {
		select {
		case last = <-told:
		case <-time.After(10 * time.Second):
			t.Fatalf("%d were told", i)
		}
		if i == 0 {
			first = last
		}
	}
	if took := last.Sub(first); took > time.Second {
		t.Errorf("the last was told %v after the first", took)
	}
}

// Who was closed by somebody else is told as well when another connection has got
// the number of its descriptor and waits under it.
func TestDescriptorUsedAgain(t *testing.T) {
	var l Lot[*told]
	defer l.Close()
	a, _ := pair(t, "tcp")
	if !supported(t, &l, a) {
		return
	}
	w := newTold(&l)
	if err := w.park(raw(t, a)); err != nil {
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
		other := newTold(&l)
		if err := other.park(raw(t, b)); err != nil {
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

// A keeper that was left in the middle of what it had to tell leaves the rest to
// the next one, and one whose goroutine is ended too.
func TestLeave(t *testing.T) {
	for _, test := range []struct {
		name   string
		leaves func(k *Keeper)
	}{
		{"leaves", (*Keeper).Leave},
		{"leaves twice", func(k *Keeper) { k.Leave(); k.Leave() }},
		{"left by another goroutine", func(k *Keeper) {
			done := make(chan struct{})
			go func() { k.Leave(); close(done) }()
			<-done
		}},
		{"ends its goroutine", func(*Keeper) { runtime.Goexit() }},
		{"leaves and ends its goroutine", func(k *Keeper) { k.Leave(); runtime.Goexit() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			var l Lot[leaver]
			defer l.Close()
			var reported sync.WaitGroup
			var peers []net.Conn
			for range 10 {
				a, b := pair(t, "tcp")
				peers = append(peers, b)
				reported.Add(1)
				var ticket Ticket
				err := l.Park(raw(t, a), func(k *Keeper) {
					l.Take(ticket)
					reported.Done()
					test.leaves(k)
				}, func(k Ticket) { ticket = k })
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
				t.Fatal("some were not told")
			}
		})
	}
}

type leaver func(k *Keeper)

func (f leaver) Readable(k *Keeper) { f(k) }

// What is left unread is told again, without another Park.
func TestToldAgain(t *testing.T) {
	var l Lot[leaver]
	defer l.Close()
	a, b := pair(t, "tcp")
	var ticket Ticket
	read, one := make(chan byte, 10), make([]byte, 1)
	err := l.Park(raw(t, a), func(*Keeper) {
		if _, err := a.Read(one); err != nil {
			l.Take(ticket)
			close(read)
			return
		}
		read <- one[0]
	}, func(k Ticket) { ticket = k })
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

// A ticket of an earlier Park does not undo a later one.
func TestOldTicket(t *testing.T) {
	var l Lot[*told]
	defer l.Close()
	a, b := pair(t, "tcp")
	if !supported(t, &l, a) {
		return
	}
	w := newTold(&l)
	err := w.park(raw(t, a))
	old := w.ticket
	if err != nil {
		t.Fatal(err)
	}
	b.Write([]byte("x"))
	w.want(t)
	a.Read(make([]byte, 1))
	if err := w.park(raw(t, a)); err != nil {
		t.Fatal(err)
	}
	l.Take(old)
	b.Write([]byte("y"))
	w.want(t)
}

// Many connections that come and go, so that descriptors are used again.
func TestMany(t *testing.T) {
	var l Lot[*told]
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
				w := newTold(&l)
				err := w.park(raw(t, a))
				if err != nil {
					t.Error(err)
					return
				}
				if i%3 == 0 { // closed while it is parked
					a.Close()
					l.Take(w.ticket)
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

// number returns the descriptor of a connection.
func number(t *testing.T, c syscall.RawConn) (fd uintptr) {
	t.Helper()
	if err := c.Control(func(n uintptr) { fd = n }); err != nil {
		t.Fatal(err)
	}
	return fd
}

// Places serve again, and a lot that many have left keeps no room for them.
func TestPlacesServeAgain(t *testing.T) {
	var l Lot[*told]
	defer l.Close()
	var conns []syscall.RawConn
	for range 3 {
		a, _ := pair(t, "tcp")
		conns = append(conns, raw(t, a))
	}
	park := func(c syscall.RawConn) *told {
		w := newTold(&l)
		if err := w.park(c); err != nil {
			t.Fatal(err)
		}
		return w
	}
	first, second := park(conns[0]), park(conns[1])
	l.Take(first.ticket)
	third := park(conns[2])
	if uint32(third.ticket) != uint32(first.ticket) || third.ticket == first.ticket {
		t.Errorf("tickets %x, %x, %x; want the first place to serve the third, with another number", first.ticket, second.ticket, third.ticket)
	}
	l.Take(first.ticket) // again: the place is another's now
	if p, ok := l.place(third.ticket); !ok || p.w != third {
		t.Error("an old ticket took another's place")
	}
	l.mu.Lock()
	for range 2 * keepPlaces {
		l.free = append(l.free, uint32(len(l.places)))
		l.places = append(l.places, place[*told]{})
	}
	l.mu.Unlock()
	l.Take(second.ticket)
	l.Take(third.ticket)
	if len(l.places)+len(l.free)+len(l.waiting) != 0 {
		t.Errorf("%d places, %d of them free, for %d waiters; want none", len(l.places), len(l.free), len(l.waiting))
	}
	l.Take(third.ticket)
	if again := park(conns[0]); uint32(again.ticket) != 0 {
		t.Errorf("ticket %x after that, want place 0", again.ticket)
	}
}
