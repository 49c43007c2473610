package prototest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// CheckUnpack is the body of a fuzz test of Unpack: it reads up to five frames of
// data, which may be anything, through connections that offer frames in place and
// that do not. Unpack must take exactly a frame where it succeeds or fails with
// ErrBadMessage, and little more memory than there is data; io.EOF is for the end.
//
// size returns the length of the frame that begins with b, 0 if that cannot be told.
// accepted is called with each message that was read. If the connection is not
// dialled, both kinds must read the same.
func CheckUnpack(t *testing.T, pf socket.ProtoFunc, data []byte, dialed bool, size func(b []byte) int,
	accepted func(p socket.Proto, m *socket.Envelope)) {
	var seen [2]string
	for i, inPlace := range []bool{false, true} {
		r := bytes.NewReader(data)
		var rw io.ReadWriter = readWriter{r, io.Discard}
		left := r.Len
		if inPlace {
			b := bufio.NewReaderSize(r, len(data)+16)
			rw = peeking{b, io.Discard, dialed}
			left = func() int { return b.Buffered() + r.Len() }
		}
		p := pf(rw)
		for range 5 {
			before := left()
			want := size(data[len(data)-before:])
			m := new(socket.Envelope)
			m.SetLimit(1 << 20)
			err := p.Unpack(m)
			if n := cap(m.RawBody()); m.XferPipe().Len() == 0 && n > 2*len(data)+4<<10 {
				t.Errorf("%d bytes took %d bytes of memory", len(data), n)
			}
			whole := err == nil || errors.Is(err, socket.ErrBadMessage)
			if used := before - left(); whole && used != want {
				t.Fatalf("a frame of %d bytes: Unpack took %d (%v)", want, used, err)
			}
			if err == io.EOF && before != 0 {
				t.Fatalf("io.EOF with %d bytes left", before)
			}
			if !whole {
				seen[i] += "end"
				break
			}
			if err != nil {
				seen[i] += err.Error()
				continue
			}
			seen[i] += Picture(m)
			if accepted != nil {
				accepted(p, m)
			}
		}
	}
	if !dialed && seen[0] != seen[1] {
		t.Errorf("not in place: %s\nin place: %s", seen[0], seen[1])
	}
}

// peeking offers what the engine's connections do for reading.
type peeking struct {
	*bufio.Reader
	io.Writer
	dialed bool
}

func (p peeking) Dialed() bool { return p.dialed }

// FuzzUnpack reads any bytes as a connection of any dialect; see CheckUnpack. Its
// seeds are the golden files and more.
func (p Dialects[D]) FuzzUnpack(f *testing.F, size func(b []byte) int, more ...[]byte) {
	RegisterFilters()
	for _, g := range p.GoldenFiles(f) {
		f.Add(g.Frame, byte(0))
		f.Add(append(bytes.Clone(g.Frame), g.Frame...), byte(g.Dialect))
		f.Add(g.Frame[:len(g.Frame)-1], byte(0))
	}
	for _, b := range more {
		f.Add(b, byte(0))
	}
	arguments := p.Arguments()
	f.Fuzz(func(t *testing.T, data []byte, d byte) {
		named := arguments[int(d)%len(arguments)]
		CheckUnpack(t, p.New(named...), data, len(named) > 0, size, nil)
	})
}

// FuzzRoundTrip sends any message in each dialect to a reader that was given none. settle
// reports whether the reader cannot know the dialect of that message, and has to be
// given it: then it has received another message first. A message that Pack
// refuses must leave no byte behind.
func (p Dialects[D]) FuzzRoundTrip(f *testing.F, settle func(d D, m socket.Message) bool) {
	RegisterFilters()
	AddMessages(f)
	f.Fuzz(func(t *testing.T, seq int32, mtype byte, method, key, value string, codec byte, body []byte,
		code int32, text, reason string) {
		for _, d := range p.All {
			m := AnyMessage(seq, mtype, method, key, value, codec, body, code, text, reason)
			c, s := p.Connect([]D{d}, nil)
			if settle(d, m) {
				Pass(t, c, s, p.Goldens["call"]())
			}
			if err := c.Pack(m); err != nil {
				if got := s.Arrived(); len(got) != 0 {
					t.Fatalf("%v: Pack failed (%v) and wrote %q", d, err, got)
				}
				continue
			}
			if d != p.Status {
				m.Meta().Del(socket.MetaReplyError)
			}
			got := socket.NewMessage()
			if err := s.Unpack(got); err != nil {
				t.Fatalf("%v: Unpack: %v", d, err)
			}
			if got := p.Current(s); got != d {
				t.Fatalf("%v is taken for %v", d, got)
			}
			if got, want := Picture(got), Picture(m); got != want {
				t.Fatalf("%v:\n got %s\nwant %s", d, got, want)
			}
		}
	})
}

// AddMessages adds seeds for AnyMessage.
func AddMessages(f *testing.F) {
	f.Add(int32(1), byte(1), "/math/add", "k", "v 1/é", byte('j'), []byte("[1,2,3]"), int32(0), "", "")
	f.Add(int32(-1), byte(2), "", "code", "0", byte(0), []byte{}, int32(404), "Not Found", "")
	f.Add(int32(0), byte(5), "\xff", "X-Reply-Error", "{}", byte('m'), []byte("\x00"), int32(-7), "a&b", "c=d%")
	f.Add(int32(9), byte(3), "/a?b=c", "", "", byte('f'), bytes.Repeat([]byte("x"), 30_000), int32(1), "", "")
}

// AnyMessage makes a message of what a fuzz test has found. Only a reply has the error.
func AnyMessage(seq int32, mtype byte, method, key, value string, codec byte, body []byte,
	code int32, text, reason string) socket.Message {
	m := Message(seq, mtype, method, codec, string(body), socket.WithAddMeta(key, value))
	if code != 0 && framing.IsReply(mtype) {
		text, reason = strings.ToValidUTF8(text, "?"), strings.ToValidUTF8(reason, "?") // JSON has no other
		m.SetRerror(socket.NewRerror(code, text, reason))
	}
	return m
}
