package pbproto

import (
	"errors"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/tptest"
)

func TestMain(m *testing.M) {
	tp.SetLoggerLevel("OFF")
	m.Run()
}

func TestConformance(t *testing.T) {
	for _, named := range [][]Dialect{nil, {V7}} {
		t.Run(called(named).String(), func(t *testing.T) { prototest.Run(t, NewPbProtoFunc(named...), badFrames()...) })
	}
}

func TestSessions(t *testing.T) {
	for _, named := range [][]Dialect{nil, {V7}} {
		t.Run(called(named).String(), func(t *testing.T) { tptest.RunProto(t, NewPbProtoFunc(named...)) })
	}
}

// badPayloads are no messages in either dialect.
var badPayloads = []struct{ name, payload, want string }{
	{"tag 0", "\x00\x01", "protobuf: tag 00 01 is none"},
	{"tag cut", "\x80", "protobuf: tag 80 is none"},
	{"tag of eleven bytes", "\x88\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x01", "protobuf: tag 88 80 80 80 80 80 80 80 80 80 is none"},
	{"tag beyond 29 bits", "\x80\x80\x80\x80\x20", "protobuf: tag 80 80 80 80 20 is none"},
	{"seq cut", "\x08", "protobuf: field 1 has a varint that does not end"},
	{"seq cut in the varint", "\x08\x80", "protobuf: field 1 has a varint that does not end"},
	{"seq of eleven bytes", "\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "protobuf: field 1 has a varint that does not end"},
	{"seq beyond 32 bits", "\x08\x80\x80\x80\x80\x10", "protobuf: field 1 (sequence number) of 4294967296 is beyond 32 bits"},
	{"seq is a string", "\x0a\x011", "protobuf: field 1 is a string of bytes, want a varint"},
	{"type is four bytes", "\x15\x01\x00\x00\x00", "protobuf: field 2 is four bytes, want a varint"},
	{"type beyond a byte", "\x10\x80\x02", "protobuf: field 2 (message type) of 256 is beyond a byte"},
	{"method is a number", "\x18\x01", "protobuf: field 3 is a varint, want a string of bytes"},
	{"method over the end", "\x1a\x05abcd", "protobuf: field 3 of 5 bytes is over the frame's end"},
	{"method of 2^31 bytes", "\x1a\x80\x80\x80\x80\x08abcd", "protobuf: field 3 of 2147483648 bytes is over the frame's end"},
	{"method of 2^64-1 bytes", "\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a", "protobuf: field 3 of 18446744073709551615 bytes is over the frame's end"},
	{"field 4 is a number", "\x20\x01", "protobuf: field 4 is a varint, want a string of bytes"},
	{"field 5 is both", "\x28\x01\x2a\x011", "protobuf: field 5 is a string of bytes, want a varint"},
	{"field 6 is eight bytes", "\x3112345678", "protobuf: field 6 is eight bytes, want a varint"},
	{"fields 5 and 6 are numbers", "\x28\x01\x30\x01", "protobuf: field 6 is a varint, want a string of bytes"},
	{"field 7 is a number", "\x38\x01", "protobuf: field 7 is a varint, want a string of bytes"},
	{"a group", "\x4b\x4c", "protobuf: field 9 is of wire type 3"},
	{"groups in groups", strings.Repeat("\x4b", 10_000), "protobuf: field 9 is of wire type 3"},
	{"wire type 7", "\x0f", "protobuf: field 1 is of wire type 7"},
	{"unknown field over the end", "\x49123", "protobuf: field 9 of 8 bytes is over the frame's end"},
	{"codec beyond a byte", "\x28\x80\x02\x32\x00", "protobuf: body codec of 256 is beyond a byte"},
}

func badFrames() []prototest.Option {
	opts := []prototest.Option{
		prototest.BadFrame("size 0", make([]byte, 4)),
		prototest.BadFrame("filters over the end", []byte{0, 0, 0, 2, 3, 'm'}),
	}
	for _, b := range badPayloads {
		if b.name != "fields 5 and 6 are numbers" { // of one dialect each, it is a field of the other
			opts = append(opts, prototest.BadFrame(b.name, framed("", b.payload)))
		}
	}
	whole := "\x08\x01\x10\x01"
	for name, f := range map[string]string{
		"unknown filter":  "\x01",
		"filter 0":        "\x00",
		"damaged":         "m",
		"nine filters":    "mmmmmmmmm",
		"only the filter": "m",
	} {
		payload := whole
		if name == "only the filter" {
			payload = ""
		}
		opts = append(opts, prototest.BadFrame(name, framed(f, payload)))
	}
	return opts
}

func TestErrorTexts(t *testing.T) {
	type frame struct {
		name, frame, want string
		bad               bool
	}
	frames := []frame{
		{"size 0", "\x00\x00\x00\x00", "protobuf: size of 0 bytes leaves no room for the number of filters", true},
		{"cut in the size", "\x00\x00", "protobuf: size ended after 2 of 4 bytes: unexpected EOF", false},
		{"cut", "\x00\x00\x00\x2d12345678901", "protobuf: frame ended after 15 of 49 bytes: unexpected EOF", false},
		{"size beyond 32 bits", "\xff\xff\xff\xfc\x00", "protobuf: message of 4294967296 bytes: message size over the limit", false},
		{"filters", "\x00\x00\x00\x03\x03mm", "protobuf: pipe of 3 bytes is over the frame's end", true},
		{"nine filters", "\x00\x00\x00\x02\x09m", "protobuf: pipe of 9 filters is longer than 8", true},
	}
	for _, b := range badPayloads {
		frames = append(frames, frame{b.name, string(framed("", b.payload)), b.want, true})
	}
	for _, test := range frames {
		t.Run(test.name, func(t *testing.T) {
			var x exchange
			x.WriteString(test.frame)
			err := NewPbProtoFunc()(&x).Unpack(socket.NewMessage())
			if err == nil || err.Error() != test.want || errors.Is(err, socket.ErrBadMessage) != test.bad {
				t.Errorf("unpack: %v (ErrBadMessage %v)\nwant %s (%v)", err, errors.Is(err, socket.ErrBadMessage), test.want, test.bad)
			}
		})
	}
	t.Run("too many filters", func(t *testing.T) {
		m := message(1, socket.TypeCall, "/a", 'j', "")
		one := socket.NewMessage(socket.WithXferPipe('m'))
		for range 256 {
			m.XferPipe().AppendFrom(one.XferPipe())
		}
		err := NewPbProtoFunc()(new(exchange)).Pack(m)
		if want := "protobuf: pipe of 256 filters is longer than 255"; err == nil || err.Error() != want {
			t.Errorf("pack: %v, want %s", err, want)
		}
	})
}

// A size that claims gigabytes is stopped by the limit, or by the end.
func TestHugeSize(t *testing.T) {
	const claim = "\x80\x00\x00\x00\x00\x08\x01"
	var x exchange
	x.WriteString(claim)
	m := new(socket.Envelope)
	m.SetLimit(1 << 20)
	if err := NewPbProtoFunc()(&x).Unpack(m); !errors.Is(err, socket.ErrSizeLimit) {
		t.Errorf("unpack: %v, want ErrSizeLimit", err)
	}
	x.Reset()
	x.WriteString(claim)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := NewPbProtoFunc()(&x).Unpack(new(socket.Envelope))
	runtime.ReadMemStats(&after)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("without a limit, unpack: %v, want io.ErrUnexpectedEOF", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("without a limit, unpack takes %d bytes of memory", n)
	}
}

// What the filters make of a frame stays below the limit.
func TestBomb(t *testing.T) {
	var x exchange
	x.Write(framed("BBB", "\x08\x01\x10\x01\x1a\x02/a"))
	m := new(socket.Envelope)
	m.SetLimit(100_000)
	if err := NewPbProtoFunc()(&x).Unpack(m); !errors.Is(err, socket.ErrBadMessage) || !strings.Contains(err.Error(), "pipe") {
		t.Errorf("unpack: %v, want ErrBadMessage of the pipe", err)
	}
}

// What protobuf allows, and the older ages never write.
func TestLenient(t *testing.T) {
	for _, test := range []struct {
		name, payload string
		want          socket.Message
	}{
		{"nothing", "", message(0, 0, "", 0, "")},
		{"any order", "\x32\x02hi\x28\x6a\x1a\x02/a\x10\x01\x08\x05", message(5, 1, "/a", 'j', "hi")},
		{"the last of a field twice", "\x08\x01\x08\x05\x10\x01\x1a\x02/b\x1a\x02/a\x28\x01\x28\x6a\x32\x02no\x32\x02hi", message(5, 1, "/a", 'j', "hi")},
		{"unknown fields", "\x48\x01\x51\x00\x00\x00\x00\x00\x00\x00\x00\x08\x05\x5a\x03abc\x10\x01\x1a\x02/a\x65\x00\x00\x00\x00\x28\x6a\x32\x02hi", message(5, 1, "/a", 'j', "hi")},
		{"explicit zeros", "\x08\x00\x10\x00\x1a\x00\x22\x00\x28\x00\x32\x00", message(0, 0, "", 0, "")},
		{"negative in 32 bits", "\x08\xff\xff\xff\xff\x0f\x10\x01", message(-1, 1, "", 0, "")},
		{"negative in 64 bits", "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\x01", message(-1, 1, "", 0, "")},
		{"least", "\x08\x80\x80\x80\x80\xf8\xff\xff\xff\xff\x01\x10\x01", message(math.MinInt32, 1, "", 0, "")},
		{"padded varints", "\x08\x85\x00\x90\x00\x81\x80\x00", message(5, 1, "", 0, "")},
		{"method is not UTF-8", "\x10\x01\x1a\x02\xff\xfe", message(0, 1, "\xff\xfe", 0, "")},
	} {
		t.Run(test.name, func(t *testing.T) {
			var x exchange
			x.Write(framed("", test.payload))
			m := socket.NewMessage()
			if err := NewPbProtoFunc()(&x).Unpack(m); err != nil {
				t.Fatal(err)
			}
			if got, want := picture(m), picture(test.want); got != want {
				t.Errorf("got %s\nwant %s", got, want)
			}
		})
	}
}

// A message that is used again keeps nothing of the one before.
func TestReuse(t *testing.T) {
	for _, d := range []Dialect{V5, V7} {
		c, s := connect([]Dialect{d}, nil)
		full := message(math.MinInt32, socket.TypeReply, "/a", 'j', "body", socket.WithAddMeta("k", "v"),
			socket.WithRerror(socket.NewRerror(1, "m", "r")), socket.WithXferPipe('m'))
		for _, m := range []socket.Message{full, message(0, 0, "", 0, "")} {
			must(c.Pack(m))
		}
		got := socket.NewMessage()
		for range 2 {
			must(s.Unpack(got))
		}
		if got, want := picture(got), picture(message(0, 0, "", 0, "")); got != want {
			t.Errorf("%v: second message:\n got %s\nwant %s", d, got, want)
		}
	}
}
