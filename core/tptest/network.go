package tptest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// RunNetwork checks that connections of a kind do what the engine needs. listen makes
// a listener on a free address, and dial connects to the listener's Addr, as text. Both
// are called many times, and RunNetwork closes their results.
//
// It uses the real clock. Neither the test nor its subtests may run in parallel to
// others.
func RunNetwork(t *testing.T, dial func(ctx context.Context, addr string) (net.Conn, error), listen func() (net.Listener, error), opts ...Option) {
	runChecks(t, newNetworkSuite(dial, listen, opts), networkChecks)
}

// netUnderTest holds the arguments of RunNetwork.
type netUnderTest struct {
	dial   func(ctx context.Context, addr string) (net.Conn, error)
	listen func() (net.Listener, error)
}

func newNetworkSuite(dial func(ctx context.Context, addr string) (net.Conn, error), listen func() (net.Listener, error), opts []Option) *suite {
	s := newSuite(opts)
	s.net = &netUnderTest{dial, listen}
	return s
}

var networkChecks = []check{
	{"both ways", "bytes go both ways", true, checkBothWays},
	{"addresses", "connections and listeners have addresses; that of the listener can be dialled", true, checkAddresses},
	{"transfer", "megabytes go both ways at once, whole and in order", true, checkTransfer},
	{"small reads", "a read may be smaller than the write", true, checkSmallReads},
	{"silent", "a connection is accepted, and carries bytes to the end that has dialled, although that sends nothing", true, checkSilent},
	{"many", "many connections of a listener do not affect each other", true, checkMany},
	{"writes", "concurrent writes are sent one after the other, whole", true, checkWrites},
	{"read deadline", "a read ends at its deadline, and can be tried again", true, checkReadDeadline},
	{"write deadline", "a write that makes no progress ends at its deadline", true, checkWriteDeadline},
	{"close", "Close ends a Read of its own end", true, checkConnClose},
	{"end", "bytes written before Close arrive, then io.EOF", true, checkEnd},
	{"half close", "after CloseWrite, if there is one, the other direction still works", true, checkHalfClose},
	{"accept", "closing the listener ends Accept with net.ErrClosed", true, checkAccept},
	{"dial", "Dial ends with its context", true, checkDial},
	{"peers", "peers call and push over it, by Dial and by ServeConn, and leave no goroutine", true, checkPeers},
}

const (
	packetSize = 16 << 10 // most bytes of a write without Stream
	readRoom   = 64 << 10
	shortly    = 50 * time.Millisecond // time until deadlines
)

// listener makes a listener that is closed at the end of the check.
func (s *suite) listener(r *recorder) net.Listener {
	lis, err := s.net.listen()
	if err != nil {
		r.Fatalf("listen: %v", err)
	}
	r.Cleanup(func() { lis.Close() })
	return lis
}

// conns makes a connection; both ends are closed at the end of the check.
func (s *suite) conns(r *recorder) (dialed, accepted net.Conn) { return s.connsOf(r, s.listener(r)) }

func (s *suite) connsOf(r *recorder, lis net.Listener) (dialed, accepted net.Conn) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := lis.Accept()
		if conn != nil {
			r.Cleanup(func() { conn.Close() })
			// Some networks accept a connection only once the client has sent bytes.
			_, err = io.ReadFull(conn, make([]byte, 1))
		}
		done <- result{conn, err}
	}()
	ctx, cancel := context.WithTimeout(r.Context(), r.patient)
	defer cancel()
	dialed, err := s.net.dial(ctx, lis.Addr().String())
	if err != nil {
		r.Fatalf("dial %s: %v", lis.Addr(), err)
	}
	r.Cleanup(func() { dialed.Close() })
	if _, err := dialed.Write([]byte{1}); err != nil {
		r.Fatalf("write: %v", err)
	}
	got := receive(r, done, "the accepted connection with its first byte")
	if got.err != nil {
		r.Fatalf("accept: %v", got.err)
	}
	return dialed, got.conn
}

// send writes b, in pieces if the network has packets.
func (s *suite) send(c net.Conn, b []byte) error {
	for len(b) > 0 {
		n := len(b)
		if s.without[Stream] {
			n = min(n, packetSize)
		}
		m, err := c.Write(b[:n])
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if m != n {
			return fmt.Errorf("write of %d bytes = %d without an error", n, m)
		}
		b = b[n:]
	}
	return nil
}

// expect reads len(want) bytes and compares.
func (s *suite) expect(c net.Conn, want []byte) error {
	got := make([]byte, 0, len(want))
	room := make([]byte, readRoom)
	for len(got) < len(want) {
		n, err := c.Read(room)
		got = append(got, room[:n]...)
		if err != nil && len(got) < len(want) {
			return fmt.Errorf("read: %w after %d of %d bytes", err, len(got), len(want))
		}
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("read %s; want %s", brief(string(got)), brief(string(want)))
	}
	return nil
}

func checkBothWays(r *recorder, s *suite) {
	LeakCheck(r)
	a, b := s.conns(r)
	for i := range 3 {
		s.pass(r, a, b, fmt.Sprintf("there %d", i))
		s.pass(r, b, a, fmt.Sprintf("and back %d", i))
	}
}

// pass sends text from a to b.
func (s *suite) pass(r *recorder, a, b net.Conn, text string) {
	if err := s.send(a, []byte(text)); err != nil {
		r.Errorf("%v", err)
	} else if err := s.expect(b, []byte(text)); err != nil {
		r.Errorf("%v", err)
	}
}

func checkAddresses(r *recorder, s *suite) {
	lis := s.listener(r)
	if lis.Addr() == nil {
		r.Fatalf("the listener has no address")
	}
	a, b := s.connsOf(r, lis)
	for _, x := range []struct {
		what string
		addr net.Addr
	}{
		{"dialled connection: LocalAddr", a.LocalAddr()},
		{"dialled connection: RemoteAddr", a.RemoteAddr()},
		{"accepted connection: LocalAddr", b.LocalAddr()},
		{"accepted connection: RemoteAddr", b.RemoteAddr()},
	} {
		if x.addr == nil {
			r.Errorf("%s is nil", x.what)
		} else if x.addr.Network() == "" {
			r.Errorf("%s: Network is empty", x.what)
		}
	}
}

func checkTransfer(r *recorder, s *suite) {
	LeakCheck(r)
	a, b := s.conns(r)
	data := make([]byte, 4<<20)
	for i := range len(data) / sha256.Size {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		copy(data[i*sha256.Size:], sum[:])
	}
	var wg sync.WaitGroup
	for _, c := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			if err := s.send(c[0], data); err != nil {
				r.Errorf("%v", err)
			}
		})
		wg.Go(func() {
			if err := s.expect(c[1], data); err != nil {
				r.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
}

func checkSmallReads(r *recorder, s *suite) {
	if s.without[Stream] {
		return
	}
	a, b := s.conns(r)
	text := long(3000)
	if err := s.send(a, []byte(text)); err != nil {
		r.Fatalf("%v", err)
	}
	for i := range len(text) {
		var p [1]byte
		if n, err := b.Read(p[:]); n != 1 || err != nil || p[0] != text[i] {
			r.Fatalf("Read of byte %d = %d, %v, %q; want %q", i, n, err, p[0], text[i])
		}
	}
}

func checkSilent(r *recorder, s *suite) {
	if s.without[Silent] {
		return
	}
	LeakCheck(r)
	lis := s.listener(r)
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, err := lis.Accept()
		if err != nil {
			return
		}
		r.Cleanup(func() { conn.Close() })
		accepted <- conn
	}()
	ctx, cancel := context.WithTimeout(r.Context(), r.patient)
	defer cancel()
	dialed, err := s.net.dial(ctx, lis.Addr().String())
	if err != nil {
		r.Fatalf("dial %s: %v", lis.Addr(), err)
	}
	r.Cleanup(func() { dialed.Close() })
	s.pass(r, receive(r, accepted, "a connection whose dialling end sends nothing"), dialed, "you have said nothing")
}

func checkMany(r *recorder, s *suite) {
	LeakCheck(r)
	lis := s.listener(r)
	var wg sync.WaitGroup
	for i := range 20 {
		a, b := s.connsOf(r, lis)
		wg.Go(func() {
			for j := range 10 {
				s.pass(r, a, b, fmt.Sprintf("%d.%d", i, j))
				s.pass(r, b, a, fmt.Sprintf("%d.%d", j, i))
			}
		})
	}
	wg.Wait()
}

func checkWrites(r *recorder, s *suite) {
	LeakCheck(r)
	a, b := s.conns(r)
	const writers, each, size = 8, 50, 500
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			p := bytes.Repeat([]byte{byte('a' + i)}, size)
			for range each {
				if err := s.send(a, p); err != nil {
					r.Errorf("%v", err)
					return
				}
			}
		})
	}
	var all []byte
	room := make([]byte, readRoom)
	for len(all) < writers*each*size {
		n, err := b.Read(room)
		all = append(all, room[:n]...)
		if err != nil {
			r.Fatalf("read: %v after %d bytes", err, len(all))
		}
	}
	wg.Wait()
	for p := range slices.Chunk(all, size) {
		if !bytes.Equal(p, bytes.Repeat(p[:1], size)) {
			r.Fatalf("two writes were mixed: %s", brief(string(p)))
		}
	}
}

func checkReadDeadline(r *recorder, s *suite) {
	if s.without[Deadlines] {
		return
	}
	LeakCheck(r)
	a, b := s.conns(r)
	room := make([]byte, readRoom)
	timedOut := func(when string) {
		n, err := b.Read(room)
		var ne net.Error
		if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			r.Errorf("Read %s = %d, %v; want a net.Error that is os.ErrDeadlineExceeded and a time-out", when, n, err)
		}
	}
	must := func(err error) {
		if err != nil {
			r.Fatalf("set deadline: %v", err)
		}
	}
	must(b.SetReadDeadline(time.Unix(1, 0)))
	timedOut("after its deadline")
	must(b.SetReadDeadline(time.Now().Add(shortly)))
	timedOut("until its deadline")
	must(b.SetReadDeadline(time.Time{}))
	s.pass(r, a, b, "after a time-out")

	done := make(chan struct{})
	reading := make(chan struct{})
	go func() {
		defer close(done)
		close(reading)
		timedOut("that is waiting when the deadline is set")
	}()
	<-reading
	must(b.SetDeadline(time.Now().Add(shortly)))
	receive(r, done, "the end of a Read whose deadline was set while it waited")
	must(b.SetDeadline(time.Time{}))
	s.pass(r, a, b, "after a time-out")
	s.pass(r, b, a, "and back")
}

func checkWriteDeadline(r *recorder, s *suite) {
	if s.without[Deadlines] {
		return
	}
	a, _ := s.conns(r)
	if err := a.SetWriteDeadline(time.Now().Add(shortly)); err != nil {
		r.Fatalf("set deadline: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		p := make([]byte, packetSize)
		for { // the other end does not read, so the buffers become full
			if _, err := a.Write(p); err != nil {
				done <- err
				return
			}
		}
	}()
	if err := receive(r, done, "the end of a Write to an end that does not read, at its deadline,"); !errors.Is(err, os.ErrDeadlineExceeded) {
		r.Errorf("Write at its deadline: %v; want os.ErrDeadlineExceeded", err)
	}
}
