//go:build unix

package inbox

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// unixPair returns the two ends of a unix connection.
func unixPair(t *testing.T, network string) (near, far net.Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	lis, err := net.Listen(network, path)
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	if far, err = net.Dial(network, path); err != nil {
		t.Fatal(err)
	}
	if near, err = lis.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// While a TCP or unix connection is idle its Reader holds no buffer, unless a part of a
// frame is in it.
func TestIdleHoldsNoBuffer(t *testing.T) {
	for _, test := range []struct {
		name string
		open func(t *testing.T) (near, far net.Conn)
		lazy bool
	}{
		{"tcp", func(t *testing.T) (net.Conn, net.Conn) { return loopback(t) }, true},
		{"unix", func(t *testing.T) (net.Conn, net.Conn) { return unixPair(t, "unix") }, true},
		{"wrapped", func(t *testing.T) (net.Conn, net.Conn) {
			near, far := loopback(t)
			return xored{near.(*net.TCPConn)}, far
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			near, far := test.open(t)
			r := New(near, Config{})
			defer r.Close()
			if (r.raw != nil) != test.lazy {
				t.Errorf("reads by the descriptor: %v, want %v", r.raw != nil, test.lazy)
			}
			idle := func(peek int) {
				t.Helper()
				near.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
				if _, err := r.Peek(peek); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("Peek = %v, want %v", err, os.ErrDeadlineExceeded)
				}
				near.SetReadDeadline(time.Time{})
			}
			if r.buf != nil {
				t.Error("a new Reader holds a buffer")
			}
			idle(1)
			for _, frame := range []int{600, 50_000, 100_000} {
				go far.Write(make([]byte, frame))
				if _, err := r.Peek(frame); err != nil {
					t.Fatal(err)
				}
				r.Discard(frame)
				idle(1)
				idle(100_000)
				if held := r.buf != nil; held == test.lazy {
					t.Errorf("after a frame of %d bytes: buffer held %v, want %v", frame, held, !test.lazy)
				}
				if r.big != nil {
					t.Errorf("after a frame of %d bytes: its own buffer is still held", frame)
				}
			}
			far.Write(make([]byte, 10))
			if _, err := r.Peek(10); err != nil {
				t.Fatal(err)
			}
			idle(600)
			if r.buf == nil || r.Buffered() != 10 {
				t.Errorf("%d bytes of the frame are left, want 10", r.Buffered())
			}
		})
	}
}

// TryWait reports whether bytes have arrived, holds a buffer until ReleaseIfEmpty, and
// does not change how the next read waits.
func TestTryWait(t *testing.T) {
	near, far := loopback(t)
	r := New(near, Config{})
	defer r.Close()
	want := func(what string, ok bool, err error) {
		t.Helper()
		if got, gotErr := r.TryWait(); got != ok || !errors.Is(gotErr, err) {
			t.Fatalf("%s: TryWait = %v, %v; want %v, %v", what, got, gotErr, ok, err)
		}
	}
	for range 2 {
		want("nothing", false, nil)
		if r.buf == nil {
			t.Error("no buffer is held for the next call")
		}
		r.ReleaseIfEmpty()
		if r.buf != nil {
			t.Error("a buffer is held for nothing")
		}
		time.AfterFunc(5*time.Millisecond, func() { far.Write([]byte("abc")) })
		if err := r.Wait(); err != nil || r.Buffered() != 3 || !r.LastReadShort() {
			t.Fatalf("Wait = %v, %d bytes, LastReadShort %v; want nil, 3, true", err, r.Buffered(), r.LastReadShort())
		}
		want("bytes are buffered", true, nil)
		if r.ReleaseIfEmpty(); r.Buffered() != 3 {
			t.Fatal("ReleaseIfEmpty has lost buffered bytes")
		}
		r.Discard(3)
	}
	go far.Write(make([]byte, 1<<20))
	for short := true; short; short = r.LastReadShort() {
		r.Discard(r.Buffered())
		if err := r.Wait(); err != nil {
			t.Fatal("no read has filled the buffer: ", err)
		}
	}
	near.Close()
	r.Discard(r.Buffered())
	want("closed", false, net.ErrClosed)
}
