//go:build !386 && !msan && !asan

package sockio

import (
	"bytes"
	"errors"
	"syscall"
	"testing"
	"time"
)

// pair is two ends of a socket, in blocking mode or not.
func pair(t *testing.T, kind int, blocking bool) (a, b uintptr) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, kind, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if err := syscall.SetNonblock(fd, !blocking); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Close(fd) })
	}
	return uintptr(fds[0]), uintptr(fds[1])
}

// soon fails the test if f blocks.
func soon(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s blocks", what)
	}
}

func TestNeverWaits(t *testing.T) {
	for _, size := range []int{4096, 2 * Short} {
		for _, blocking := range []bool{false, true} {
			neverWaits(t, size, blocking)
		}
	}
}

func neverWaits(t *testing.T, size int, blocking bool) {
	a, b := pair(t, syscall.SOCK_STREAM, blocking)
	soon(t, "Read", func() {
		if n, err := Read(b, make([]byte, size)); err != syscall.EAGAIN || n > 0 {
			t.Errorf("blocking %v: Read of nothing = %d, %v", blocking, n, err)
		}
	})
	soon(t, "Write", func() {
		for total := 0; ; {
			n, err := Write(a, make([]byte, size))
			if err == syscall.EAGAIN {
				if total == 0 {
					t.Errorf("blocking %v: nothing was written", blocking)
				}
				return
			}
			if err != nil {
				t.Errorf("blocking %v: Write: %v", blocking, err)
				return
			}
			total += n
		}
	})
}

func TestBytesAndEnd(t *testing.T) {
	for _, size := range []int{1, 600, Short, Short + 1} {
		a, b := pair(t, syscall.SOCK_STREAM, false)
		if err := syscall.SetsockoptInt(int(a), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 2*(Short+1)); err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte("teleport"), size/8+1)[:size]
		var got []byte
		for sent := 0; sent < size || len(got) < size; {
			n, err := Write(a, want[sent:])
			if n > 0 {
				sent += n
			} else if err != nil && err != syscall.EAGAIN {
				t.Fatalf("%d bytes: Write: %v", size, err)
			}
			buf := make([]byte, size)
			if n, err = Read(b, buf); err != nil {
				t.Fatalf("%d bytes: Read: %v", size, err)
			}
			got = append(got, buf[:n]...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d bytes: other bytes have arrived", size)
		}
		syscall.Shutdown(int(a), syscall.SHUT_WR)
		if n, err := Read(b, make([]byte, 10)); n != 0 || err != nil {
			t.Errorf("the end is %d, %v", n, err)
		}
	}
}

// A message of a packet socket is one message.
func TestPackets(t *testing.T) {
	a, b := pair(t, syscall.SOCK_SEQPACKET, false)
	for _, s := range []string{"one", "two"} {
		if n, err := Write(a, []byte(s)); n != 3 || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	buf := make([]byte, 10)
	for _, want := range []string{"one", "two"} {
		if n, err := Read(b, buf); err != nil || string(buf[:n]) != want {
			t.Errorf("Read = %q, %v; want %q", buf[:n], err, want)
		}
	}
}

func TestErrors(t *testing.T) {
	a, b := pair(t, syscall.SOCK_STREAM, false)
	syscall.Shutdown(int(b), syscall.SHUT_RD)
	if n, err := Write(a, []byte("x")); n > 0 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Write to a peer that does not read = %d, %v; want %v", n, err, syscall.EPIPE)
	}
	const none = ^uintptr(0)
	if n, err := Write(none, []byte("x")); n > 0 || err != syscall.EBADF {
		t.Errorf("Write to no descriptor = %d, %v", n, err)
	}
	if n, err := Read(none, make([]byte, 1)); n > 0 || err != syscall.EBADF {
		t.Errorf("Read from no descriptor = %d, %v", n, err)
	}
	if n, err := Events(none, make([]syscall.EpollEvent, 1)); n > 0 || err != syscall.EBADF {
		t.Errorf("Events of no descriptor = %d, %v", n, err)
	}
}

// What happened before a write happened before the read that gets the bytes, whether
// either is of this package or not. The race detector, which cannot see that by
// itself, must not complain.
func TestWriteHappensBeforeRead(t *testing.T) {
	plainRead := func(fd uintptr, b []byte) (int, error) { return syscall.Read(int(fd), b) }
	plainWrite := func(fd uintptr, b []byte) (int, error) { return syscall.Write(int(fd), b) }
	for _, test := range []struct {
		name        string
		write, read func(uintptr, []byte) (int, error)
	}{
		{"Write to Read", Write, Read},
		{"Write to syscall.Read", Write, plainRead},
		{"syscall.Write to Read", plainWrite, Read},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := pair(t, syscall.SOCK_STREAM, false)
			x := 0
			go func() {
				x = 1
				test.write(a, []byte("go"))
			}()
			soon(t, test.name, func() {
				for {
					if n, _ := test.read(b, make([]byte, 2)); n > 0 {
						break
					}
				}
				if x != 1 {
					t.Error("x has not changed")
				}
			})
		})
	}
}

func TestEvents(t *testing.T) {
	a, b := pair(t, syscall.SOCK_STREAM, false)
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(ep)
	if err := syscall.EpollCtl(ep, syscall.EPOLL_CTL_ADD, int(b), &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: 7}); err != nil {
		t.Fatal(err)
	}
	events := make([]syscall.EpollEvent, 4)
	if n, err := Events(uintptr(ep), events); n != 0 || err != nil {
		t.Errorf("Events = %d, %v; want none", n, err)
	}
	if _, err := Write(a, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := Events(uintptr(ep), events); n != 1 || err != nil || events[0].Fd != 7 || events[0].Events&syscall.EPOLLIN == 0 {
		t.Errorf("Events = %d, %v, %+v; want that of 7", n, err, events[0])
	}
}
