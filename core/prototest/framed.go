package prototest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

// Framed is a protocol with dialects whose frames are four bytes of size, big endian
// and without themselves, the number of filters, their ids, and the payload.
type Framed[D interface {
	~uint8
	fmt.Stringer
}] struct {
	Dialects[D]
	// Payload is the payload of a CALL.
	Payload string
	// Bad are payloads of which no message can be made.
	Bad []BadPayload
}

// BadPayload is a payload of which no message can be made, and the text of the error.
type BadPayload = struct{ Name, Payload, Want string }

// Frame returns a frame.
func Frame(filters, payload string) []byte {
	n := 1 + len(filters) + len(payload)
	b := []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), byte(len(filters))}
	return append(append(b, filters...), payload...)
}

// FrameSize returns the length of the frame that begins with b, 0 if that is not known.
func FrameSize(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	return 4 + (int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3]))
}

// BadFrames returns options for Run: the bad payloads but those that are excluded by
// name, and frames with damaged filters.
func (p Framed[D]) BadFrames(exclude ...string) []Option {
	opts := []Option{
		BadFrame("size 0", make([]byte, 4)),
		BadFrame("filters over the end", []byte{0, 0, 0, 2, 3, 'm'}),
		BadFrame("unknown filter", Frame("\x01", p.Payload)),
		BadFrame("filter 0", Frame("\x00", p.Payload)),
		BadFrame("damaged", Frame("m", p.Payload)),
		BadFrame("nine filters", Frame("mmmmmmmmm", p.Payload)),
		BadFrame("only the filter", Frame("m", "")),
	}
next:
	for _, b := range p.Bad {
		for _, name := range exclude {
			if b.Name == name {
				continue next
			}
		}
		opts = append(opts, BadFrame(b.Name, Frame("", b.Payload)))
	}
	return opts
}

// Run runs the tests of Dialects and those of the frames.
func (p Framed[D]) Run(t *testing.T) {
	p.Dialects.Run(t)
	t.Run("error texts", p.errorTexts)
	t.Run("huge size", p.hugeSize)
	t.Run("bomb", p.bomb)
}

// FuzzUnpack is that of Dialects, with the bad payloads and some frames as seeds too.
func (p Framed[D]) FuzzUnpack(f *testing.F) {
	seeds := [][]byte{Frame("m", p.Payload), Frame("BB", p.Payload), []byte("\xff\xff\xff\xff\x00" + p.Payload),
		[]byte("\x15\x03\x03\x00\x02\x02\x0a")}
	for _, b := range p.Bad {
		seeds = append(seeds, Frame("", b.Payload[:min(len(b.Payload), 200)]))
	}
	p.Dialects.FuzzUnpack(f, FrameSize, seeds...)
}

func (p Framed[D]) errorTexts(t *testing.T) {
	type frame struct {
		name, frame, want string
		bad               bool // it costs the message only
	}
	frames := []frame{
		{"size 0", "\x00\x00\x00\x00", "size of 0 bytes leaves no room for the number of filters", true},
		{"cut in the size", "\x00\x00", "size ended after 2 of 4 bytes: unexpected EOF", false},
		{"cut", "\x00\x00\x00\x2d12345678901", "frame ended after 15 of 49 bytes: unexpected EOF", false},
		{"size beyond 32 bits", "\xff\xff\xff\xfc\x00", "message of 4294967296 bytes: message size over the limit", false},
		{"filters", "\x00\x00\x00\x03\x03mm", "pipe of 3 bytes is over the frame's end", true},
		{"nine filters", "\x00\x00\x00\x02\x09m", "pipe of 9 filters is longer than 8", true},
		{"TLS", "\x15\x03\x03\x00\x02\x02\x0a", "the peer sent a TLS alert: it expects TLS, and this side has no TLS configuration", false},
	}
	for i := range frames {
		frames[i].want = p.Name + ": " + frames[i].want
	}
	for _, b := range p.Bad {
		frames = append(frames, frame{b.Name, string(Frame("", b.Payload)), b.Want, true})
	}
	for _, test := range frames {
		t.Run(test.name, func(t *testing.T) {
			_, s := p.Connect(nil, nil)
			s.Arrive([]byte(test.frame))
			err := s.Unpack(socket.NewMessage())
			if err == nil || err.Error() != test.want || errors.Is(err, socket.ErrBadMessage) != test.bad {
				t.Errorf("Unpack: %v (ErrBadMessage %v)\nwant %s (%v)", err, errors.Is(err, socket.ErrBadMessage), test.want, test.bad)
			}
		})
	}
	t.Run("too many filters", func(t *testing.T) {
		m := Message(1, socket.TypeCall, "/a", 'j', "")
		one := socket.NewMessage(socket.WithXferPipe('m'))
		for range 256 {
			m.XferPipe().AppendFrom(one.XferPipe())
		}
		err := p.New()(new(bytes.Buffer)).Pack(m)
		if want := p.Name + ": pipe of 256 filters is longer than 255"; err == nil || err.Error() != want {
			t.Errorf("Pack: %v, want %s", err, want)
		}
	})
}

// A size that claims gigabytes is stopped by the limit, or by the end.
func (p Framed[D]) hugeSize(t *testing.T) {
	claim := []byte("\x80\x00\x00\x00\x00" + p.Payload)
	unpack := func(limit uint32) error {
		_, s := p.Connect(nil, nil)
		s.Arrive(claim)
		m := new(socket.Envelope)
		m.SetLimit(limit)
		return s.Unpack(m)
	}
	if err := unpack(1 << 20); !errors.Is(err, socket.ErrSizeLimit) {
		t.Errorf("Unpack: %v, want ErrSizeLimit", err)
	}
	want := io.ErrUnexpectedEOF
	if math.MaxInt == math.MaxInt32 {
		want = socket.ErrSizeLimit // memory cannot be that large
	}
	if n := took(func() {
		if err := unpack(0); !errors.Is(err, want) {
			t.Errorf("without a limit, Unpack: %v, want %v", err, want)
		}
	}); n > 1<<20 {
		t.Errorf("without a limit, Unpack takes %d bytes of memory", n)
	}
}

// What the filters make of a frame stays below the limit.
func (p Framed[D]) bomb(t *testing.T) {
	_, s := p.Connect(nil, nil)
	s.Arrive(Frame(strings.Repeat(string(rune(Bomb)), 3), p.Payload))
	m := new(socket.Envelope)
	m.SetLimit(100_000)
	if err := s.Unpack(m); !errors.Is(err, socket.ErrBadMessage) || !strings.Contains(err.Error(), "pipe") {
		t.Errorf("Unpack: %v, want ErrBadMessage of the pipe", err)
	}
}
