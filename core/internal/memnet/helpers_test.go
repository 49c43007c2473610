package memnet

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// pair connects two ends through a listener of n.
func pair(t *testing.T, n *Network) (client, server *Conn) {
	t.Helper()
	lis, err := n.Listen("")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	c, err := n.Dial(t.Context(), lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*Conn), s.(*Conn)
}

func mustWrite(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if n, err := io.WriteString(c, s); n != len(s) || err != nil {
		t.Fatalf("Write(%d bytes) = %d, %v", len(s), n, err)
	}
}

// wantRead reads len(want) bytes and compares.
func wantRead(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %d bytes %q, %v; want %q", n, got[:n], err, want)
	}
}

func wantReadErr(t *testing.T, c net.Conn, want error) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Fatalf("Read = %d, %v; want 0, %v", n, err, want)
	}
}

func wantWriteErr(t *testing.T, c net.Conn, want error) {
	t.Helper()
	if n, err := c.Write([]byte("x")); n != 0 || !errors.Is(err, want) {
		t.Fatalf("Write = %d, %v; want 0, %v", n, err, want)
	}
}

func wantConns(t *testing.T, n *Network, want int) {
	t.Helper()
	if got := n.Conns(); got != want {
		t.Errorf("Conns = %d; want %d", got, want)
	}
	if want == 0 && len(n.links) > 0 {
		t.Errorf("the network still holds %d links", len(n.links))
	}
}

// wantTook checks the bubble's time since start.
func wantTook(t *testing.T, start time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(start); got != want {
		t.Errorf("took %v; want %v", got, want)
	}
}

type result struct {
	n   int
	err error
}

// begin runs an operation on another goroutine and returns a function for its result. In
// a bubble it waits until the operation is done or blocks.
func begin(op func() (int, error)) <-chan result {
	done := make(chan result, 1)
	go func() {
		n, err := op()
		done <- result{n, err}
	}()
	synctest.Wait()
	return done
}

func read(c net.Conn) <-chan result {
	return begin(func() (int, error) { return c.Read(make([]byte, 1)) })
}

func write(c net.Conn, n int) <-chan result {
	return begin(func() (int, error) { return c.Write(make([]byte, n)) })
}

func dial(ctx context.Context, n *Network, addr string) <-chan result {
	return begin(func() (int, error) { _, err := n.Dial(ctx, addr); return 0, err })
}

func wantStuck(t *testing.T, done <-chan result) {
	t.Helper()
	synctest.Wait()
	select {
	case r := <-done:
		t.Fatalf("done with %d, %v; want it to wait", r.n, r.err)
	default:
	}
}

func wantDone(t *testing.T, done <-chan result, n int, err error) {
	t.Helper()
	synctest.Wait()
	select {
	case r := <-done:
		if r.n != n || !errors.Is(r.err, err) {
			t.Fatalf("done with %d, %v; want %d, %v", r.n, r.err, n, err)
		}
	default:
		t.Fatalf("still waiting; want %d, %v", n, err)
	}
}

// after advances the bubble's clock.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
