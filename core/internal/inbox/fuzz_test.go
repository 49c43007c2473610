package inbox

import (
	"bytes"
	"io"
	"testing"
)

// FuzzReader makes a random sequence of calls and checks each against the stream's bytes.
// Three bytes make a call: the method, and the size.
func FuzzReader(f *testing.F) {
	f.Add([]byte{0, 10, 0, 1, 10, 0, 2, 50, 0, 3, 0, 0, 4, 0, 0}, uint32(1000), uint16(10), false)
	f.Add([]byte{0, 255, 127, 1, 255, 127, 0, 200, 100, 1, 255, 1, 0, 3, 0}, uint32(300_000), uint16(4000), false)
	f.Add([]byte{0, 255, 127, 1, 255, 64, 0, 200, 100, 1, 255, 1, 4, 3, 0, 0, 9, 9}, uint32(300_000), uint16(60_000), true)
	f.Add([]byte{0, 0, 128, 2, 0, 128, 5, 0, 128, 0, 1, 0}, uint32(100_000), uint16(1), true)
	f.Add([]byte{0, 200, 2, 1, 200, 2, 2, 0, 4}, uint32(20_000), uint16(900), false) // a long Read after a grown buffer
	f.Fuzz(func(t *testing.T, calls []byte, total uint32, piece uint16, packets bool) {
		if len(calls) > 300 {
			return
		}
		stream := pattern(int(total%(1<<20)), 40)
		m := NewMemory(0)
		s := &script{pieces: split(stream, max(1, int(piece))), packets: packets}
		r := New(s, Config{Buffer: 1024, Memory: m})
		defer r.Close()
		s.before = func() {
			arrived := r.Buffered() + r.off // discarded bytes of a large frame still take memory
			if got := cap(r.buf) + cap(r.big); !packets && got > max(1024, wholeFrom*arrived) {
				t.Fatalf("%d bytes of buffers with %d arrived", got, arrived)
			}
		}
		type part struct{ got, want []byte }
		var kept []part
		var last []byte // the last owned bytes of Peek
		short := func(call string, want, got int, err error) {
			t.Helper()
			expect := error(nil)
			switch have := min(want, len(stream)); {
			case got != have:
				t.Fatalf("%s(%d) = %d, %v; want %d", call, want, got, err, have)
			case have < want && have == 0:
				expect = io.EOF
			case have < want:
				expect = io.ErrUnexpectedEOF
			}
			if err != expect {
				t.Fatalf("%s(%d) = %d, %v; want %v", call, want, got, err, expect)
			}
		}
		for ; len(calls) >= 3; calls = calls[3:] {
			size := (int(calls[1]) | int(calls[2])<<8) * 3
			switch calls[0] % 6 {
			case 0:
				b, err := r.Peek(size)
				short("Peek", size, len(b), err)
				if !bytes.Equal(b, stream[:len(b)]) {
					t.Fatalf("Peek(%d) gives other bytes", size)
				}
				last = nil
				if r.Owned() {
					last = b
				}
			case 1:
				if last != nil {
					size = len(last)
					kept = append(kept, part{last, stream[:size]})
				}
				n, err := r.Discard(size)
				short("Discard", size, n, err)
				stream, last = stream[n:], nil
			case 2:
				p := make([]byte, size)
				n, err := r.Read(p)
				if n == 0 && size > 0 && (err != io.EOF || len(stream) > 0) || n > 0 && err != nil {
					t.Fatalf("Read(%d) = %d, %v with %d to come", size, n, err, len(stream))
				}
				if !bytes.HasPrefix(stream, p[:n]) {
					t.Fatalf("Read(%d) gives other bytes", size)
				}
				stream, last = stream[n:], nil
			case 3:
				if err := r.Wait(); (err == nil) != (len(stream) > 0) || err == nil && r.Buffered() == 0 {
					t.Fatalf("Wait() = %v with %d to come, %d buffered", err, len(stream), r.Buffered())
				}
				last = nil
			case 4:
				n := r.Buffered()
				rest := r.TakeBuffered()
				if len(rest) != n || !bytes.HasPrefix(stream, rest) {
					t.Fatalf("TakeBuffered() = %d bytes of %d, or others", len(rest), n)
				}
				stream, last = stream[n:], nil
			case 5: // buffered bytes are skipped without waiting
				n := min(size, r.Buffered())
				if last != nil {
					n = 0
				}
				if got, err := r.Discard(n); got != n || err != nil {
					t.Fatalf("Discard(%d) = %d, %v", n, got, err)
				}
				stream = stream[n:]
			}
			r.DropMemory()
			if used, want := m.Used(), int64(cap(r.big)); used > want && r.big == nil {
				t.Fatalf("%d bytes accounted without a large frame", used)
			}
		}
		for _, k := range kept {
			if !bytes.Equal(k.got, k.want) {
				t.Fatal("an owned frame has changed")
			}
		}
	})
}
