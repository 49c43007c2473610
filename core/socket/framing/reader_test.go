package framing

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/teleport-go/teleport/core/internal/suite"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

func init() {
	xfer.Register(reverse{})
	xfer.Register(swell{})
	xfer.Register(checked{})
}

// checked is a filter that knows a whole text by its full stop.
type checked struct{}

func (checked) ID() byte                        { return 'c' }
func (checked) Name() string                    { return "test checked" }
func (checked) OnPack(b []byte) ([]byte, error) { return append(bytes.Clone(b), '.'), nil }

func (checked) OnUnpack(b []byte) ([]byte, error) {
	if out, ok := bytes.CutSuffix(b, []byte(".")); ok {
		return out, nil
	}
	return nil, errDamaged
}

// reverse is a filter that turns the bytes round, and refuses some.
type reverse struct{}

func (reverse) ID() byte     { return 'r' }
func (reverse) Name() string { return "test reverse" }

func (reverse) OnPack(b []byte) ([]byte, error) {
	out := bytes.Clone(b)
	for i := range out {
		out[i] = b[len(b)-1-i]
	}
	return out, nil
}

func (f reverse) OnUnpack(b []byte) ([]byte, error) {
	if string(b) == "damaged" {
		return nil, errDamaged
	}
	return f.OnPack(b)
}

var errDamaged = errors.New("damaged")

// swell is a filter that makes a thousand bytes of each when it unpacks.
type swell struct{}

func (swell) ID() byte                          { return 's' }
func (swell) Name() string                      { return "test swell" }
func (swell) OnPack(b []byte) ([]byte, error)   { return bytes.Clone(b), nil }
func (swell) OnUnpack(b []byte) ([]byte, error) { return bytes.Repeat(b, 1000), nil }

// readers are the ways to read the same bytes; left tells how many nobody took.
func readers(data []byte) map[string]func() (r io.Reader, left func() int) {
	return map[string]func() (io.Reader, func() int){
		"read": func() (io.Reader, func() int) {
			r := bytes.NewReader(data)
			return &asked{Reader: r}, r.Len
		},
		"byte by byte": func() (io.Reader, func() int) {
			r := bytes.NewReader(data)
			return iotest.OneByteReader(r), r.Len
		},
		"in place": func() (io.Reader, func() int) {
			r := bytes.NewReader(data)
			b := bufio.NewReaderSize(r, len(data)+16)
			return b, func() int { return b.Buffered() + r.Len() }
		},
	}
}

// asked notes the most memory that it was given to read into.
type asked struct {
	io.Reader
	most int
}

func (a *asked) Read(p []byte) (int, error) {
	a.most = max(a.most, len(p))
	return a.Reader.Read(p)
}

// next reads a frame whose first four bytes are its size, and its payload.
func next(r *Reader, m socket.Message) ([]byte, error) {
	head, err := r.Head(4)
	if err != nil {
		return nil, err
	}
	frame, err := r.Frame(m, uint64(binary.BigEndian.Uint32(head)))
	if err != nil {
		return nil, err
	}
	return r.Payload(m, frame[4:])
}

// framed makes what next reads.
func framed(filters, payload string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(4+1+len(filters)+len(payload)))
	b = append(append(b, byte(len(filters))), filters...)
	return append(b, payload...)
}

func TestReader(t *testing.T) {
	for _, test := range []struct {
		name, data    string
		payload, pipe string
		err           string // its text; "EOF" for io.EOF itself
		bad           bool   // it costs the message only
		is            error
	}{
		{name: "payload", data: string(framed("", "hi")), payload: "hi"},
		{name: "empty payload", data: string(framed("", ""))},
		{name: "one filter", data: string(framed("r", "ih")), payload: "hi", pipe: "r"},
		{name: "eight filters", data: string(framed("rrrrrrrr", "hi")), payload: "hi", pipe: "rrrrrrrr"},
		{name: "a frame above what is kept", data: string(framed("", strings.Repeat("x", OwnFrom))), payload: strings.Repeat("x", OwnFrom)},
		{name: "nothing", err: "EOF"},
		{name: "cut in the size", data: "\x00\x00", err: "x: size ended after 2 of 4 bytes: unexpected EOF", is: io.ErrUnexpectedEOF},
		{name: "cut behind the size", data: "\x00\x00\x00\x09", err: "x: frame ended after 4 of 9 bytes: unexpected EOF", is: io.ErrUnexpectedEOF},
		{name: "cut in the frame", data: "\x00\x00\x00\x09\x00hi", err: "x: frame ended after 7 of 9 bytes: unexpected EOF", is: io.ErrUnexpectedEOF},
		{name: "size 0", data: "\x00\x00\x00\x00", err: "x: size of 0 bytes is below the header's 4"},
		{name: "size below the header", data: "\x00\x00\x00\x03", err: "x: size of 3 bytes is below the header's 4"},
		{name: "size over the limit", data: "\xff\xff\xff\xff\x00", is: socket.ErrSizeLimit},
		{name: "no number of filters", data: "\x00\x00\x00\x04", err: "x: size of 0 bytes leaves no room for the number of filters", bad: true},
		{name: "nine filters", data: string(framed("rrrrrrrrr", "hi")), err: "x: pipe of 9 filters is longer than 8", bad: true},
		{name: "filters over the end", data: "\x00\x00\x00\x07\x03rr", err: "x: pipe of 3 bytes is over the frame's end", bad: true},
		{name: "unknown filter", data: string(framed("?", "hi")), is: xfer.ErrUnsupported, bad: true},
		{name: "failing filter", data: string(framed("r", "damaged")), is: errDamaged, bad: true},
		{name: "filter over the limit", data: string(framed("s", strings.Repeat("x", 2000))), is: socket.ErrBadMessage, bad: true},
	} {
		for way, open := range readers([]byte(test.data)) {
			t.Run(test.name+"/"+way, func(t *testing.T) {
				in, left := open()
				r := NewReader("x", in)
				m := new(socket.Envelope)
				m.SetLimit(1 << 20)
				payload, err := next(&r, m)
				switch {
				case test.err == "EOF":
					if err != io.EOF {
						t.Errorf("error %v, want io.EOF itself", err)
					}
				case test.err != "" && (err == nil || err.Error() != test.err),
					test.is != nil && !errors.Is(err, test.is),
					test.err == "" && test.is == nil && err != nil:
					t.Errorf("error %v, want %q (%v)", err, test.err, test.is)
				}
				if got := errors.Is(err, socket.ErrBadMessage); got != test.bad {
					t.Errorf("%v matches ErrBadMessage: %v, want %v", err, got, test.bad)
				}
				if err == nil || test.bad {
					if left() != 0 || m.Size() != uint32(len(test.data)) {
						t.Errorf("%d bytes are left, and the message has %d; want 0 and %d", left(), m.Size(), len(test.data))
					}
				}
				if err == nil && (string(payload) != test.payload || string(m.XferPipe().IDs()) != test.pipe) {
					t.Errorf("payload %.20q through %q, want %.20q through %q", payload, m.XferPipe().IDs(), test.payload, test.pipe)
				}
			})
		}
	}
}

// A bad frame leaves nothing behind: not in the stream, not in the message.
func TestReaderGoesOn(t *testing.T) {
	data := append(framed("rrr", "abc"), framed("r", "damaged")...)
	data = append(append(data, framed("", "hi")...), framed("?", "hi")...)
	data = append(data, framed("", "ho")...)
	for way, open := range readers(data) {
		t.Run(way, func(t *testing.T) {
			in, _ := open()
			r, m := NewReader("x", in), socket.NewMessage()
			var got []string
			for {
				payload, err := next(&r, m)
				if err == io.EOF {
					break
				}
				if err != nil && !errors.Is(err, socket.ErrBadMessage) {
					t.Fatal(err)
				}
				if err != nil {
					got = append(got, "bad")
				} else {
					got = append(got, string(payload)+"|"+string(m.XferPipe().IDs()))
				}
			}
			if got, want := strings.Join(got, " "), "cba|rrr bad hi| bad ho|"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// A size that takes one byte or three.
func TestHeadAsksAgain(t *testing.T) {
	for way, open := range readers([]byte("\x03ab\xff\x00\x05cd\x02e")) {
		t.Run(way, func(t *testing.T) {
			in, left := open()
			r, m := NewReader("x", in), socket.NewMessage()
			for _, want := range []string{"\x03ab", "\xff\x00\x05cd", "\x02e"} {
				head, err := r.Head(1)
				if err != nil {
					t.Fatal(err)
				}
				size := uint64(head[0])
				if size == 0xff {
					if head, err = r.Head(3); err != nil {
						t.Fatal(err)
					}
					size = uint64(binary.BigEndian.Uint16(head[1:]))
				}
				if frame, err := r.Frame(m, size); err != nil || string(frame) != want {
					t.Fatalf("frame %q, %v; want %q", frame, err, want)
				}
			}
			if _, err := r.Head(1); err != io.EOF || left() != 0 {
				t.Errorf("at the end: %v, %d bytes left; want io.EOF and none", err, left())
			}
		})
	}
	for way, open := range readers([]byte("\xff\x00")) {
		t.Run("cut "+way, func(t *testing.T) {
			in, _ := open()
			r := NewReader("x", in)
			if _, err := r.Head(1); err != nil {
				t.Fatal(err)
			}
			const want = "x: size ended after 2 of 3 bytes: unexpected EOF"
			if _, err := r.Head(3); err == nil || err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
		})
	}
}

func TestFrameRefuses(t *testing.T) {
	r := NewReader("x", strings.NewReader("abcdef"))
	for _, test := range []struct {
		size  uint64
		limit uint32
		want  string
		is    error
	}{
		{0, 0, "x: size of 0 bytes is below the header's 1", nil},
		{1 << 32, 0, "x: message of 4294967296 bytes: message size over the limit", socket.ErrSizeLimit},
		{1<<64 - 1, 0, "x: message of 18446744073709551615 bytes: message size over the limit", socket.ErrSizeLimit},
		{5, 4, "", socket.ErrSizeLimit},
	} {
		m := new(socket.Envelope)
		m.SetLimit(test.limit)
		_, err := r.Frame(m, test.size)
		if err == nil || test.want != "" && err.Error() != test.want || test.is != nil && !errors.Is(err, test.is) ||
			errors.Is(err, socket.ErrBadMessage) {
			t.Errorf("Frame(%d) with limit %d: %v, want %q (%v)", test.size, test.limit, err, test.want, test.is)
		}
	}
	if frame, err := r.Frame(socket.NewMessage(), 6); err != nil || string(frame) != "abcdef" {
		t.Errorf("afterwards: %q, %v", frame, err)
	}
}

// The error of a connection that fails is its own.
func TestReaderFails(t *testing.T) {
	broken := errors.New("broken")
	for n, want := range map[int]string{0: "broken", 2: "x: size ended after 2 of 4 bytes: broken", 6: "x: frame ended after 6 of 7 bytes: broken"} {
		for _, inPlace := range []bool{false, true} {
			var in io.Reader = io.MultiReader(bytes.NewReader(framed("", "hi")[:n]), iotest.ErrReader(broken))
			if inPlace {
				in = bufio.NewReader(in)
			}
			r := NewReader("x", in)
			if _, err := next(&r, socket.NewMessage()); err == nil || err.Error() != want || !errors.Is(err, broken) {
				t.Errorf("after %d bytes, in place %v: %v, want %s", n, inPlace, err, want)
			}
		}
	}
}

// Memory for one large message goes with it.
func TestOwned(t *testing.T) {
	for _, filters := range []string{"", "r"} {
		var data []byte
		sizes := []int{100, 200_000, 100, OwnFrom - 5, OwnFrom + 1, 100}
		for _, n := range sizes {
			data = append(data, framed(filters, strings.Repeat("x", n))...)
		}
		for way, open := range readers(data) {
			t.Run(filters+" "+way, func(t *testing.T) {
				in, _ := open()
				r := NewReader("x", in)
				for _, n := range sizes {
					payload, err := next(&r, socket.NewMessage())
					if err != nil {
						t.Fatal(err)
					}
					large := n > OwnFrom && (way != "in place" || filters != "")
					if len(payload) != n || r.Owned() != large {
						t.Errorf("a payload of %d bytes arrives with %d, owned: %v, want %v", n, len(payload), r.Owned(), large)
					}
					if c := max(cap(r.frame), cap(r.plain)); c > OwnFrom {
						t.Errorf("after a payload of %d bytes the reader keeps %d", n, c)
					}
					if large {
						for i := range payload {
							payload[i] = '!' // is nobody else's
						}
					} else if bytes.IndexByte(payload, '!') >= 0 {
						t.Error("memory that was passed on is used again")
					}
				}
			})
		}
	}
}

// What a size claims costs nothing until it arrives.
func TestClaims(t *testing.T) {
	in := &asked{Reader: strings.NewReader("\x7f\xff\xff\xff\x00" + strings.Repeat("x", 9000))}
	r := NewReader("x", in)
	_, err := next(&r, new(socket.Envelope))
	if !errors.Is(err, io.ErrUnexpectedEOF) || in.most > 18_010 {
		t.Errorf("error %v with %d bytes of memory, want io.ErrUnexpectedEOF and twice what arrived", err, in.most)
	}
}

// Each frame stands for itself.
// keeper is a connection that cannot be peeked at, with room for so many bytes.
type keeper struct {
	io.Reader
	io.Writer
	room, most int
}

func (k *keeper) Keep(n int) error {
	if n > k.room {
		return errDamaged
	}
	k.most = max(k.most, n)
	return nil
}

// A frame that is collected counts before its memory is taken.
func TestCollectedFrameCounts(t *testing.T) {
	const size = 1 << 20
	frame := append(binary.BigEndian.AppendUint32(nil, size-4), make([]byte, size-4)...)
	for _, test := range []struct {
		room, min, max int
		err            error
	}{
		{2 * size, size, 3 * size / 2, nil},
		{size, 0, size, errDamaged},
	} {
		k := &keeper{Reader: bytes.NewReader(frame), room: test.room}
		r := NewReader("test", k)
		_, err := r.Next(new(socket.Envelope))
		if !errors.Is(err, test.err) || k.most < test.min || k.most > test.max {
			t.Errorf("with room for %d: %v, %d bytes counted; want %v, %d to %d", test.room, err, k.most, test.err, test.min, test.max)
		}
	}
}

func TestNothingIsLeft(t *testing.T) {
	data := append(framed("r", strings.Repeat("x", 2*OwnFrom)), framed("", "hi")...)
	for way, open := range readers(append(data, '!')) {
		t.Run(way, func(t *testing.T) {
			in, _ := open()
			r, m := NewReader("x", in), socket.NewMessage()
			for _, owned := range []bool{true, false} {
				if _, err := next(&r, m); err != nil || r.Owned() != owned {
					t.Errorf("%v, owned: %v, want %v", err, r.Owned(), owned)
				}
			}
			if frame, err := r.Frame(m, 1); err != nil || string(frame) != "!" {
				t.Errorf("a frame without a head: %q, %v", frame, err)
			}
		})
	}
}

func TestAllocations(t *testing.T) {
	frame := framed("", strings.Repeat("x", 581))
	for _, inPlace := range []bool{false, true} {
		var in io.Reader = &endless{frame: frame}
		if inPlace {
			in = bufio.NewReaderSize(in, 32<<10)
		}
		r, m := NewReader("x", in), new(socket.Envelope)
		read := func() {
			if _, err := next(&r, m); err != nil {
				t.Fatal(err)
			}
		}
		if n := suite.Allocs(0, read); n != 0 {
			t.Errorf("in place %v: %v allocations, want 0", inPlace, n)
		}
	}
}

// endless is a connection on which the same frame arrives for ever.
type endless struct {
	frame []byte
	at    int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.frame[e.at:])
	e.at = (e.at + n) % len(e.frame)
	return n, nil
}

// FuzzReader reads any bytes, in place and not: with the same result, nothing
// taken beyond a frame, and no more memory than twice what there is.
func FuzzReader(f *testing.F) {
	f.Add(framed("", "hi"))
	f.Add(append(framed("r", "ih"), framed("?", "")...))
	f.Add(append(framed("s", "x"), framed("rr", "abc")...))
	f.Add([]byte("\x00\x00\x00\x04\x00\x00\x00\x05\x09"))
	f.Add([]byte("\xff\xff\xff\xff\x00"))
	f.Add(framed("", strings.Repeat("x", 9000))[:8000])
	f.Fuzz(func(t *testing.T, data []byte) {
		seen := map[string]string{}
		for way, open := range readers(data) {
			in, left := open()
			r := NewReader("x", in)
			for range 5 {
				before, size := left(), 0
				if at := data[len(data)-before:]; len(at) >= 4 {
					size = int(binary.BigEndian.Uint32(at))
				}
				m := new(socket.Envelope)
				m.SetLimit(1 << 20)
				payload, err := next(&r, m)
				if a, ok := in.(*asked); ok && max(cap(r.frame), a.most) > 2*len(data)+4<<10 {
					t.Errorf("%d bytes took %d bytes of memory", len(data), max(cap(r.frame), a.most))
				}
				whole := err == nil || errors.Is(err, socket.ErrBadMessage)
				if used := before - left(); whole && used != size {
					t.Fatalf("%s: a frame of %d bytes: %d were taken (%v)", way, size, used, err)
				}
				if err == io.EOF && before != 0 {
					t.Fatalf("%s: io.EOF with %d bytes left", way, before)
				}
				if !whole {
					seen[way] += "end" // a bufio.Reader knows of frames that are too large for it
					break
				}
				if err != nil {
					seen[way] += err.Error() + "\n"
				} else {
					seen[way] += string(payload) + "|" + string(m.XferPipe().IDs()) + "\n"
				}
			}
		}
		if seen["read"] != seen["in place"] || seen["read"] != seen["byte by byte"] {
			t.Errorf("read in three ways: %q", seen)
		}
	})
}
