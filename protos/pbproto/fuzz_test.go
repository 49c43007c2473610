package pbproto

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// peeking offers what the engine's connections do for reading.
type peeking struct {
	*bufio.Reader
	io.Writer
	dialed bool
}

func (p peeking) Dialed() bool { return p.dialed }

// FuzzUnpack reads any bytes, in place and not, as a connection of any dialect.
func FuzzUnpack(f *testing.F) {
	for _, name := range goldenNames(f) {
		b := golden(f, name)
		f.Add(b, byte(0))
		f.Add(append(b, b...), byte(dialectOf(f, name)))
		f.Add(b[:len(b)-1], byte(0))
	}
	for _, b := range badPayloads {
		f.Add(framed("", b.payload[:min(len(b.payload), 100)]), byte(0))
	}
	f.Add(framed("m", "\x08\x01"), byte(0))
	f.Add(framed("BB", "\x08\x01"), byte(0))
	f.Add([]byte("\xff\xff\xff\xff\x00\x08"), byte(0))
	f.Fuzz(func(t *testing.T, data []byte, d byte) {
		var seen [2]string
		for i, inPlace := range []bool{false, true} {
			r := bytes.NewReader(data)
			var rw io.ReadWriter = struct {
				io.Reader
				io.Writer
			}{r, io.Discard}
			left := r.Len
			if inPlace {
				b := bufio.NewReaderSize(r, len(data)+16)
				rw = peeking{b, io.Discard, d%3 != 0}
				left = func() int { return b.Buffered() + r.Len() }
			}
			p := NewPbProtoFunc(Dialect(d % 3))(rw).(*pbProto)
			for range 5 {
				before, size := left(), 0
				if at := data[len(data)-before:]; len(at) >= 4 {
					size = 4 + int(binary.BigEndian.Uint32(at))
				}
				m := new(socket.Envelope)
				m.SetLimit(1 << 20)
				err := p.Unpack(m)
				if n := cap(m.RawBody()); m.XferPipe().Len() == 0 && n > 2*len(data)+4<<10 {
					t.Errorf("%d bytes took %d bytes of memory", len(data), n)
				}
				if err == nil || errors.Is(err, socket.ErrBadMessage) {
					if used := before - left(); used != size {
						t.Fatalf("a frame of %d bytes: Unpack took %d (%v)", size, used, err)
					}
				} else if err == io.EOF && before != 0 {
					t.Fatalf("io.EOF with %d bytes left", before)
				}
				if err != nil && !errors.Is(err, socket.ErrBadMessage) {
					seen[i] += "end"
					break
				}
				if err == nil {
					seen[i] += picture(m)
				} else {
					seen[i] += err.Error()
				}
			}
		}
		if d%3 == 0 && seen[0] != seen[1] {
			t.Errorf("not in place: %s\nin place: %s", seen[0], seen[1])
		}
	})
}

// FuzzRoundTrip sends any message in each dialect, to a reader that has to find
// out which.
func FuzzRoundTrip(f *testing.F) {
	f.Add(int32(1), byte(1), "/math/add", "k", "v 1/é", byte('j'), []byte("[1,2,3]"), int32(0), "", "")
	f.Add(int32(-1), byte(2), "", "code", "0", byte(0), []byte{}, int32(404), "Not Found", "")
	f.Add(int32(0), byte(5), "\xff", "X-Reply-Error", "{}", byte('m'), []byte("\x00"), int32(-7), "a&b", "c=d%")
	f.Add(int32(9), byte(3), "/a?b=c", "", "", byte('f'), bytes.Repeat([]byte("x"), 30_000), int32(1), "", "")
	f.Fuzz(func(t *testing.T, seq int32, mtype byte, method, key, value string, codec byte, body []byte,
		code int32, text, reason string) {
		text, reason = strings.ToValidUTF8(text, "?"), strings.ToValidUTF8(reason, "?") // JSON has no other
		for _, d := range []Dialect{V5, V7} {
			m := message(seq, mtype, method, codec, string(body), socket.WithAddMeta(key, value))
			if code != 0 && framing.IsReply(mtype) {
				m.SetRerror(socket.NewRerror(code, text, reason))
			}
			c, s := connect([]Dialect{d}, nil)
			if err := c.Pack(m); err != nil {
				t.Fatalf("%v: pack: %v", d, err)
			}
			if d != V7 {
				m.Meta().Del(socket.MetaReplyError)
			}
			// The reader has to be told only where metadata read like the other's
			// status, and nothing else is there.
			if codec == 0 && len(body) == 0 && strings.HasPrefix(m.Meta().String(), "code=") {
				s.speech.Settle(d)
			}
			got := socket.NewMessage()
			if err := s.Unpack(got); err != nil {
				t.Fatalf("%v: unpack: %v", d, err)
			}
			if s.speech.Reads() != d {
				t.Fatalf("%v taken for %v", d, s.speech.Reads())
			}
			if got, want := picture(got), picture(m); got != want {
				t.Fatalf("%v:\n got %s\nwant %s", d, got, want)
			}
		}
	})
}
