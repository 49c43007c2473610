package rawproto

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
)

func TestConformance(t *testing.T) {
	for _, named := range [][]Dialect{nil, {V5}, {V7}} {
		d := dialectTests.Named(named)
		t.Run(d.String(), func(t *testing.T) { prototest.Run(t, NewRawProtoFunc(named...), badFrames(d)...) })
	}
}

func badFrames(d Dialect) []prototest.Option {
	opts := []prototest.Option{
		prototest.LostFrame("size below the header", []byte{0, 0, 0, 4, 0, 0, 0, 0}),
		prototest.LostFrame("size of nothing", make([]byte, 16)),
		prototest.LostFrame("no room for the number of filters", []byte{0, 0, 0, 5, 'r', 0, 0, 0}),
	}
	for name, payload := range map[string]string{
		"no fields":                     "",
		"seq text over the end":         "\x091",
		"seq text empty":                "\x00\x01\x00\x00\x00j",
		"seq text not in base 36":       "\x01/\x01\x00\x00\x00j",
		"seq beyond 32 bits":            "\x07zzzzzzz\x01\x00\x00\x00j",
		"no type":                       "\x011",
		"method over the end":           "\x011\x01\xc8/",
		"length of the metadata is cut": "\x011\x01\x00\x00",
		"metadata over the end":         "\x011\x01\x00\xff\xffa",
		"no codec":                      "\x011\x01\x00\x00\x00",
	} {
		opts = append(opts, prototest.BadFrame(name, framed(d, nil, []byte(payload))))
	}
	whole := []byte("\x011\x01\x00\x00\x00j")
	for name, filters := range map[string]string{
		"unknown filter":  "\x01",
		"filter 0":        "\x00",
		"damaged":         "m",
		"nine filters":    "mmmmmmmmm",
		"only the filter": "m",
	} {
		payload := whole
		if name == "only the filter" {
			payload = nil
		}
		opts = append(opts, prototest.BadFrame(name, framed(d, []byte(filters), payload)))
	}
	over := framed(d, nil, nil)
	over[len(over)-1] = 3
	return append(opts, prototest.BadFrame("filters over the end", over))
}

// framed puts the header of the dialect before the payload.
func framed(d Dialect, filters, payload []byte) []byte {
	b := []byte{0, 0, 0, 0}
	if d == Seed {
		b = append(b, version)
	}
	b = append(b, byte(len(filters)))
	b = append(append(b, filters...), payload...)
	b[3] = byte(len(b))
	return b
}

func TestErrorTexts(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, test := range []struct {
		name string
		d    Dialect
		set  socket.MessageSetting
		want string
	}{
		{"method", Seed, socket.WithServiceMethod(long(300)), "raw: service method of 300 bytes is longer than 255"},
		{"metadata", Seed, socket.WithAddMeta("k", long(65_534)), "raw: metadata of 65536 bytes is longer than 65535"},
		{"metadata", V5, socket.WithAddMeta("k", long(65_534)), "raw: metadata of 65536 bytes is longer than 65535"},
		{"metadata", V7, socket.WithAddMeta("k", long(65_534)), "raw: metadata of 65536 bytes is longer than 65535"},
		{"status", V7, socket.WithRerror(socket.NewRerror(1, long(65_535), "")), "raw: status of 65553 bytes is longer than 65535"},
		{"pipe", V7, func(m socket.Message) {
			one := socket.NewMessage(socket.WithXferPipe('m'))
			for range 256 {
				m.XferPipe().AppendFrom(one.XferPipe())
			}
		}, "raw: pipe of 256 filters is longer than 255"},
		{"error", V5, socket.WithRerror(socket.NewRerror(1, "", long(65_535))), "raw: metadata of 65593 bytes is longer than 65535"},
	} {
		t.Run(test.d.String()+"/"+test.name, func(t *testing.T) {
			var wire bytes.Buffer
			m := message(1, socket.TypeReply, "", 'j', "", test.set)
			err := NewRawProtoFunc(test.d)(&wire).Pack(m)
			var fe *FieldError
			if err == nil || err.Error() != test.want || !errors.As(err, &fe) || errors.Is(err, socket.ErrBadMessage) {
				t.Errorf("pack: %v, want %s", err, test.want)
			}
			if wire.Len() != 0 {
				t.Errorf("pack left %d bytes", wire.Len())
			}
		})
	}
	for _, test := range []struct {
		name, frame, want string
		bad               bool
	}{
		{"size", "\x00\x00\x00\x04", "raw: size of 4 bytes is below the header's 5", false},
		{"cut in the size", "\x00\x00", "raw: size ended after 2 of 4 bytes: unexpected EOF", false},
		{"cut", "\x00\x00\x00\x2d12345678901", "raw: frame ended after 15 of 45 bytes: unexpected EOF", false},
		{"seq", "\x00\x00\x00\x0dr\x00\x01_\x01\x00\x00\x00j", `raw: seq "_" is not a 32-bit number in base 36`, true},
		{"method", "\x00\x00\x00\x0dr\x00\x011\x01\x99\x00\x00j", "raw: service method of 153 bytes is over the frame's end", true},
		{"filters", "\x00\x00\x00\x07r\x03mmmmmm", "raw: pipe of 3 bytes is over the frame's end", true},
		{"pipe", "\x00\x00\x00\x07r\x09m", "raw: pipe of 9 filters is longer than 8", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := read([]byte(test.frame))
			if err == nil || err.Error() != test.want || errors.Is(err, socket.ErrBadMessage) != test.bad {
				t.Errorf("unpack: %v (ErrBadMessage %v), want %s (%v)",
					err, errors.Is(err, socket.ErrBadMessage), test.want, test.bad)
			}
		})
	}
}

// A size that claims four gigabytes is stopped by the limit, or by the end.
func TestHugeSize(t *testing.T) {
	var x bytes.Buffer
	x.WriteString("\xff\xff\xff\xffr\x00")
	m := new(socket.Envelope)
	m.SetLimit(1 << 20)
	if err := NewRawProtoFunc()(&x).Unpack(m); !errors.Is(err, socket.ErrSizeLimit) {
		t.Errorf("unpack: %v, want ErrSizeLimit", err)
	}
	want := io.ErrUnexpectedEOF
	if math.MaxInt == math.MaxInt32 {
		want = socket.ErrSizeLimit // memory cannot be that large
	}
	x.Reset()
	x.WriteString("\xff\xff\xff\xffr\x00")
	if err := NewRawProtoFunc()(&x).Unpack(new(socket.Envelope)); !errors.Is(err, want) {
		t.Errorf("without a limit, unpack: %v, want %v", err, want)
	}
}

// A key of the error that somebody else wrote is removed from the metadata too.
func TestReplyErrorKey(t *testing.T) {
	meta := "X-Reply-Error=" + "%7B%22code%22%3A1%7D"
	for mtype, want := range map[byte]string{socket.TypeCall: "<nil>", socket.TypeReply: `{"code":1}`} {
		payload := append([]byte{1, '1', mtype, 0, 0, byte(len(meta))}, meta...)
		var x bytes.Buffer
		x.Write(framed(Seed, nil, append(payload, 'j')))
		m := socket.NewMessage()
		if err := NewRawProtoFunc()(&x).Unpack(m); err != nil {
			t.Fatal(err)
		}
		if m.Rerror().String() != want || m.Meta().Len() != 0 {
			t.Errorf("type %d: rerror %v, metadata %q; want %s and none", mtype, m.Rerror(), m.Meta(), want)
		}
	}
}

// typical is the message that is measured.
func typical() *socket.Envelope {
	return prototest.Typical('p', bytes.Repeat([]byte("x"), prototest.BenchBody))
}

func TestAllocations(t *testing.T) {
	for _, d := range dialectTests.All {
		t.Run(d.String(), func(t *testing.T) { prototest.Allocations(t, NewRawProtoFunc(d), typical()) })
	}
}

// benchmark runs f for each dialect, over connections of both kinds.
func benchmark(b *testing.B, f func(b *testing.B, pf socket.ProtoFunc, rw io.ReadWriter)) {
	for _, d := range dialectTests.All {
		pf := NewRawProtoFunc(d)
		for name, rw := range prototest.Endless(pf, typical()) {
			b.Run(d.String()+"/"+name, func(b *testing.B) { f(b, pf, rw) })
		}
	}
}

func BenchmarkPack(b *testing.B) {
	benchmark(b, func(b *testing.B, pf socket.ProtoFunc, rw io.ReadWriter) {
		prototest.BenchmarkPack(b, pf, rw, typical())
	})
}

func BenchmarkUnpack(b *testing.B) { benchmark(b, prototest.BenchmarkUnpack) }

func BenchmarkAppendFrame(b *testing.B) {
	for _, d := range dialectTests.All {
		b.Run(d.String(), func(b *testing.B) { prototest.BenchmarkAppendFrame(b, NewRawProtoFunc(d), typical()) })
	}
}
