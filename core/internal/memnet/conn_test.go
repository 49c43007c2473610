package memnet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTransfer(t *testing.T) {
	for _, test := range []struct {
		name string
		opts []Option
	}{
		{"plain", nil},
		{"one byte at a time", []Option{Chunk(1)}},
		{"chance", []Option{Chunk(100), Seed(1)}},
		{"tiny buffer", []Option{Buffer(1)}},
		{"latency", []Option{Latency(time.Second)}},
		{"bandwidth", []Option{Bandwidth(1000)}},
		{"all", []Option{Latency(time.Second), Bandwidth(1000), Buffer(100), Chunk(7), Seed(2)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New(test.opts...)
				a, b := pair(t, n)
				want := strings.Repeat("there and back ", 1000)
				var wg sync.WaitGroup
				for _, c := range []*Conn{a, b} {
					wg.Go(func() {
						if n, err := io.WriteString(c, want); n != len(want) || err != nil {
							t.Errorf("Write = %d, %v", n, err)
						}
						if err := c.CloseWrite(); err != nil {
							t.Error(err)
						}
					})
					wg.Go(func() {
						if got, err := io.ReadAll(c); string(got) != want || err != nil {
							t.Errorf("read %d bytes, %v; want %d as written", len(got), err, len(want))
						}
					})
				}
				wg.Wait()
				a.Close()
				wantConns(t, n, 1)
				b.Close()
				wantConns(t, n, 0)
			})
		})
	}
}

func TestAddrs(t *testing.T) {
	n := New()
	a, b := pair(t, n)
	p, q := Pipe()
	for _, test := range []struct {
		name          string
		c             *Conn
		local, remote string
	}{
		{"client", a, "mem:client:1", "mem:1"},
		{"server", b, "mem:1", "mem:client:1"},
		{"pipe", p, p.LocalAddr().String(), q.LocalAddr().String()},
		{"other end", q, q.LocalAddr().String(), p.LocalAddr().String()},
	} {
		l, r := test.c.LocalAddr(), test.c.RemoteAddr()
		if l.String() != test.local || r.String() != test.remote || l.Network() != "mem" {
			t.Errorf("%s: %s %v to %v; want mem %s to %s", test.name, l.Network(), l, r, test.local, test.remote)
		}
	}
	if p.LocalAddr() == q.LocalAddr() || a.Peer() != b || b.Peer() != a {
		t.Error("ends are mixed up")
	}
	if n.Find("mem:client:1") != a || n.Find("mem:1") != b || n.Find("mem:2") != nil {
		t.Error("Find finds the wrong ends")
	}
	a.Close()
	if n.Find("mem:client:1") != nil {
		t.Error("Find finds a closed end")
	}
	_, err := a.Read(nil)
	if want := "read mem mem:client:1->mem:1: use of closed network connection"; err == nil || err.Error() != want {
		t.Errorf("error %v; want %s", err, want)
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		a, b := pair(t, New(Latency(10*time.Millisecond)))
		wantTook(t, start, 20*time.Millisecond)

		start = time.Now()
		mustWrite(t, a, "one")
		wantTook(t, start, 0)
		after(4 * time.Millisecond)
		mustWrite(t, a, "two")
		a.Close()
		wantRead(t, b, "one")
		wantTook(t, start, 10*time.Millisecond)
		mustWrite(t, b, "the Close is still under way")
		wantRead(t, b, "two")
		wantReadErr(t, b, io.EOF)
		wantTook(t, start, 14*time.Millisecond)
		wantWriteErr(t, b, ErrBrokenPipe)
	})
}

func TestBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, New(Bandwidth(10_000), Latency(time.Second)))
		start := time.Now()
		mustWrite(t, a, strings.Repeat("x", 5000))
		mustWrite(t, a, strings.Repeat("y", 5000))
		if err := a.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		wantTook(t, start, 0) // the buffer takes it all
		wantRead(t, b, strings.Repeat("x", 1460))
		wantTook(t, start, time.Second+146*time.Millisecond)
		wantRead(t, b, strings.Repeat("x", 5000-1460)+strings.Repeat("y", 5000))
		wantReadErr(t, b, io.EOF)
		wantTook(t, start, 2*time.Second)

		mustWrite(t, b, "the other way") // that direction has its own bandwidth
		wantRead(t, a, "the other way")
		wantTook(t, start, 3*time.Second+1300*time.Microsecond)
	})
}

func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, New(Buffer(10)))
		mustWrite(t, a, strings.Repeat("x", 10))
		w := write(a, 12)
		wantStuck(t, w)
		wantRead(t, b, "xxxxxxxxxx")
		wantStuck(t, w)
		wantRead(t, b, "\x00\x00")
		wantDone(t, w, 12, nil)

		w = write(a, 1)
		wantStuck(t, w)
		b.Close()
		wantDone(t, w, 0, ErrBrokenPipe)
	})
}

func TestWritesAreWholeAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, New(Buffer(3)))
		var all []<-chan result
		for _, s := range []string{"first", "second", "third"} {
			all = append(all, begin(func() (int, error) { return io.WriteString(a, s) }))
		}
		wantRead(t, b, "firstsecondthird")
		for i, n := range []int{5, 6, 5} {
			wantDone(t, all[i], n, nil)
		}
	})
}

func TestEnd(t *testing.T) {
	for _, test := range []struct {
		name     string
		end      func(a *Conn) error
		reads    string // what b still reads
		readErr  error  // the error of b's read after that
		writeErr error  // the error of b's write
		ownRead  error  // the error of a's read when b has closed
		ownWrite error
	}{
		{"close", (*Conn).Close, "data", io.EOF, ErrBrokenPipe, net.ErrClosed, net.ErrClosed},
		{"half close", (*Conn).CloseWrite, "data", io.EOF, nil, io.EOF, ErrBrokenPipe},
		{"cut", func(a *Conn) error { a.Cut(); return nil }, "", ErrReset, ErrReset, ErrReset, ErrReset},
		{"cut after", func(a *Conn) error { a.CutAfter(0); return nil }, "data", ErrReset, ErrReset, ErrReset, ErrReset},
	} {
		for _, early := range []bool{false, true} { // whether b waits in Read already
			name := test.name
			if early {
				name += ", reader waits"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := New()
					a, b := pair(t, n)
					if early {
						r := read(b)
						wantStuck(t, r)
						mustWrite(t, a, "_")
						wantDone(t, r, 1, nil)
						if r = read(b); test.reads != "" {
							mustWrite(t, a, "_")
							wantDone(t, r, 1, nil)
						}
					}
					mustWrite(t, a, "data")
					if err := test.end(a); err != nil {
						t.Fatal(err)
					}
					if n, err := b.Write(nil); n != 0 || !errors.Is(err, test.writeErr) {
						t.Errorf("empty Write = %d, %v; want %v", n, err, test.writeErr)
					}
					if test.writeErr != nil {
						wantWriteErr(t, b, test.writeErr)
					}
					wantRead(t, b, test.reads)
					wantReadErr(t, b, test.readErr)
					wantReadErr(t, b, test.readErr)
					if test.writeErr == nil {
						mustWrite(t, b, "reply")
						wantRead(t, a, "reply")
					}
					b.Close()
					wantReadErr(t, a, test.ownRead)
					wantWriteErr(t, a, test.ownWrite)
					a.Close()
					wantConns(t, n, 0)
				})
			})
		}
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Buffer(1))
		a, _ := pair(t, n)
		r, w := read(a), write(a, 2)
		wantStuck(t, r)
		wantStuck(t, w)
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		wantDone(t, r, 0, net.ErrClosed)
		wantDone(t, w, 1, net.ErrClosed)
		for _, op := range []struct {
			name string
			do   func() error
		}{
			{"Close", a.Close},
			{"CloseWrite", a.CloseWrite},
			{"SetDeadline", func() error { return a.SetDeadline(time.Time{}) }},
			{"empty Read", func() error { _, err := a.Read(nil); return err }},
			{"empty Write", func() error { _, err := a.Write(nil); return err }},
		} {
			if err := op.do(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s after Close: %v; want %v", op.name, err, net.ErrClosed)
			}
		}
		a.Cut()
		a.CutAfter(0)
		wantConns(t, n, 1)
	})
}

func TestCloseWriteWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, New(Buffer(1)))
		r := read(b)
		wantStuck(t, r)
		if err := a.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		wantDone(t, r, 0, io.EOF)

		w := write(b, 2)
		wantStuck(t, w)
		if err := b.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		wantDone(t, w, 1, ErrBrokenPipe)
		wantRead(t, a, "\x00")
		wantReadErr(t, a, io.EOF)
	})
}

func TestCloseReachesWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, New(Buffer(1), Latency(time.Second)))
		w := write(a, 2)
		b.Close()
		after(time.Second - 1)
		wantStuck(t, w)
		after(1)
		wantDone(t, w, 1, ErrBrokenPipe)
	})
}

func TestDeadline(t *testing.T) {
	for _, test := range []struct {
		name string
		set  func(*Conn, time.Time) error
		op   func(*Conn) <-chan result
		n    int
	}{
		{"read", (*Conn).SetReadDeadline, func(c *Conn) <-chan result { return read(c) }, 0},
		{"write", (*Conn).SetWriteDeadline, func(c *Conn) <-chan result { return write(c, 2) }, 1},
		{"both, read", (*Conn).SetDeadline, func(c *Conn) <-chan result { return read(c) }, 0},
		{"both, write", (*Conn).SetDeadline, func(c *Conn) <-chan result { return write(c, 2) }, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := pair(t, New(Buffer(1)))
				set := func(d time.Duration) {
					t.Helper()
					if err := test.set(a, time.Now().Add(d)); err != nil {
						t.Fatal(err)
					}
				}
				op := test.op(a)
				wantStuck(t, op)
				set(time.Second) // while it waits
				set(time.Minute) // later
				after(time.Minute - 1)
				wantStuck(t, op)
				after(1)
				wantDone(t, op, test.n, os.ErrDeadlineExceeded)

				op = test.op(a) // the deadline stays
				wantDone(t, op, 0, os.ErrDeadlineExceeded)

				set(time.Minute) // a new deadline: the next operation waits again
				if test.n > 0 {
					wantRead(t, b, "\x00")
				}
				op = test.op(a)
				wantStuck(t, op)
				set(-1) // earlier
				wantDone(t, op, test.n, os.ErrDeadlineExceeded)

				if err := test.set(a, time.Time{}); err != nil { // never
					t.Fatal(err)
				}
				if test.n > 0 {
					wantRead(t, b, "\x00")
				}
				op = test.op(a)
				after(time.Hour)
				wantStuck(t, op)
				a.Close()
				wantDone(t, op, test.n, net.ErrClosed)
			})
		})
	}
}

func TestDeadlineBeatsData(t *testing.T) {
	a, b := Pipe()
	mustWrite(t, a, "data")
	if err := b.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	wantReadErr(t, b, os.ErrDeadlineExceeded)
	mustWrite(t, b, "writing has its own")
	var ne net.Error
	if _, err := b.Read(make([]byte, 1)); !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("error %v is no time-out", err)
	}
	if err := b.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	wantRead(t, b, "data")
}

func TestEmpty(t *testing.T) {
	a, b := Pipe()
	if n, err := a.Write(nil); n != 0 || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	if n, err := b.Read(nil); n != 0 || err != nil {
		t.Errorf("Read = %d, %v", n, err)
	}
	mustWrite(t, a, "x")
	wantRead(t, b, "x") // and nothing before it
}

func TestChunk(t *testing.T) {
	sizes := func(opts ...Option) (ns []byte) {
		a, b := Pipe(opts...)
		mustWrite(t, a, strings.Repeat("x", 500))
		a.Close()
		for {
			n, err := b.Read(make([]byte, 1000))
			if err == io.EOF {
				return ns
			}
			ns = append(ns, byte(n))
		}
	}
	if got, want := sizes(Chunk(200)), []byte{200, 200, 100}; !bytes.Equal(got, want) {
		t.Errorf("sizes %v; want %v", got, want)
	}
	one := sizes(Chunk(200), Seed(1))
	if !bytes.Equal(one, sizes(Chunk(200), Seed(1))) {
		t.Error("the same seed gives other sizes")
	}
	if bytes.Equal(one, sizes(Chunk(200), Seed(2))) {
		t.Error("another seed gives the same sizes")
	}
}

// All operations run concurrently, for the race detector.
func TestConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Buffer(64), Chunk(10), Latency(time.Millisecond))
		a, b := pair(t, n)
		var wg sync.WaitGroup
		for range 4 {
			for _, c := range []*Conn{a, b} {
				wg.Go(func() {
					untilClosed(func() error { _, err := c.Write(make([]byte, 50)); return err })
				})
				wg.Go(func() {
					untilClosed(func() error { _, err := c.Read(make([]byte, 50)); return err })
				})
				wg.Go(func() {
					for i := range 100 {
						c.SetDeadline(time.Now().Add(time.Duration(i%3) * time.Millisecond))
						n.Partition(i%2 == 0)
						c.Freeze()
						<-time.After(time.Millisecond)
						c.Thaw()
						c.Corrupt(i)
						c.LocalAddr()
						n.Find(c.RemoteAddr().String())
					}
					n.Partition(false)
					c.SetDeadline(time.Time{})
					c.CutAfter(1000)
					<-time.After(time.Second)
					c.Close()
				})
			}
		}
		wg.Wait()
		wantConns(t, n, 0)
	})
}

// untilClosed repeats an operation, and ignores its errors.
func untilClosed(op func() error) {
	for {
		err := op()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			<-time.After(time.Millisecond) // else the bubble's clock would stand still
		}
	}
}
