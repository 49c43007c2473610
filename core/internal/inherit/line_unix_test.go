//go:build unix

package inherit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tcpPair returns both ends of a connection.
func tcpPair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	if near, err = net.Dial("tcp", lis.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = lis.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func lines(t testing.TB) (near, far *Line) {
	t.Helper()
	near, far, err := NewLines()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func yes() bool { return true }

// Connections cross with their descriptors, their state and their unread bytes, and live on
// in the new process when the old one has closed its own.
func TestLine(t *testing.T) {
	near, far := lines(t)
	type taken struct {
		head, rest string
		conn       net.Conn
	}
	got := make(chan taken, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- far.Adopt(func(head, rest []byte, conn net.Conn) (func(bool), error) {
			if string(head) == "no" {
				conn.Close()
				return nil, errors.New("it is not wanted")
			}
			return func(mine bool) {
				if !mine {
					conn.Close()
					return
				}
				got <- taken{string(head), string(rest), conn}
			}, nil
		})
	}()
	over, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	for range 3 {
		client, server := tcpPair(t)
		if err := near.Offer(over, []byte("yes"), nil, server, yes); !errors.Is(err, ErrNotReady) {
			t.Fatalf("an offer whose time is over: %v", err)
		}
		large := strings.Repeat("x", 500_000)
		if err := near.Offer(t.Context(), []byte("no"), nil, server, yes); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "it is not wanted") {
			t.Fatalf("a refused offer: %v", err)
		}
		if err := near.Offer(t.Context(), []byte("yes"), nil, server, func() bool { return false }); err != ErrNotReady {
			t.Fatalf("an offer that is taken back: %v", err)
		}
		if err := near.Offer(t.Context(), []byte("yes"), []byte(large), server, yes); err != nil {
			t.Fatal(err)
		}
		server.Close()
		x := <-got
		if x.head != "yes" || x.rest != large {
			t.Errorf("%q and %d bytes have crossed; want yes, and %d", x.head, len(x.rest), len(large))
		}
		if _, err := x.conn.Write([]byte("hi")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2)
		if _, err := io.ReadFull(client, b); err != nil || string(b) != "hi" {
			t.Errorf("the client reads %q, %v", b, err)
		}
		x.conn.Close()
		if _, err := client.Read(b); err != io.EOF {
			t.Errorf("the client reads %v after the end; want EOF", err)
		}
	}
	_, server := tcpPair(t)
	for _, test := range []struct{ head, rest int }{{MaxHead + 1, 0}, {0, MaxRest + 1}} {
		err := near.Offer(t.Context(), make([]byte, test.head), make([]byte, test.rest), server, yes)
		if !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "over the limit") {
			t.Errorf("an offer of %d and %d bytes: %v; want that it is over the limit", test.head, test.rest, err)
		}
	}
	near.Close()
	if err := <-ended; err != nil {
		t.Errorf("Adopt returns %v at the end", err)
	}
}

// due is a context with a deadline, at which it does not end: an offer is made also by a
// goroutine that is late.
type due struct {
	context.Context
	at time.Time
}

func (d due) Deadline() (at time.Time, ok bool) { return d.at, true }

// Whatever the other process answers, or does not, the offer ends, the connection is this
// process's, and there are no further ones.
func TestHostileChild(t *testing.T) {
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	for _, test := range []struct {
		name   string
		answer []byte
		hangUp bool
		want   string
	}{
		{"garbage", []byte("HTTP/1.1 200 OK\r\n"), false, "is for connection"},
		{"another kind", append([]byte("?"), number(1)...), false, "neither accepts nor refuses"},
		{"another connection", append([]byte{saysYes}, number(2)...), false, "is for connection 2, not 1"},
		{"a long refusal", append(append([]byte{saysNo}, number(1)...), 0xff, 0xff), false, "a text of 65535 bytes is over the limit"},
		{"hangs up", nil, true, "EOF"},
		{"hangs up in its answer", []byte{saysYes, 0, 0}, true, "EOF"},
		{"no answer", nil, false, "timeout"},
		{"half an answer", []byte{saysYes, 0, 0}, false, "timeout"},
	} {
		t.Run(test.name, func(t *testing.T) {
			near, far := lines(t)
			client, server := tcpPair(t)
			if _, err := far.conn.Write(test.answer); err != nil {
				t.Fatal(err)
			}
			if test.hangUp {
				far.conn.CloseWrite()
			}
			asked := false
			ctx := t.Context()
			if test.want == "timeout" {
				ctx = due{ctx, time.Now().Add(100 * time.Millisecond)}
			}
			err := near.Offer(ctx, []byte("x"), nil, server, func() bool { asked = true; return true })
			if err == nil || !strings.Contains(err.Error(), test.want) || asked {
				t.Errorf("Offer = %v, ready was asked: %v; want %q", err, asked, test.want)
			}
			if err := near.Offer(t.Context(), []byte("x"), nil, server, yes); err == nil || !strings.Contains(err.Error(), "cannot be given connections") {
				t.Errorf("the next Offer = %v; want that the line has ended", err)
			}
			if _, err := server.Write([]byte("hi")); err != nil {
				t.Fatalf("the connection does not work any more: %v", err)
			}
			if _, err := io.ReadFull(client, make([]byte, 2)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// An error names the process at the other end of the line, in both directions.
func TestErrorsNameTheOtherSide(t *testing.T) {
	for _, test := range []struct {
		name          string
		ends          func(near, far *Line) (offers, adopts *Line)
		refused, says string
	}{
		{"to the new process", func(near, far *Line) (_, _ *Line) { return near, far }, "refused by the new process: no", "the old process says"},
		{"back to the old process", func(near, far *Line) (_, _ *Line) { return far, near }, "refused by the old process: no", "the new process says"},
	} {
		t.Run(test.name, func(t *testing.T) {
			offers, adopts := test.ends(lines(t))
			ended := make(chan error, 1)
			go func() {
				ended <- adopts.Adopt(func(_, _ []byte, _ net.Conn) (func(bool), error) { return nil, errors.New("no") })
			}()
			if err := offers.Offer(t.Context(), nil, nil, nil, yes); !errors.Is(err, ErrRefused) || err.Error() != test.refused {
				t.Errorf("Offer = %v; want %q", err, test.refused)
			}
			if err := offers.say('?', 0); err != nil {
				t.Fatal(err)
			}
			if _, err := offers.conn.Write(make([]byte, 8)); err != nil { // an offer has 17 bytes
				t.Fatal(err)
			}
			if err := <-ended; err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("Adopt = %v; want %q", err, test.says)
			}
		})
	}
}

// A child knows which of its lines is to its parent, and which to an older process.
func TestLinesOfAChild(t *testing.T) {
	var fds []int
	for range 3 {
		line, end, err := newLine()
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fdOf(t, end))
		end.Close()
		line.Close() // offers over it fail
	}
	var child takeover
	child.adopt(fmt.Sprintf(`{"line": %d, "back": %d, "older": [%d]}`, fds[0], fds[1], fds[2]))
	t.Cleanup(func() { child.line.Close() })
	for i, want := range []string{"the old process cannot be given connections", "an older process cannot be given connections"} {
		if err := child.backs[i].Offer(t.Context(), nil, nil, nil, yes); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("line %d: Offer = %v; want %q", i, err, want)
		}
	}
	if child.line.other != oldProcess {
		t.Errorf("the line over which connections come is to %s; want %s", child.line.other, oldProcess)
	}
}

// A process that may not open more files says so, and the next offer finds it as before.
func TestOfferWithoutDescriptor(t *testing.T) {
	near, far := lines(t)
	ended := make(chan error, 1)
	go func() {
		ended <- far.Adopt(func(_, _ []byte, conn net.Conn) (func(bool), error) {
			if conn == nil {
				return nil, errors.New("no descriptor")
			}
			conn.Close()
			return func(bool) {}, nil
		})
	}()
	if err := near.Offer(t.Context(), []byte("x"), nil, nil, yes); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "no descriptor") {
		t.Errorf("an offer without a descriptor: %v", err)
	}
	_, server := tcpPair(t)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = 3 // less than is open
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	err := near.Offer(t.Context(), []byte("x"), nil, server, yes)
	if err2 := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err2 != nil {
		t.Fatal(err2)
	}
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "no descriptor") {
		t.Errorf("Offer = %v; want that no descriptor has arrived", err)
	}
	if err := near.Offer(t.Context(), []byte("x"), nil, server, yes); err != nil {
		t.Errorf("the next offer: %v", err)
	}
	near.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What the old process says is read with bounds, whatever it is.
func FuzzOffer(f *testing.F) {
	good := append([]byte{saysOffer}, binary.BigEndian.AppendUint64(nil, 1)...)
	good = binary.BigEndian.AppendUint32(good, 2)
	good = binary.BigEndian.AppendUint32(good, 3)
	f.Add(append(good, "abcde"...))
	f.Add(good)
	f.Add([]byte("garbage"))
	f.Add(append(good[:9:9], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, b []byte) {
		near, far := lines(t)
		go func() {
			near.conn.Write(b)
			near.conn.CloseWrite()
			io.Copy(io.Discard, near.conn)
		}()
		err := far.Adopt(func(head, rest []byte, conn net.Conn) (func(bool), error) {
			if conn != nil {
				t.Error("a connection was adopted, and none was sent")
			}
			return func(bool) {}, nil
		})
		if err == nil && len(b) > 0 && b[0] != saysOffer {
			t.Errorf("%q is no error", b)
		}
	})
}
