package thriftproto

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

func init() {
	xfer.Register(sumFilter{})
	codec.Register(textCodec{})
}

// sumFilter puts a byte behind the bytes.
type sumFilter struct{}

func (sumFilter) ID() byte                        { return xfer.MD5 }
func (sumFilter) Name() string                    { return xfer.NameMD5 }
func (sumFilter) OnPack(b []byte) ([]byte, error) { return append(bytes.Clone(b), '#'), nil }
func (sumFilter) OnUnpack(b []byte) ([]byte, error) {
	if !bytes.HasSuffix(b, []byte("#")) {
		return nil, errors.New("wrong sum")
	}
	return b[:len(b)-1], nil
}

// text is struct { 1: string }.
type text struct{ s string }

// textCodec is the thrift codec for that struct.
type textCodec struct{}

func (textCodec) ID() byte     { return codec.Thrift }
func (textCodec) Name() string { return codec.NameThrift }

func (textCodec) Marshal(v any) ([]byte, error) {
	t, ok := v.(*text)
	if !ok {
		return nil, fmt.Errorf("thrift codec: %T does not implement thrift.TStruct", v)
	}
	b := binary.BigEndian.AppendUint32([]byte{str, 0, 1}, uint32(len(t.s)))
	return append(append(b, t.s...), stop), nil
}

func (textCodec) Unmarshal(b []byte, v any) error {
	t, ok := v.(*text)
	if !ok {
		return fmt.Errorf("thrift codec: %T does not implement thrift.TStruct", v)
	}
	if len(b) < 8 || b[0] != str || int(binary.BigEndian.Uint32(b[3:])) != len(b)-8 {
		return io.ErrUnexpectedEOF
	}
	t.s = string(b[7 : len(b)-1])
	return nil
}

func encoded(s string) string {
	b, _ := textCodec{}.Marshal(&text{s})
	return string(b)
}

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
	*proto
	rw *end
}

// connect makes the two protocols of a connection.
func connect(f form, client, server []Dialect) (c, s side) {
	a, b := new(bytes.Buffer), new(bytes.Buffer)
	left, right := &end{a, b, true}, &end{b, a, false}
	return side{newFunc(f, client)(left).(*proto), left}, side{newFunc(f, server)(right).(*proto), right}
}

// hears puts bytes where s reads.
func (s side) hears(b []byte) { s.rw.Buffer.Write(b) }

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

func msg(seq int32, mtype byte, method string, codec byte, body string, more ...socket.MessageSetting) socket.Message {
	m := socket.NewMessage(socket.WithSeq(seq), socket.WithMtype(mtype),
		socket.WithServiceMethod(method), socket.WithBodyCodec(codec))
	if body != "" {
		m.SetBody([]byte(body))
	}
	for _, set := range more {
		if set != nil {
			set(m)
		}
	}
	return m
}

func call(more ...socket.MessageSetting) socket.Message {
	return msg(1, socket.TypeCall, "Home.Test", 't', encoded("andeya"), more...)
}

func notFound() socket.Message {
	return msg(3, socket.TypeReply, "", 't', "", socket.WithRerror(socket.NewRerror(404, "Not Found", "a=b & c")))
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

// goldens are the messages of the golden files. Those captured from the older
// ages are the calls; the rest is what follows from the layout.
var goldens = []struct {
	name string
	form form
	d    Dialect
	make func() socket.Message
}{
	{"v5-binary-call", binaryForm, V5, func() socket.Message { return call(socket.WithAddMeta("peer_id", "110")) }},
	{"v7-binary-call", binaryForm, V7, func() socket.Message { return call(socket.WithAddMeta("peer_id", "110")) }},
	{"v5-struct-call", structForm, V5, func() socket.Message { return call(socket.WithAddMeta("peer_id", "110")) }},
	{"v7-struct-call", structForm, V7, func() socket.Message { return call(socket.WithAddMeta("peer_id", "110")) }},
	{"v5-binary-404", binaryForm, V5, notFound},
	{"v7-binary-404", binaryForm, V7, notFound},
	{"v5-struct-404", structForm, V5, notFound},
	{"v7-struct-404", structForm, V7, notFound},
	{"v5-binary-push", binaryForm, V5, func() socket.Message {
		return msg(-2, socket.TypePush, "/note/say", 'j', `"hi"`, socket.WithXferPipe('m'))
	}},
	{"v5-struct-auth-call", structForm, V5, func() socket.Message {
		return msg(1, socket.TypeAuthCall, "", 't', encoded("tok"))
	}},
	{"v7-binary-auth-reply", binaryForm, V7, func() socket.Message {
		return msg(1, socket.TypeAuthReply, "", 's', "", socket.WithRerror(socket.NewRerror(401, "Unauthorized", "")))
	}},
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.hex"))
	if err != nil || len(files) != len(goldens) {
		t.Errorf("%d golden files, %v; want %d", len(files), err, len(goldens))
	}
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			frame := golden(t, g.name)
			c, _ := connect(g.form, nil, nil)
			c.hears(frame)
			got := socket.NewMessage()
			if err := c.Unpack(got); err != nil {
				t.Fatal(err)
			}
			if got, want := picture(got), picture(g.make()); got != want {
				t.Errorf("unpack:\n got %s\nwant %s", got, want)
			}
			if got, want := got.Size(), uint32(len(frame)); got != want {
				t.Errorf("unpack: size = %d, want %d", got, want)
			}
			if c.dialect() != g.d {
				t.Errorf("speaks %v afterwards, want %v", c.dialect(), g.d)
			}
			if err := c.Unpack(got); err != io.EOF {
				t.Errorf("after the frame: %v, want io.EOF", err)
			}

			// THeader's own sequence number is read by nobody: the captured ones
			// begin with 1 or 0, ours are the message's.
			m := g.make()
			binary.BigEndian.PutUint32(frame[8:], uint32(m.Seq()))
			var wire bytes.Buffer
			if err := newFunc(g.form, []Dialect{g.d})(&wire).Pack(m); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(wire.Bytes(), frame) {
				t.Errorf("pack:\n got %x\nwant %x", wire.Bytes(), frame)
			}
			if got, want := m.Size(), uint32(len(frame)); got != want {
				t.Errorf("pack: size = %d, want %d", got, want)
			}
		})
	}
}
