//go:build unix

package inherit

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asLine returns this side of a line of which a child would get the descriptor.
func asLine(t *testing.T, l *Line) *Line {
	t.Helper()
	end, err := l.extend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fd := fdOf(t, end)
	end.Close()
	line, err := openLine(fd, olderProcess)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { line.Close() })
	return line
}

// A process gives its child a line of its own to the process before, and so on; each takes
// offers, also when those that it was made by have ended.
func TestExtendLine(t *testing.T) {
	near, far := lines(t)
	taken := make(chan net.Conn, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- far.Adopt(withLines(func(_, _ []byte, conn net.Conn) (func(bool), error) {
			return func(bool) { taken <- conn }, nil
		}))
	}()
	second := asLine(t, near)
	third := asLine(t, second)
	_, conn := tcpPair(t)
	offer := func(l *Line) {
		t.Helper()
		if err := l.Offer(t.Context(), []byte("x"), nil, conn, yes); err != nil {
			t.Fatal(err)
		}
		got := <-taken
		if got.RemoteAddr().String() != conn.RemoteAddr().String() {
			t.Errorf("the connection of %v has crossed; want that of %v", got.RemoteAddr(), conn.RemoteAddr())
		}
		got.Close()
	}
	for _, l := range []*Line{near, second, third} {
		offer(l)
	}
	near.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	offer(second)
	second.Close()
	offer(third)
	fourth := asLine(t, third)
	third.Close()
	offer(fourth)
}

// What is offered as a line must be one, and is closed if it is taken back.
func TestLineOffered(t *testing.T) {
	adopt := withLines(func(_, _ []byte, _ net.Conn) (func(bool), error) { return nil, errors.New("no line") })
	if _, err := adopt([]byte("x"), nil, nil); err == nil || err.Error() != "no line" {
		t.Errorf("another offer: %v", err)
	}
	_, tcp := tcpPair(t)
	for _, conn := range []net.Conn{nil, tcp} {
		if _, err := adopt(lineHead, nil, conn); err == nil || !strings.Contains(err.Error(), "a line is a unix socket") {
			t.Errorf("a line that is a %T: %v", conn, err)
		}
	}
	if err := tcp.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a connection that is no line is open: %v", err)
	}
	near, far := lines(t)
	settle, err := adopt(lineHead, nil, far.conn)
	if err != nil {
		t.Fatal(err)
	}
	settle(false)
	if _, err := near.conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a line that was taken back: %v; want its end", err)
	}
}

// An older version of this program refuses lines, and the line that they are offered over goes on.
func TestExtendRefused(t *testing.T) {
	near, far := lines(t)
	go far.Adopt(func(head, _ []byte, conn net.Conn) (func(bool), error) {
		if string(head) != "x" {
			conn.Close()
			return nil, errors.New("its record cannot be read")
		}
		return func(bool) { conn.Close() }, nil
	})
	if end, err := near.extend(t.Context()); !errors.Is(err, ErrRefused) {
		t.Errorf("extend = %v, %v; want that it is refused", end, err)
	}
	_, conn := tcpPair(t)
	if err := near.Offer(context.Background(), []byte("x"), nil, conn, yes); err != nil {
		t.Error(err)
	}
}

// The process at the other end ends before it has answered.
func TestExtendToAProcessThatEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(far *Line)
	}{
		{"before the offer", func(far *Line) { far.conn.Close() }},
		{"with the offer unread", func(far *Line) {
			raw, err := far.conn.SyscallConn()
			if err == nil {
				err = raw.Read(func(fd uintptr) bool { // until there is something
					_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
					return err == nil
				})
			}
			if err != nil {
				t.Error(err)
			}
			far.conn.Close()
		}},
		{"with the offer read", func(far *Line) {
			if _, err := far.conn.Read(make([]byte, 100)); err != nil {
				t.Error(err)
			}
			far.conn.Close()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			near, far := lines(t)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				test.end(far)
			}()
			if test.name == "before the offer" {
				<-ended
			}
			if _, err := near.extend(t.Context()); !isEnd(err) {
				t.Errorf("extend: %v; want that the process has ended", err)
			}
			<-ended
		})
	}
}

// A line lives as long as the process at its other end, whatever has come over it.
func TestLineLives(t *testing.T) {
	near, far := lines(t)
	if !near.lives() {
		t.Error("a new line has ended")
	}
	if _, err := far.conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if !near.lives() {
		t.Error("a line with something unread has ended")
	}
	if _, err := near.conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	far.Close()
	if near.lives() {
		t.Error("a line lives whose other end is closed")
	}
	near.Close()
	if near.lives() {
		t.Error("a closed line lives")
	}
}
