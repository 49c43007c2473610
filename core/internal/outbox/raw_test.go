//go:build linux || darwin

package outbox

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"
)

// errTimedOut is the error of TCP itself for a peer that does not answer.
var errTimedOut error = syscall.ETIMEDOUT

func smallBuffers(t *testing.T, near, far net.Conn) {
	t.Helper()
	for _, err := range []error{
		near.(interface{ SetWriteBuffer(int) error }).SetWriteBuffer(4 << 10),
		far.(interface{ SetReadBuffer(int) error }).SetReadBuffer(64 << 10), // TCP crawls with less
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestRawOnlyForSockets(t *testing.T) {
	tcp, far := pair(t, "tcp")
	unix, _ := pair(t, "unix")
	pipe, _ := pair(t, "pipe")
	wrap := &wrapped{TCPConn: tcp.(*net.TCPConn)}
	for _, test := range []struct {
		name string
		conn net.Conn
		want bool
	}{
		{"tcp", tcp, true}, {"unix", unix, true}, {"pipe", pipe, false}, {"wrapped", wrap, false},
	} {
		if got := new(rawWriter).init(test.conn); got != test.want {
			t.Errorf("%s: raw = %v, want %v", test.name, got, test.want)
		}
	}
	w := New(wrap, Config{})
	put(w, nil, 5, 6, 700)
	w.Flush(0)
	if s, n, err := readFrame(far); s != 5 || n != 6 || err != nil {
		t.Errorf("frame %d of %d, %v", n, s, err)
	}
	if wrap.writes != 1 {
		t.Errorf("its Write was called %d times, want 1", wrap.writes)
	}
}

// A caller does not wait for a peer that does not read, whatever its mode.
func TestFullSocket(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			near, far := pair(t, network)
			smallBuffers(t, near, far)
			w := New(near, Config{Bound: 64 << 20, Fail: func(err error) { t.Errorf("Fail(%v)", err) }})
			const frames = 6000
			for n := range frames {
				size := 600
				if n%200 == 7 {
					size = 100_000
				}
				if err := put(w, nil, 1, n, size); err != nil {
					t.Fatal(err)
				}
				w.Flush(Mode(n % 2))
			}
			if _, n := w.Queued(); n == 0 {
				t.Fatal("the sockets took it all: nothing tested")
			}
			for want := range frames {
				if _, n, err := readFrame(far); err != nil || n != want {
					t.Fatalf("frame %d, %v; want %d", n, err, want)
				}
			}
			if err := w.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			idle(t, w)
		})
	}
}

func TestRawStall(t *testing.T) {
	near, far := pair(t, "tcp")
	smallBuffers(t, near, far)
	failed := make(chan error, 1)
	w := New(near, Config{WriteTimeout: 50 * time.Millisecond, Fail: func(err error) { failed <- err }})
	w.SendNow(appendFrame(nil, 0, 0, 3<<20))
	w.Flush(0)
	if err := <-failed; !errors.Is(err, ErrStalled) {
		t.Errorf("Fail(%v), want ErrStalled", err)
	}
	idle(t, w)
}

// A flush may take far longer than the time-out in total, as long as there is progress;
// and it leaves no deadline that would end a later write.
func TestRawSlowButSteady(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	near, far := pair(t, "unix")
	smallBuffers(t, near, far)
	w := New(near, Config{WriteTimeout: timeout, Fail: func(err error) { t.Errorf("Fail(%v)", err) }})
	want := appendFrame(nil, 0, 0, 300_000)
	begin := time.Now()
	w.SendNow(slices.Clone(want))
	w.Flush(0)
	pace := time.NewTicker(timeout / 20)
	defer pace.Stop()
	got := make([]byte, len(want))
	for part := range slices.Chunk(got, 10_000) {
		<-pace.C
		if _, err := io.ReadFull(far, part); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begin); took < timeout {
		t.Fatalf("it took %v: nothing tested", took)
	}
	if !bytes.Equal(got, want) {
		t.Error("other bytes arrived")
	}
	if err := w.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	for range 25 {
		<-pace.C
	}
	if _, err := near.Write(appendFrame(nil, 1, 2, 600)); err != nil {
		t.Fatalf("a deadline was left: %v", err)
	}
	if s, n, err := readFrame(far); s != 1 || n != 2 || err != nil {
		t.Errorf("frame %d of %d, %v", n, s, err)
	}
}

// An expired write deadline of the owner's does not fail the Writer.
func TestForeignDeadline(t *testing.T) {
	near, far := pair(t, "tcp")
	near.SetWriteDeadline(time.Unix(1, 0))
	w := New(near, Config{Fail: func(err error) { t.Errorf("Fail(%v)", err) }})
	put(w, nil, 1, 2, 600)
	w.Flush(0)
	if s, n, err := readFrame(far); s != 1 || n != 2 || err != nil {
		t.Errorf("frame %d of %d, %v", n, s, err)
	}
	w.Join()
}

func TestRawErrors(t *testing.T) {
	t.Run("closed here", func(t *testing.T) {
		near, far := pair(t, "tcp")
		smallBuffers(t, near, far)
		failed := make(chan error, 1)
		w := New(near, Config{Fail: func(err error) { failed <- err }})
		w.SendNow(appendFrame(nil, 0, 0, 3<<20))
		w.Flush(0) // waits for the network on the Writer's goroutine
		near.Close()
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Fail(%v), want %v", err, net.ErrClosed)
		}
		w.Join()
	})
	t.Run("closed there", func(t *testing.T) {
		near, far := pair(t, "unix")
		far.Close()
		var failed error
		w := New(near, Config{Fail: func(err error) { failed = err }})
		put(w, nil, 1, 2, 600)
		w.Flush(0)
		var oe *net.OpError
		if !errors.Is(failed, syscall.EPIPE) || !errors.As(failed, &oe) || oe.Op != "write" {
			t.Errorf("Fail(%v), want a net.OpError of %v", failed, syscall.EPIPE)
		}
	})
}
