package inbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
)

// script is a connection that delivers one piece per Read, as far as there is room for
// it, and then fails.
type script struct {
	net.Conn
	pieces  [][]byte
	end     error  // nil: io.EOF
	packets bool   // bytes of a piece without room are lost
	before  func() // called by each Read
}

func (s *script) LocalAddr() net.Addr {
	if s.packets {
		return &net.UnixAddr{Net: "unixpacket"}
	}
	return &net.TCPAddr{}
}

func (s *script) Read(p []byte) (int, error) {
	if s.before != nil {
		s.before()
	}
	if len(s.pieces) == 0 {
		if s.end != nil {
			return 0, s.end
		}
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; len(s.pieces[0]) == 0 || s.packets {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

// split cuts b into pieces of n bytes.
func split(b []byte, n int) (pieces [][]byte) {
	for len(b) > 0 {
		n := min(n, len(b))
		pieces, b = append(pieces, b[:n]), b[n:]
	}
	return pieces
}

// pattern makes n bytes without a short period.
func pattern(n, seed int) []byte {
	b := make([]byte, n)
	x := uint32(seed)*2654435761 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

// readFrames reads frames of the given sizes from r and compares them.
func readFrames(t *testing.T, r *Reader, stream []byte, sizes ...int) {
	t.Helper()
	for i, size := range sizes {
		b, err := r.Peek(size)
		if err != nil || !bytes.Equal(b, stream[:size]) {
			t.Fatalf("frame %d: Peek(%d) = %d bytes, %v; equal: %v", i, size, len(b), err, bytes.Equal(b, stream[:len(b)]))
		}
		if n, err := r.Discard(size); n != size || err != nil {
			t.Fatalf("frame %d: Discard(%d) = %d, %v", i, size, n, err)
		}
		stream = stream[size:]
	}
	if len(stream) > 0 {
		return
	}
	if err := r.Wait(); err != io.EOF {
		t.Errorf("Wait() at the end = %v, want EOF", err)
	}
	if b, err := r.Peek(1); len(b) != 0 || err != io.EOF {
		t.Errorf("Peek(1) at the end = %d bytes, %v; want none, EOF", len(b), err)
	}
}

func TestFrames(t *testing.T) {
	for _, sizes := range [][]int{
		{1, 2, 3, 600, 600, 0, 600},
		{512, 513, 1024, 32 << 10, 32<<10 + 1, 10},
		{64 << 10, 64<<10 + 1, 5, 64<<10 + 1, 200_000, 600},
	} {
		total := 0
		for _, n := range sizes {
			total += n
		}
		stream := pattern(total, 1)
		for _, piece := range []int{1, 7, 512, 4096, 70_000, 1 << 20} {
			for _, buffer := range []int{1, 4096, 0, 128 << 10} {
				for _, packets := range []bool{false, true} {
					t.Run(fmt.Sprintf("%v/piece %d/buffer %d/packets %v", sizes[:2], piece, buffer, packets), func(t *testing.T) {
						size := piece
						if packets {
							size = min(size, packetRoom-1)
						}
						r := New(&script{pieces: split(stream, size), packets: packets}, Config{Buffer: buffer})
						defer r.Close()
						readFrames(t, r, stream, sizes...)
					})
				}
			}
		}
	}
}

// Small frames that arrive together lie in one array; none is copied.
func TestFramesInPlace(t *testing.T) {
	stream := pattern(6000, 2)
	r := New(&script{pieces: [][]byte{stream}}, Config{})
	defer r.Close()
	first, err := r.Peek(600)
	if err != nil {
		t.Fatal(err)
	}
	all := first[:6000:6000]
	for i := range 10 {
		b, err := r.Peek(600)
		if err != nil || &b[0] != &all[i*600] {
			t.Fatalf("frame %d: %v, or it lies elsewhere", i, err)
		}
		if r.Owned() {
			t.Errorf("frame %d is owned", i)
		}
		r.Discard(600)
	}
	if !bytes.Equal(all, stream) {
		t.Error("the frames have changed after their Discard")
	}
}

func TestCut(t *testing.T) {
	for _, frame := range []int{10, 3000, 66_000} {
		stream := pattern(frame, 3)
		step := max(1, frame/101)
		for have := 0; have < frame; have += step {
			for _, end := range []error{nil, os.ErrDeadlineExceeded, io.ErrClosedPipe} {
				want := end
				switch {
				case end == nil && have == 0:
					want = io.EOF
				case end == nil:
					want = io.ErrUnexpectedEOF
				}
				t.Run(fmt.Sprintf("%d of %d/%v", have, frame, end), func(t *testing.T) {
					r := New(&script{pieces: split(stream[:have], 999), end: end}, Config{Buffer: 1024})
					defer r.Close()
					b, err := r.Peek(frame)
					if err != want || !bytes.Equal(b, stream[:have]) {
						t.Errorf("Peek(%d) = %d bytes, %v; want %d, %v", frame, len(b), err, have, want)
					}
					if r.Owned() {
						t.Error("a frame that is not whole is owned")
					}
					if n, err := r.Discard(frame); n != have || err != want {
						t.Errorf("Discard(%d) = %d, %v; want %d, %v", frame, n, err, have, want)
					}
				})
			}
		}
	}
}

// A read deadline in the middle of a frame loses no byte.
func TestGoOnAfterDeadline(t *testing.T) {
	for _, frame := range []int{3000, 200_000} {
		stream := pattern(frame, 4)
		s := &script{end: os.ErrDeadlineExceeded}
		r := New(s, Config{Buffer: 1024})
		for i, piece := range split(stream, frame/7) {
			if _, err := r.Peek(frame); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("piece %d: Peek = %v, want the deadline", i, err)
			}
			s.pieces = [][]byte{piece}
		}
		readFrames(t, r, append(stream, 0), frame)
		r.Close()
	}
}

// dataErr delivers all its bytes together with an error, then io.EOF.
type dataErr struct {
	script
	bytes []byte
	err   error
}

func (d *dataErr) Read(p []byte) (int, error) {
	n, err := copy(p, d.bytes), d.err
	d.bytes, d.err = nil, io.EOF
	return n, err
}

// Bytes that a Read returns together with an error are delivered before the error, which
// is not lost.
func TestBytesWithError(t *testing.T) {
	stream := pattern(3000, 5)
	r := New(&dataErr{bytes: stream, err: io.ErrClosedPipe}, Config{Buffer: 4096})
	defer r.Close()
	for pos := 0; pos < 3000; pos += 1000 {
		if b, err := r.Peek(1000); err != nil || !bytes.Equal(b, stream[pos:pos+1000]) {
			t.Fatalf("Peek at %d = %d bytes, %v", pos, len(b), err)
		}
		r.Discard(1000)
	}
	if err := r.Wait(); err != io.ErrClosedPipe {
		t.Errorf("Wait() after the bytes = %v, want %v", err, io.ErrClosedPipe)
	}
	if err := r.Wait(); err != io.EOF {
		t.Errorf("next Wait() = %v, want EOF", err)
	}
}

// A buffer that has grown for a frame is dropped after it.
func TestGrownBufferGoes(t *testing.T) {
	s := &script{pieces: split(pattern(90_000, 13), 10_000)}
	r := New(s, Config{Buffer: 4096})
	defer r.Close()
	if _, err := r.Peek(60_000); err != nil {
		t.Fatal(err)
	}
	r.Discard(r.Buffered() - 100)
	s.before = func() {
		if got := cap(r.buf); r.Buffered() == 100 && got != 4096 {
			t.Errorf("a buffer of %d bytes with 100 bytes left, want 4096", got)
		}
	}
	if _, err := r.Peek(600); err != nil {
		t.Fatal(err)
	}
	r.Discard(r.Buffered())
	s.before = func() {
		if r.buf != nil {
			t.Errorf("a buffer of %d bytes while the caller's buffer is filled", cap(r.buf))
		}
	}
	if _, err := r.Read(make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
}

// A buffer that has grown for a frame is dropped when nothing is left in it.
func TestGrownBufferGoesEmpty(t *testing.T) {
	r := New(&script{pieces: split(pattern(70_000, 13), 10_000)}, Config{Buffer: 4096})
	defer r.Close()
	if _, err := r.Peek(60_000); err != nil {
		t.Fatal(err)
	}
	r.Discard(r.Buffered())
	if _, err := r.Peek(1); err != nil || cap(r.buf) != 4096 {
		t.Errorf("Peek: %v, into a buffer of %d bytes; want 4096", err, cap(r.buf))
	}
}

func TestNegative(t *testing.T) {
	r := New(&script{}, Config{})
	if _, err := r.Peek(-1); err != bufio.ErrNegativeCount {
		t.Errorf("Peek(-1) = %v", err)
	}
	if _, err := r.Discard(-1); err != bufio.ErrNegativeCount {
		t.Errorf("Discard(-1) = %v", err)
	}
}

type noProgress struct{ script }

func (*noProgress) Read([]byte) (int, error) { return 0, nil }

func TestNoProgress(t *testing.T) {
	if err := New(&noProgress{}, Config{}).Wait(); err != io.ErrNoProgress {
		t.Errorf("Wait() = %v, want %v", err, io.ErrNoProgress)
	}
}

func TestRead(t *testing.T) {
	stream := pattern(300_000, 6)
	for _, packets := range []bool{false, true} {
		for _, room := range []int{1, 100, 5000, 100_000} {
			t.Run(fmt.Sprintf("packets %v/%d", packets, room), func(t *testing.T) {
				r := New(&script{pieces: split(stream, 70_000), packets: packets}, Config{Buffer: 4096})
				defer r.Close()
				if _, err := r.Peek(80_000); err != nil { // part of it comes from a big frame's buffer
					t.Fatal(err)
				}
				var got []byte
				p := make([]byte, room)
				for {
					n, err := r.Read(p)
					got = append(got, p[:n]...)
					if err == io.EOF {
						break
					}
					if err != nil || n == 0 {
						t.Fatalf("Read = %d, %v", n, err)
					}
				}
				if !bytes.Equal(got, stream) {
					t.Errorf("read %d bytes, want the %d that were sent", len(got), len(stream))
				}
			})
		}
	}
	if n, err := New(&script{}, Config{}).Read(nil); n != 0 || err != nil {
		t.Errorf("Read(nil) = %d, %v", n, err)
	}
}

func TestRest(t *testing.T) {
	for _, test := range []struct {
		name                string
		sent, peek, discard int
	}{
		{"nothing", 0, 0, 0},
		{"small", 1000, 10, 10},
		{"all consumed", 1000, 1000, 1000},
		{"half of a large frame", 100_000, 200_000, 0},
		{"large frame and a part discarded", 100_000, 90_000, 5},
	} {
		for _, packets := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/packets %v", test.name, packets), func(t *testing.T) {
				stream := pattern(test.sent, 7)
				s := &script{pieces: split(stream, 30_000), end: os.ErrDeadlineExceeded, packets: packets}
				r := New(s, Config{})
				defer r.Close()
				r.Peek(test.peek)
				r.Discard(test.discard)
				buffered := r.Buffered()
				got := r.TakeBuffered()
				if len(got) != buffered || !bytes.HasPrefix(stream[test.discard:], got) {
					t.Errorf("TakeBuffered() = %d bytes, want the %d buffered ones", len(got), buffered)
				}
				if r.Buffered() != 0 || r.TakeBuffered() != nil {
					t.Errorf("%d bytes buffered after TakeBuffered", r.Buffered())
				}
				if test.sent > 0 && len(got)+test.discard < min(test.peek, test.sent) {
					t.Errorf("TakeBuffered() = %d bytes, want at least those of Peek", len(got))
				}
			})
		}
	}
}

func TestClose(t *testing.T) {
	for _, sent := range []int{0, 100, 100_000} {
		m := NewMemory(1 << 30)
		r := New(&script{pieces: split(pattern(sent, 8), 4096), end: os.ErrDeadlineExceeded}, Config{Memory: m})
		r.Peek(200_000)
		r.Close()
		r.Close()
		if r.buf != nil || r.big != nil || m.Used() != 0 {
			t.Errorf("%d bytes sent: buffers stay after Close, %d bytes accounted", sent, m.Used())
		}
		if _, err := r.Peek(1); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Peek after Close = %v, want %v", err, net.ErrClosed)
		}
	}
}

// What Unread puts back comes first, however much it is.
func TestUnread(t *testing.T) {
	for _, n := range []int{0, 1, 600, 32 << 10, 50_000, 300_000} {
		for _, packets := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d/packets %v", n, packets), func(t *testing.T) {
				stream := pattern(n+200_000, 8)
				r := New(&script{pieces: split(stream[n:], 30_000), packets: packets}, Config{})
				defer r.Close()
				before := stream[:n:n]
				r.Unread(before)
				if r.Buffered() != n {
					t.Errorf("Buffered() = %d, want %d", r.Buffered(), n)
				}
				readFrames(t, r, stream, 500, 70_000, 500, len(stream)-71_000)
			})
		}
	}
}
