package rawproto

import (
	"bytes"
	"compress/gzip"
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
	xfer.Register(gzipFilter{})
	xfer.Register(md5Filter{})
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

// gzipFilter writes as V7 does, and reads the streams without an end that V5
// writes.
type gzipFilter struct{}

func (gzipFilter) ID() byte     { return xfer.Gzip }
func (gzipFilter) Name() string { return xfer.NameGzip }

func (gzipFilter) OnPack(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, 5)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	return out.Bytes(), err
}

func (gzipFilter) OnUnpack(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if errors.Is(err, io.ErrUnexpectedEOF) && bytes.HasSuffix(b, []byte{0, 0, 0xff, 0xff}) {
		err = nil
	}
	return out, err
}

// exchange is what goes over a connection: what was written is read back.
type exchange struct{ bytes.Buffer }

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

// dialectOf returns the dialect that a golden file is named after.
func dialectOf(t testing.TB, name string) Dialect {
	t.Helper()
	for _, d := range []Dialect{Seed, V5, V7} {
		if strings.HasPrefix(name, d.String()+"-") {
			return d
		}
	}
	t.Fatalf("%s: of no dialect", name)
	return 0
}

// goldens are the exchanges of the golden files, without the dialect. in says
// that V5's pack is not compared.
var goldens = map[string]struct {
	msg func() socket.Message
	in  bool
}{
	"call": {msg: func() socket.Message {
		return message(1, socket.TypeCall, "/math/add", 'j', "[1,2,3]", socket.WithAddMeta("k", "v 1/é"))
	}},
	"reply": {msg: func() socket.Message {
		return message(1, socket.TypeReply, "", 'j', "6", socket.WithAddMeta("who", "srv 1"))
	}},
	"404": {msg: func() socket.Message {
		return message(3, socket.TypeReply, "", 0, "", socket.WithRerror(socket.NewRerror(404, "Not Found", "")))
	}},
	"push": {msg: func() socket.Message { return message(6, socket.TypePush, "/note/say", 'j', `"hi"`) }},
	"md5": {msg: func() socket.Message {
		return message(2, socket.TypeCall, "/math/add", 'j', "[1,2,3]", socket.WithXferPipe('m'))
	}},
	"gzip": {in: true, msg: func() socket.Message {
		return message(1, socket.TypeCall, "/math/add", 'j', "[1,2,3]", socket.WithXferPipe('g'))
	}},
	"gzip-md5": {in: true, msg: func() socket.Message {
		return message(3, socket.TypeCall, "/math/add", 'j', "[1,2,3]", socket.WithXferPipe('g', 'm'))
	}},
	"heartbeat": {msg: func() socket.Message {
		return message(1, socket.TypeCall, "/heartbeat", 'j', "", socket.WithAddMeta("hb_", "3"))
	}},
	"heartbeat-push": {msg: func() socket.Message {
		return message(1, socket.TypePush, "/heartbeat", 'j', "", socket.WithAddMeta("hb_", "3"))
	}},
	"heartbeat-reply": {msg: func() socket.Message { return message(1, socket.TypeReply, "", 'j', "null") }},
	"auth-call":       {msg: func() socket.Message { return message(1, socket.TypeAuthCall, "", 's', "tok") }},
	"auth-reply":      {msg: func() socket.Message { return message(1, socket.TypeAuthReply, "", 's', "pass") }},
	"secure": {msg: func() socket.Message {
		return message(1, socket.TypeCall, "/math/add", 'j',
			`{"cipherversion":"1ba49884c59b16619f411c7c80343c9c","ciphertext":"a2b37762f05bf0fc18a57076ca4d4a0c"}`,
			socket.WithAddMeta("X-Secure", "true"))
	}},
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

func TestGolden(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.hex"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".hex")
		d := dialectOf(t, name)
		kind := strings.TrimPrefix(name, d.String()+"-")
		g, ok := goldens[kind]
		if !ok {
			t.Errorf("%s: no message for it", file)
			continue
		}
		frame := golden(t, name)
		if !g.in || d == V7 {
			t.Run(name+"/pack", func(t *testing.T) {
				var x exchange
				p := NewRawProtoFunc(d)(&x)
				m := g.msg()
				if err := p.Pack(m); err != nil {
					t.Fatal(err)
				}
				if got := x.Bytes(); !bytes.Equal(got, frame) {
					t.Errorf("pack:\n got %x\nwant %x", got, frame)
				}
				if got, want := m.Size(), uint32(len(frame)); got != want {
					t.Errorf("size = %d, want %d", got, want)
				}
			})
		}
		t.Run(name+"/unpack", func(t *testing.T) {
			var x exchange
			x.Write(frame)
			p := NewRawProtoFunc()(&x).(*rawProto)
			m := socket.NewMessage()
			if err := p.Unpack(m); err != nil {
				t.Fatal(err)
			}
			if got, want := picture(m), picture(g.msg()); got != want {
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
	own.SetBody(append([]byte{}, body...))
	return own.String()
}
