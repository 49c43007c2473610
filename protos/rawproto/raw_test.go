package rawproto

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

func TestConformance(t *testing.T) {
	prototest.Run(t, NewRawProtoFunc(), badFrames(Seed)...)
	for _, d := range []Dialect{Seed, V5, V7} {
		t.Run(d.String(), func(t *testing.T) { prototest.Run(t, NewRawProtoFunc(d), badFrames(d)...) })
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
			var x exchange
			m := message(1, socket.TypeReply, "", 'j', "", test.set)
			err := NewRawProtoFunc(test.d)(&x).Pack(m)
			var fe *FieldError
			if err == nil || err.Error() != test.want || !errors.As(err, &fe) || errors.Is(err, socket.ErrBadMessage) {
				t.Errorf("pack: %v, want %s", err, test.want)
			}
			if x.Len() != 0 {
				t.Errorf("pack left %d bytes", x.Len())
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
			var x exchange
			x.WriteString(test.frame)
			err := NewRawProtoFunc()(&x).Unpack(socket.NewMessage())
			if err == nil || err.Error() != test.want || errors.Is(err, socket.ErrBadMessage) != test.bad {
				t.Errorf("unpack: %v (ErrBadMessage %v), want %s (%v)",
					err, errors.Is(err, socket.ErrBadMessage), test.want, test.bad)
			}
		})
	}
}

// A size that claims four gigabytes is stopped by the limit, or by the end.
func TestHugeSize(t *testing.T) {
	var x exchange
	x.WriteString("\xff\xff\xff\xffr\x00")
	m := new(socket.Envelope)
	m.SetLimit(1 << 20)
	if err := NewRawProtoFunc()(&x).Unpack(m); !errors.Is(err, socket.ErrSizeLimit) {
		t.Errorf("unpack: %v, want ErrSizeLimit", err)
	}
	x.Reset()
	x.WriteString("\xff\xff\xff\xffr\x00")
	if err := NewRawProtoFunc()(&x).Unpack(new(socket.Envelope)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("without a limit, unpack: %v, want io.ErrUnexpectedEOF", err)
	}
}

func TestStatus(t *testing.T) {
	for _, test := range []struct {
		status string
		want   *socket.Rerror
	}{
		{"", nil},
		{"code=0", nil},
		{"code=x", nil},
		{"code=99999999999", nil},
		{"msg=z", nil},
		{"code=0&msg=z&cause=c", nil},
		{"code=404&msg=Not%20Found&cause=", socket.NewRerror(404, "Not Found", "")},
		{"code=404", socket.NewRerror(404, "", "")},
		{"code=-1&cause=a+b%26", socket.NewRerror(-1, "", "a b&")},
		{"x=y&cause=c&code=7&stack=s&msg=m", socket.NewRerror(7, "m", "c")},
	} {
		t.Run(test.status, func(t *testing.T) {
			payload := append([]byte("\x011\x02\x00\x00"), byte(len(test.status)))
			payload = append(append(payload, test.status...), 0, 0, 0)
			c, _ := connect([]Dialect{V7}, nil)
			c.rw.Buffer.Write(framed(V7, nil, payload))
			m := socket.NewMessage()
			if err := c.Unpack(m); err != nil {
				t.Fatal(err)
			}
			if got := m.Rerror(); got.String() != test.want.String() {
				t.Errorf("rerror = %v, want %v", got, test.want)
			}
		})
	}
}

// The metadata key of the error is the protocol's own, where it is used.
func TestReplyErrorKey(t *testing.T) {
	const own = `{"code":1}`
	rerr := socket.NewRerror(404, "Not Found", "gone")
	for _, test := range []struct {
		name  string
		d     Dialect
		mtype byte
		rerr  *socket.Rerror
		meta  string // what arrives
	}{
		{"a CALL loses the key", Seed, socket.TypeCall, nil, "a=1&b=2"},
		{"a CALL loses the key", V5, socket.TypeCall, nil, "a=1&b=2"},
		{"a PUSH loses the key", V5, socket.TypePush, rerr, "a=1&b=2"},
		{"a REPLY loses the key", Seed, socket.TypeReply, nil, "a=1&b=2"},
		{"an error takes its place", Seed, socket.TypeReply, rerr, "a=1&b=2"},
		{"an error takes its place", V5, socket.TypeAuthReply, rerr, "a=1&b=2"},
		{"v7 has a status", V7, socket.TypeReply, rerr,
			"a=1&X-Reply-Error=%7B%22code%22%3A1%7D&b=2&X-Reply-Error=%7B%22code%22%3A1%7D"},
	} {
		t.Run(test.d.String()+"/"+test.name, func(t *testing.T) {
			c, s := connect([]Dialect{test.d}, nil)
			m := message(1, test.mtype, "/a", 'j', "", socket.WithAddMeta("a", "1"),
				socket.WithAddMeta(socket.MetaReplyError, own), socket.WithAddMeta("b", "2"),
				socket.WithAddMeta(socket.MetaReplyError, own), socket.WithRerror(test.rerr))
			if err := c.Pack(m); err != nil {
				t.Fatal(err)
			}
			if got := m.Meta().String(); !strings.Contains(got, "X-Reply-Error") {
				t.Errorf("pack changed the message's metadata to %s", got)
			}
			if frame := s.rw.Buffer.String(); test.d != V7 {
				if n, want := strings.Count(frame, "X-Reply-Error"), min(strings.Count(frame, "404"), 1); n != want {
					t.Errorf("the key is %d times in the frame, want %d: %q", n, want, frame)
				}
			}
			got := socket.NewMessage()
			if err := s.Unpack(got); err != nil {
				t.Fatal(err)
			}
			var want *socket.Rerror
			if framing.IsReply(test.mtype) {
				want = test.rerr
			}
			if got.Rerror().String() != want.String() {
				t.Errorf("rerror = %v, want %v", got.Rerror(), want)
			}
			if got := got.Meta().String(); got != test.meta {
				t.Errorf("metadata = %s, want %s", got, test.meta)
			}
		})
	}
	t.Run("written by somebody else", func(t *testing.T) {
		meta := "X-Reply-Error=" + "%7B%22code%22%3A1%7D"
		for mtype, want := range map[byte]string{socket.TypeCall: "<nil>", socket.TypeReply: `{"code":1}`} {
			payload := append([]byte{1, '1', mtype, 0, 0, byte(len(meta))}, meta...)
			var x exchange
			x.Write(framed(Seed, nil, append(payload, 'j')))
			m := socket.NewMessage()
			if err := NewRawProtoFunc()(&x).Unpack(m); err != nil {
				t.Fatal(err)
			}
			if m.Rerror().String() != want || m.Meta().Len() != 0 {
				t.Errorf("type %d: rerror %v, metadata %q; want %s and none", mtype, m.Rerror(), m.Meta(), want)
			}
		}
	})
}

// A message that is used again keeps nothing of the one before.
func TestReuse(t *testing.T) {
	c, s := connect(nil, nil)
	full := message(math.MinInt32, socket.TypeReply, "/a", 'j', "body", socket.WithAddMeta("k", "v"),
		socket.WithRerror(socket.NewRerror(1, "m", "r")), socket.WithXferPipe('m'))
	for _, m := range []socket.Message{full, message(0, 0, "", 0, "")} {
		if err := c.Pack(m); err != nil {
			t.Fatal(err)
		}
	}
	got := socket.NewMessage()
	for range 2 {
		if err := s.Unpack(got); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := picture(got), picture(message(0, 0, "", 0, "")); got != want {
		t.Errorf("second message:\n got %s\nwant %s", got, want)
	}
}

// Memory for one large message goes with it.
func TestLargeIsPassedOn(t *testing.T) {
	for name, filters := range map[string][]byte{"plain": nil, "piped": []byte("m")} {
		t.Run(name, func(t *testing.T) {
			var x exchange
			p := NewRawProtoFunc()(struct{ io.ReadWriter }{&x}).(*rawProto)
			for _, n := range []int{100, 200_000, 100} {
				body := strings.Repeat("x", n)
				must(p.Pack(message(1, socket.TypeCall, "/a", 'j', body, socket.WithXferPipe(filters...))))
				m := new(socket.Envelope)
				must(p.Unpack(m))
				if string(m.RawBody()) != body || m.BodyOwned() != (n > framing.OwnFrom) {
					t.Errorf("a body of %d bytes arrives with %d, owned: %v", n, len(m.RawBody()), m.BodyOwned())
				}
			}
		})
	}
}

// typical is a message with a body of 581 bytes.
func typical() *socket.Envelope {
	m := message(12345, socket.TypeCall, "/bench/echo", 'p', strings.Repeat("x", 581)).(*socket.Envelope)
	m.SetInterner(interner{})
	return m
}

type interner struct{}

func (interner) Intern(b []byte) string {
	if string(b) == "/bench/echo" {
		return "/bench/echo"
	}
	return string(b)
}

// endless is a connection on which the same frame arrives for ever.
type endless struct {
	frame []byte
	at    int
	out   []byte
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.frame[e.at:])
	e.at = (e.at + n) % len(e.frame)
	return n, nil
}

func (e *endless) Write(p []byte) (int, error) { return len(p), nil }

// inPlace offers what the engine's connections do.
type inPlace struct {
	*bufio.Reader
	*endless
}

func (i inPlace) Read(p []byte) (int, error) { return i.Reader.Read(p) }
func (i inPlace) AvailableBuffer() []byte    { return i.out[:0] }

func conns(d Dialect) map[string]io.ReadWriter {
	frame, err := NewRawProtoFunc(d)(nil).(*rawProto).AppendFrame(nil, typical())
	if err != nil {
		panic(err)
	}
	plain := func() *endless { return &endless{frame: frame, out: make([]byte, 4096)} }
	in := plain()
	return map[string]io.ReadWriter{
		"in place": inPlace{bufio.NewReaderSize(in, 32<<10), in},
		"plain":    struct{ io.ReadWriter }{plain()},
	}
}

func TestAllocations(t *testing.T) {
	for _, d := range []Dialect{Seed, V5, V7} {
		for name, c := range conns(d) {
			p := NewRawProtoFunc(d)(c).(*rawProto)
			m := typical()
			if _, pooled := c.(inPlace); pooled { // the race detector empties pools at random
				if n := testing.AllocsPerRun(100, func() { must(p.Pack(m)) }); n != 0 {
					t.Errorf("%v, %s: Pack: %v allocations, want 0", d, name, n)
				}
			}
			in := new(socket.Envelope)
			in.SetInterner(interner{})
			if n := testing.AllocsPerRun(100, func() { in.Clear(); must(p.Unpack(in)) }); n != 0 {
				t.Errorf("%v, %s: Unpack: %v allocations, want 0", d, name, n)
			}
			if !bytes.Equal(in.RawBody(), m.Body().([]byte)) {
				t.Errorf("%v, %s: body = %.20q", d, name, in.RawBody())
			}
		}
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func BenchmarkPack(b *testing.B) {
	for _, d := range []Dialect{Seed, V5, V7} {
		for name, c := range conns(d) {
			b.Run(d.String()+"/"+name, func(b *testing.B) {
				p, m := NewRawProtoFunc(d)(c), typical()
				b.ReportAllocs()
				for b.Loop() {
					must(p.Pack(m))
				}
				b.SetBytes(int64(m.Size()))
			})
		}
	}
}

func BenchmarkUnpack(b *testing.B) {
	for _, d := range []Dialect{Seed, V5, V7} {
		for name, c := range conns(d) {
			b.Run(d.String()+"/"+name, func(b *testing.B) {
				p, m := NewRawProtoFunc(d)(c), new(socket.Envelope)
				m.SetInterner(interner{})
				b.ReportAllocs()
				for b.Loop() {
					m.Clear()
					must(p.Unpack(m))
				}
				b.SetBytes(int64(m.Size()))
			})
		}
	}
}
func BenchmarkAppendFrame(b *testing.B) {
	for d := Dialect(1); d.valid(); d++ {
		b.Run(d.String(), func(b *testing.B) {
			m := typical()
			p, buf := NewRawProtoFunc(d)(nil).(*rawProto), make([]byte, 0, 4<<10)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.AppendFrame(buf, m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
