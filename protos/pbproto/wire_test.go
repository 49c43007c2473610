package pbproto

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

func init() {
	xfer.Register(md5Filter{})
	xfer.Register(bomb{})
}

// md5Filter is the md5 filter of all ages: the sum behind the bytes.
type md5Filter struct{}

func (md5Filter) ID() byte     { return xfer.MD5 }
func (md5Filter) Name() string { return xfer.NameMD5 }

func (md5Filter) OnPack(b []byte) ([]byte, error) {
	sum := md5.Sum(b)
	return append(slices.Clone(b), sum[:]...), nil
}

func (md5Filter) OnUnpack(b []byte) ([]byte, error) {
	n := len(b) - md5.Size
	if n < 0 {
		return nil, io.ErrUnexpectedEOF
	}
	if sum := md5.Sum(b[:n]); string(sum[:]) != string(b[n:]) {
		return nil, errors.New("wrong sum")
	}
	return b[:n], nil
}

// bomb is a filter that makes a thousand bytes of each when it unpacks.
type bomb struct{}

func (bomb) ID() byte                          { return 'B' }
func (bomb) Name() string                      { return "test bomb" }
func (bomb) OnPack(b []byte) ([]byte, error)   { return slices.Clone(b), nil }
func (bomb) OnUnpack(b []byte) ([]byte, error) { return bytes.Repeat(b, 1000), nil }

// exchange is what goes over a connection: what was written is read back.
type exchange struct{ bytes.Buffer }

// end is one end of a connection in memory.
type end struct {
	*bytes.Buffer // what arrives
	to            *bytes.Buffer
	dialed        bool
}

func (e *end) Write(p []byte) (int, error) { return e.to.Write(p) }
func (e *end) Dialed() bool                { return e.dialed }

// side is a protocol with its end of the connection.
type side struct {
	*pbProto
	rw *end
}

// connect makes the two protocols of a connection.
func connect(client, server []Dialect) (c, s side) {
	a, b := new(bytes.Buffer), new(bytes.Buffer)
	left, right := &end{a, b, true}, &end{b, a, false}
	return side{NewPbProtoFunc(client...)(left).(*pbProto), left},
		side{NewPbProtoFunc(server...)(right).(*pbProto), right}
}

// arrive puts bytes where p reads.
func arrive(p side, b []byte) { p.rw.Buffer.Write(b) }

// pass sends m from one to the other and compares what arrives.
func pass(t *testing.T, from, to side, m socket.Message) {
	t.Helper()
	if err := from.Pack(m); err != nil {
		t.Fatalf("pack: %v", err)
	}
	got := socket.NewMessage()
	if err := to.Unpack(got); err != nil {
		t.Fatalf("unpack: %v", err)
	}
	if got, want := picture(got), picture(m); got != want {
		t.Fatalf("arrives:\n got %s\nwant %s", got, want)
	}
}

// framed puts size and filters before the payload.
func framed(filters, payload string) []byte {
	n := 1 + len(filters) + len(payload)
	b := []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), byte(len(filters))}
	return append(append(b, filters...), payload...)
}

// golden returns the bytes of testdata/golden/name.hex.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "golden", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func goldenNames(t testing.TB) (names []string) {
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.hex"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".hex"))
	}
	return names
}

// dialectOf returns the dialect that a golden file is named after.
func dialectOf(t testing.TB, name string) Dialect {
	t.Helper()
	for _, d := range []Dialect{V5, V7} {
		if strings.HasPrefix(name, d.String()+"-") {
			return d
		}
	}
	t.Fatalf("%s: of no dialect", name)
	return 0
}

// goldens are the exchanges of the golden files, without the dialect.
var goldens = map[string]func() socket.Message{
	"call": func() socket.Message {
		return message(1, socket.TypeCall, "/math/add", 'j', "[1,2,3]", socket.WithAddMeta("k", "v 1/é"))
	},
	"reply": func() socket.Message {
		return message(1, socket.TypeReply, "", 'j', "6", socket.WithAddMeta("who", "srv 1"))
	},
	"404": func() socket.Message {
		return message(3, socket.TypeReply, "", 0, "", socket.WithRerror(socket.NewRerror(404, "Not Found", "")))
	},
	"push": func() socket.Message { return message(6, socket.TypePush, "/note/say", 'j', `"hi"`) },
	"md5": func() socket.Message {
		return message(2, socket.TypeCall, "/math/add", 'j', "[1,2,3]", socket.WithXferPipe('m'))
	},
	"auth-call":  func() socket.Message { return message(1, socket.TypeAuthCall, "", 's', "tok") },
	"auth-reply": func() socket.Message { return message(1, socket.TypeAuthReply, "", 's', "pass") },
}

func message(seq int32, mtype byte, method string, codec byte, body string, more ...socket.MessageSetting) socket.Message {
	m := socket.NewMessage(socket.WithSeq(seq), socket.WithMtype(mtype),
		socket.WithServiceMethod(method), socket.WithBodyCodec(codec))
	if body != "" {
		m.SetBody([]byte(body))
	}
	for _, set := range more {
		set(m)
	}
	return m
}

// picture is all there is to see of a message, but for its size.
func picture(m socket.Message) string {
	own := socket.NewMessage()
	own.SetSeq(m.Seq())
	own.SetMtype(m.Mtype())
	own.SetServiceMethod(m.ServiceMethod())
	own.SetBodyCodec(m.BodyCodec())
	own.SetRerror(m.Rerror())
	m.Meta().CopyTo(own.Meta())
	own.XferPipe().AppendFrom(m.XferPipe())
	body := m.RawBody()
	if b, ok := m.Body().([]byte); ok {
		body = b
	}
	return own.String() + hex.EncodeToString(body)
}

func TestGolden(t *testing.T) {
	for _, name := range goldenNames(t) {
		d := dialectOf(t, name)
		msg, ok := goldens[strings.TrimPrefix(name, d.String()+"-")]
		if !ok {
			t.Errorf("%s: no message for it", name)
			continue
		}
		frame := golden(t, name)
		t.Run(name+"/pack", func(t *testing.T) {
			var x exchange
			m := msg()
			if err := NewPbProtoFunc(d)(&x).Pack(m); err != nil {
				t.Fatal(err)
			}
			if got := x.Bytes(); !bytes.Equal(got, frame) {
				t.Errorf("pack:\n got %q\nwant %q", got, frame)
			}
			if got, want := m.Size(), uint32(len(frame)); got != want {
				t.Errorf("size = %d, want %d", got, want)
			}
		})
		t.Run(name+"/unpack", func(t *testing.T) {
			var x exchange
			x.Write(frame)
			p := NewPbProtoFunc()(&x).(*pbProto)
			m := socket.NewMessage()
			if err := p.Unpack(m); err != nil {
				t.Fatal(err)
			}
			if got, want := picture(m), picture(msg()); got != want {
				t.Errorf("unpack:\n got %s\nwant %s", got, want)
			}
			if got, want := m.Size(), uint32(len(frame)); got != want {
				t.Errorf("size = %d, want %d", got, want)
			}
			if p.dialect() != d {
				t.Errorf("speaks %v afterwards, want %v", p.dialect(), d)
			}
			if err := p.Unpack(m); err != io.EOF {
				t.Errorf("after the frame: %v, want io.EOF", err)
			}
		})
	}
}

// Cut at any byte, a golden frame is an error that names what.
func TestCut(t *testing.T) {
	for _, name := range goldenNames(t) {
		frame := golden(t, name)
		for n := 1; n < len(frame); n++ {
			var x exchange
			x.Write(frame[:n])
			err := NewPbProtoFunc()(&x).Unpack(socket.NewMessage())
			if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.HasPrefix(err.Error(), Name+": ") {
				t.Errorf("%s cut after %d bytes: %v, want io.ErrUnexpectedEOF", name, n, err)
			}
		}
	}
}
