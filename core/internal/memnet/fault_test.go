package memnet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestCutWakesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, New(Buffer(1), Latency(time.Hour)))
		ops := []<-chan result{read(a), read(b)}
		wa, wb := write(a, 2), write(b, 2)
		a.Cut() // at once, whatever the latency
		for _, r := range ops {
			wantDone(t, r, 0, ErrReset)
		}
		wantDone(t, wa, 1, ErrReset)
		wantDone(t, wb, 1, syscall.ECONNRESET)
	})
}

func TestCutAfter(t *testing.T) {
	for _, test := range []struct {
		name   string
		cut    []int
		writes []string
		reads  string
		n      int // of the last write
		err    error
	}{
		{"inside a write", []int{3}, []string{"frame"}, "fra", 3, ErrReset},
		{"inside the second", []int{7}, []string{"frame", "frame"}, "framefr", 2, ErrReset},
		{"on the last byte", []int{5}, []string{"frame"}, "frame", 5, nil},
		{"moved", []int{1, 4}, []string{"frame"}, "fram", 4, ErrReset},
		{"over the buffer", []int{20}, []string{strings.Repeat("x", 30)}, strings.Repeat("x", 20), 20, ErrReset},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New(Buffer(8), Latency(time.Second))
				a, b := pair(t, n)
				for _, n := range test.cut {
					a.CutAfter(n)
				}
				read := make(chan string, 1)
				go func() {
					got, err := io.ReadAll(b)
					if !errors.Is(err, ErrReset) {
						t.Errorf("the reader got %v; want %v", err, ErrReset)
					}
					read <- string(got)
				}()
				for i, s := range test.writes {
					got, err := io.WriteString(a, s)
					if i == len(test.writes)-1 && (got != test.n || !errors.Is(err, test.err)) {
						t.Errorf("Write = %d, %v; want %d, %v", got, err, test.n, test.err)
					}
				}
				wantReadErr(t, a, ErrReset)
				wantWriteErr(t, a, ErrReset)
				mustWrite(t, b, "unaware")
				if got := <-read; got != test.reads {
					t.Errorf("the reader got %q; want %q", got, test.reads)
				}
				wantWriteErr(t, b, ErrReset)
				wantConns(t, n, 2)
			})
		})
	}
	t.Run("taken back", func(t *testing.T) {
		a, b := Pipe()
		a.CutAfter(3)
		a.CutAfter(-1)
		mustWrite(t, a, "frame")
		wantRead(t, b, "frame")
	})
}

func TestCorrupt(t *testing.T) {
	a, b := Pipe(Buffer(4))
	mustWrite(t, a, "ab")
	a.Corrupt(0)
	a.Corrupt(5)
	a.Corrupt(-1)
	p := []byte("cdefghij")
	done := make(chan result, 1)
	go func() {
		n, err := a.Write(p)
		done <- result{n, err}
	}()
	wantRead(t, b, "ab\x9cdefg\x97ij")
	if r := <-done; r.n != len(p) || r.err != nil || string(p) != "cdefghij" {
		t.Errorf("Write = %d, %v; and p is %q", r.n, r.err, p)
	}
}

func TestFreeze(t *testing.T) {
	for _, test := range []struct {
		name        string
		stop, start func(*Network, *Conn)
	}{
		{"conn", func(_ *Network, c *Conn) { c.Freeze() }, func(_ *Network, c *Conn) { c.Thaw() }},
		{"other end", func(_ *Network, c *Conn) { c.Freeze() }, func(_ *Network, c *Conn) { c.Peer().Thaw() }},
		{"partition", func(n *Network, _ *Conn) { n.Partition(true) }, func(n *Network, _ *Conn) { n.Partition(false) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New(Buffer(4), Latency(time.Millisecond))
				a, b := pair(t, n)
				mustWrite(t, a, "a")
				after(time.Millisecond) // it has arrived
				test.stop(n, a)
				r := read(b)
				mustWrite(t, a, "bcd")
				w := write(a, 1)
				if err := b.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
				after(time.Hour - 1)
				wantStuck(t, r)
				after(1)
				wantDone(t, r, 0, os.ErrDeadlineExceeded)
				if err := b.SetReadDeadline(time.Time{}); err != nil {
					t.Fatal(err)
				}
				wantStuck(t, w)
				r = read(b)
				test.start(n, a)
				wantDone(t, r, 1, nil)
				wantDone(t, w, 1, nil)
				wantRead(t, b, "bcd\x00")
			})
		})
	}
	t.Run("close meanwhile", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := pair(t, New(Buffer(4)))
			a.Freeze()
			a.Close()
			r := read(b)
			mustWrite(t, b, "lost")
			w := write(b, 1)
			after(time.Hour)
			wantStuck(t, r)
			wantStuck(t, w)
			a.Thaw()
			wantDone(t, r, 0, io.EOF)
			wantDone(t, w, 0, ErrBrokenPipe)
		})
	})
	t.Run("cut meanwhile", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := pair(t, New())
			a.Freeze()
			r := read(b)
			a.Cut()
			wantDone(t, r, 0, ErrReset)
		})
	})
	t.Run("frozen in a partition", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := New()
			a, b := pair(t, n)
			a.Freeze()
			n.Partition(true)
			n.Partition(true)
			n.Partition(false)
			mustWrite(t, a, "x")
			r := read(b)
			wantStuck(t, r)
			a.Thaw()
			wantDone(t, r, 1, nil)
		})
	})
}

func TestCutAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		lis, err := n.Listen("mem:7")
		if err != nil {
			t.Fatal(err)
		}
		a, b := pair(t, n)
		c, err := n.Dial(t.Context(), "mem:7") // not accepted yet
		if err != nil {
			t.Fatal(err)
		}
		n.CutAll()
		for _, c := range []net.Conn{a, b, c} {
			wantReadErr(t, c, ErrReset)
		}
		wantConns(t, n, 4)
		d, err := n.Dial(t.Context(), "mem:7")
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, d, "x")
		if s, err := lis.Accept(); err != nil {
			t.Fatal(err)
		} else {
			wantReadErr(t, s, ErrReset)
		}
		s, err := lis.Accept()
		if err != nil {
			t.Fatal(err)
		}
		wantRead(t, s, "x")
	})
}

func TestListen(t *testing.T) {
	n := New()
	for _, test := range []struct {
		addr, want string
		err        error
	}{
		{"mem:2", "mem:2", nil},
		{"", "mem:1", nil},
		{":0", "mem:3", nil},
		{"host:0", "host:4", nil},
		{"name", "name", nil},
		{"name", "", ErrAddrInUse},
	} {
		lis, err := n.Listen(test.addr)
		if !errors.Is(err, test.err) || err == nil && lis.Addr().String() != test.want {
			t.Errorf("Listen(%q) = %v, %v; want %q, %v", test.addr, lis, err, test.want, test.err)
		}
	}
}

func TestListenerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Backlog(1))
		lis, err := n.Listen("mem:1")
		if err != nil {
			t.Fatal(err)
		}
		live, err := n.Dial(t.Context(), "mem:1")
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := lis.Accept()
		if err != nil {
			t.Fatal(err)
		}
		ahead, err := n.Dial(t.Context(), "mem:1")
		if err != nil {
			t.Fatal(err)
		}
		late := dial(t.Context(), n, "mem:1")
		wantStuck(t, late)
		wantConns(t, n, 4)

		if err := lis.Close(); err != nil {
			t.Fatal(err)
		}
		wantDone(t, late, 0, ErrRefused)
		wantReadErr(t, ahead, ErrReset)
		mustWrite(t, live, "lives on")
		wantRead(t, accepted, "lives on")
		wantDone(t, dial(t.Context(), n, "mem:1"), 0, ErrRefused)
		if err := lis.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
		if _, err := lis.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
		if _, err := n.Listen("mem:1"); err != nil {
			t.Errorf("Listen again: %v", err)
		}
		for _, c := range []net.Conn{live, accepted, ahead} {
			c.Close()
		}
		wantConns(t, n, 0)
	})
}

func TestAcceptWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		lis, err := n.Listen("mem:1")
		if err != nil {
			t.Fatal(err)
		}
		accept := func() (int, error) { _, err := lis.Accept(); return 0, err }
		one, two, three := begin(accept), begin(accept), begin(accept)
		wantStuck(t, one)
		for range 2 {
			if _, err := n.Dial(t.Context(), "mem:1"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := len(one) + len(two) + len(three); got != 2 {
			t.Errorf("%d Accepts have returned; want 2", got)
		}
		lis.Close()
		synctest.Wait()
		if got := len(one) + len(two) + len(three); got != 3 {
			t.Errorf("%d Accepts have returned after Close; want 3", got)
		}
	})
}

func TestBacklogMovesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Backlog(1))
		lis, err := n.Listen("mem:1")
		if err != nil {
			t.Fatal(err)
		}
		one, two, three := dial(t.Context(), n, "mem:1"), dial(t.Context(), n, "mem:1"), dial(t.Context(), n, "mem:1")
		wantDone(t, one, 0, nil)
		wantStuck(t, two)
		if _, err := lis.Accept(); err != nil {
			t.Fatal(err)
		}
		wantDone(t, two, 0, nil)
		wantStuck(t, three)
		lis.Close()
		wantDone(t, three, 0, ErrRefused)
	})
}

func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Backlog(0))
		lis, err := n.Listen("mem:1")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		first, gone, second := dial(t.Context(), n, "mem:1"), dial(ctx, n, "mem:1"), dial(t.Context(), n, "mem:1")
		cancel()
		wantDone(t, gone, 0, context.Canceled)
		wantStuck(t, first)
		wantConns(t, n, 0)
		for _, want := range []struct {
			addr string
			done <-chan result
		}{{"mem:client:1", first}, {"mem:client:3", second}} {
			c, err := lis.Accept()
			if err != nil || c.RemoteAddr().String() != want.addr {
				t.Fatalf("Accept = %v, %v; want %s", c, err, want.addr)
			}
			wantDone(t, want.done, 0, nil)
		}
		wantConns(t, n, 4)
	})
}

func TestDial(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name    string
		prepare func(*Network)
		ctx     func() (context.Context, context.CancelFunc) // nil: the test's
		want    []error                                      // of dials in a row
		took    time.Duration
	}{
		{"no listener", func(n *Network) {}, nil, []error{ErrRefused}, 2 * time.Second},
		{"refused twice", func(n *Network) { listen(n); n.Refuse("mem:1", 2) }, nil,
			[]error{ErrRefused, ErrRefused, nil, nil}, 8 * time.Second},
		{"refused for ever", func(n *Network) { listen(n); n.Refuse("mem:1", -5) }, nil,
			[]error{ErrRefused, ErrRefused, ErrRefused}, 6 * time.Second},
		{"refused no more", func(n *Network) { listen(n); n.Refuse("mem:1", -1); n.Refuse("mem:1", 0) }, nil,
			[]error{nil}, 2 * time.Second},
		{"another refused", func(n *Network) { listen(n); n.Refuse("mem:2", -1) }, nil, []error{nil}, 2 * time.Second},
		{"context over", listen, func() (context.Context, context.CancelFunc) { return over, cancel },
			[]error{context.Canceled}, 0},
		{"on the way", listen, within(time.Second), []error{context.DeadlineExceeded}, time.Second},
		{"parted", func(n *Network) { listen(n); n.Partition(true) }, within(time.Minute),
			[]error{context.DeadlineExceeded}, time.Minute},
		{"parted on the way", func(n *Network) {
			listen(n)
			time.AfterFunc(time.Second, func() { n.Partition(true) })
		}, within(time.Minute), []error{context.DeadlineExceeded}, time.Minute},
		{"healed", func(n *Network) {
			listen(n)
			n.Partition(true)
			time.AfterFunc(time.Hour, func() { n.Partition(false) })
		}, nil, []error{nil}, time.Hour + 2*time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New(Latency(time.Second))
				test.prepare(n)
				ctx := t.Context()
				if test.ctx != nil {
					c, cancel := test.ctx()
					defer cancel()
					ctx = c
				}
				start, open := time.Now(), 0
				for i, want := range test.want {
					c, err := n.Dial(ctx, "mem:1")
					if !errors.Is(err, want) || (c == nil) != (want != nil) {
						t.Errorf("dial %d: %v, %v; want %v", i+1, c, err, want)
					}
					if err == nil {
						open += 2
					}
				}
				wantTook(t, start, test.took)
				wantConns(t, n, open)
			})
		})
	}
}

func listen(n *Network) {
	if _, err := n.Listen("mem:1"); err != nil {
		panic(err)
	}
}

func within(d time.Duration) func() (context.Context, context.CancelFunc) {
	return func() (context.Context, context.CancelFunc) { return context.WithTimeout(context.Background(), d) }
}

// A dial that waits for room in the backlog may succeed during a partition; its
// connection is stopped like the others.
func TestBornParted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Backlog(0))
		lis, err := n.Listen("mem:1")
		if err != nil {
			t.Fatal(err)
		}
		d := dial(t.Context(), n, "mem:1")
		n.Partition(true)
		s, err := lis.Accept()
		if err != nil {
			t.Fatal(err)
		}
		wantDone(t, d, 0, nil)
		c := n.Find("mem:client:1")
		mustWrite(t, c, "x")
		r := read(s)
		wantStuck(t, r)
		n.Partition(false)
		wantDone(t, r, 1, nil)
	})
}
