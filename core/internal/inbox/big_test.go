package inbox

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// Frames over 64 KiB belong to the caller after the Discard: the Reader never writes into
// them again.
func TestOwnedStays(t *testing.T) {
	for _, packets := range []bool{false, true} {
		t.Run(fmt.Sprintf("packets %v", packets), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, 2))
			var stream []byte
			var sizes []int
			for i := range 60 {
				n := 1 + rnd.IntN(3000)
				if i%3 == 0 {
					n = 64<<10 + rnd.IntN(200_000)
				}
				sizes = append(sizes, n)
			}
			total := 0
			for _, n := range sizes {
				total += n
			}
			stream = pattern(total, 9)
			var pieces [][]byte
			for rest := stream; len(rest) > 0; {
				n := min(len(rest), 1+rnd.IntN(100_000))
				pieces, rest = append(pieces, rest[:n]), rest[n:]
			}
			r := New(&script{pieces: pieces, packets: packets}, Config{})
			defer r.Close()
			type kept struct{ got, want []byte }
			var all []kept
			for i, n := range sizes {
				b, err := r.Peek(n)
				if err != nil {
					t.Fatalf("frame %d: %v", i, err)
				}
				if n > bigFrame && !packets && !r.Owned() || n <= bigFrame && r.Owned() {
					t.Errorf("frame %d of %d bytes: Owned() = %v", i, n, r.Owned())
				}
				if r.Owned() {
					all = append(all, kept{b, stream[:n]})
				}
				r.Discard(n)
				stream = stream[n:]
			}
			if len(all) == 0 {
				t.Error("no frame was owned")
			}
			for i, k := range all {
				if !bytes.Equal(k.got, k.want) {
					t.Errorf("owned frame %d has changed", i)
				}
			}
		})
	}
}

// Nothing is read beyond a large frame, so its buffer holds nothing of the next.
func TestBigEndsWithItsFrame(t *testing.T) {
	stream := pattern(300_000, 10)
	r := New(&script{pieces: [][]byte{stream[:4], stream[4:]}}, Config{})
	defer r.Close()
	if _, err := r.Peek(4); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Peek(100_000); err != nil {
		t.Fatal(err)
	}
	if got := r.Buffered(); got != 100_000 {
		t.Errorf("%d bytes buffered, want the frame's 100000", got)
	}
}

// hooked calls before on the reader's goroutine, before each Read.
type hooked struct {
	net.Conn
	before func()
}

func (h *hooked) Read(p []byte) (int, error) {
	h.before()
	return h.Conn.Read(p)
}

// However large a frame is announced, its memory is at most four times the bytes that have
// arrived, or the usual buffer.
func TestGrowth(t *testing.T) {
	const claimed = 64 << 20
	for _, test := range []struct{ buffer, piece, sent, frame int }{
		{512, 100, 60_000, 60_000},
		{512, 777, 300_000, claimed},
		{32 << 10, 5000, 300_000, claimed},
		{32 << 10, 5000, 300_000, 300_000 - 100},
		{32 << 10, 32 << 10, 3 << 20, claimed},
		{32 << 10, 50_001, 3 << 20, 3<<20 - 1},
		{128 << 10, 50_001, 1 << 20, claimed},
	} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			near, far := net.Pipe()
			defer near.Close()
			stream := pattern(test.sent, 11)
			go func() {
				defer far.Close()
				for _, p := range split(stream, test.piece) {
					if _, err := far.Write(p); err != nil {
						return
					}
				}
			}()
			m := NewMemory(0)
			h := &hooked{Conn: near}
			r := New(h, Config{Buffer: test.buffer, Memory: m})
			defer r.Close()
			most := 0
			h.before = func() {
				arrived := r.Buffered()
				most = max(most, arrived)
				if got, limit := cap(r.big)+cap(r.buf), max(test.buffer, wholeFrom*arrived); got > limit {
					t.Errorf("%d bytes of buffers with %d arrived", got, arrived)
				}
				if m.Used() != int64(cap(r.big)) {
					t.Errorf("%d bytes accounted, the frame's buffer has %d", m.Used(), cap(r.big))
				}
			}
			b, err := r.Peek(test.frame)
			if want := min(test.frame, test.sent); len(b) != want || !bytes.Equal(b, stream[:want]) {
				t.Errorf("Peek = %d bytes, %v; want %d", len(b), err, want)
			}
			if test.frame > test.sent && err != io.ErrUnexpectedEOF {
				t.Errorf("Peek = %v, want %v", err, io.ErrUnexpectedEOF)
			}
			if most == 0 {
				t.Error("nothing was measured")
			}
		})
	}
}

// A caller that discards a large frame in parts, or peeks beyond the frame, gets the
// stream unchanged.
func TestBigInParts(t *testing.T) {
	stream := pattern(600_000, 12)
	for _, packets := range []bool{false, true} {
		for _, step := range [][2]int{ // Peek, Discard
			{100_000, 10}, {100_000, 70_000}, {100_000, 99_990}, {70_000, 69_999}, {150_000, 100_000},
		} {
			t.Run(fmt.Sprintf("%v/packets %v", step, packets), func(t *testing.T) {
				m := NewMemory(0)
				r := New(&script{pieces: split(stream, 33_333), packets: packets}, Config{Memory: m})
				defer r.Close()
				pos := 0
				check := func(n int) {
					t.Helper()
					b, err := r.Peek(n)
					if err != nil || !bytes.Equal(b, stream[pos:pos+n]) {
						t.Fatalf("Peek(%d) at %d = %d bytes, %v, or not those sent", n, pos, len(b), err)
					}
				}
				for range 3 {
					check(step[0])
					b, _ := r.Peek(step[1])
					kept, want := b, stream[pos:pos+step[1]]
					owned := r.Owned()
					if owned && len(b) < step[0] && cap(b) > len(b) {
						t.Errorf("a part of %d bytes reaches %d bytes into the rest", len(b), cap(b)-len(b))
					}
					r.Discard(step[1])
					pos += step[1]
					check(5)
					check(600)
					r.Discard(600)
					pos += 600
					check(step[0])
					if owned && !bytes.Equal(kept, want) {
						t.Error("an owned part has changed")
					}
				}
				r.Discard(r.Buffered())
				r.DropMemory()
				if m.Used() != 0 {
					t.Errorf("%d bytes accounted with nothing buffered", m.Used())
				}
			})
		}
	}
}
