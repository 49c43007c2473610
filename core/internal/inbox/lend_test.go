package inbox

import (
	"testing"

	"github.com/teleport-go/teleport/core/internal/poison"
)

// TestLend gives the buffer of one Reader to another, as a poll loop does.
func TestLend(t *testing.T) {
	const size = 4096
	reader := func(size, bytes, read int) *Reader {
		r := New(&script{pieces: [][]byte{pattern(bytes, 13)}}, Config{Buffer: size})
		t.Cleanup(r.Close)
		if _, err := r.Peek(read); err != nil {
			t.Fatal(err)
		}
		r.Discard(read)
		return r
	}
	packets := reader(size, 100, 100)
	packets.packets = true
	for _, test := range []struct {
		name   string
		from   *Reader
		poison bool
		want   bool // it has a buffer to give
	}{
		{"empty", reader(size, 100, 100), false, true},
		{"with unread bytes", reader(size, 100, 60), false, false},
		{"grown", reader(size, 3*size, 3*size), false, false},
		{"of unixpacket", packets, false, false},
		{"scribbled over in tests", reader(size, 100, 100), true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.poison {
				defer poison.Switch()()
			}
			unread := test.from.Buffered()
			b := test.from.TakeEmpty()
			if (b != nil) != test.want || b != nil && len(b) != size {
				t.Fatalf("TakeEmpty returned %d bytes; want a buffer of %d: %v", len(b), size, test.want)
			}
			if got := test.from.Buffered(); got != unread {
				t.Errorf("%d bytes are left; want %d", got, unread)
			}
			if has := test.from.buf != nil; has != (unread > 0) {
				t.Errorf("the Reader has a buffer: %v; it has %d unread bytes", has, unread)
			}
		})
	}
	t.Run("taken", func(t *testing.T) {
		b := reader(size, 100, 100).TakeEmpty()
		r := New(&script{pieces: [][]byte{[]byte("hello")}}, Config{Buffer: size})
		defer r.Close()
		r.Lend(b)
		if got, err := r.Peek(5); err != nil || string(got) != "hello" || &got[0] != &b[0] {
			t.Errorf("Peek = %q, %v, in the buffer that was lent: %v; want hello there", got, err, &got[0] == &b[0])
		}
		r.Lend(make([]byte, size))
		if got, err := r.Peek(5); err != nil || string(got) != "hello" {
			t.Errorf("Peek after another Lend = %q, %v; want hello", got, err)
		}
	})
	t.Run("of another size", func(t *testing.T) {
		r := New(&script{pieces: [][]byte{[]byte("hello")}}, Config{Buffer: 2 * size})
		defer r.Close()
		r.Lend(make([]byte, size))
		if r.buf != nil {
			t.Errorf("the Reader has a buffer of %d bytes; want none yet", len(r.buf))
		}
		r.Lend(nil)
		if got, err := r.Peek(5); err != nil || string(got) != "hello" || len(r.buf) != 2*size {
			t.Errorf("Peek = %q, %v, with a buffer of %d bytes; want hello, %d", got, err, len(r.buf), 2*size)
		}
	})
}
