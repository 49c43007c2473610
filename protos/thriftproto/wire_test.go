package thriftproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/xfer"
)

func init() {
	xfer.Register(sumFilter{})
	codec.Register(textCodec{})
}

// sumFilter appends a byte: the golden files have it in place of md5.
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

// optional is a text whose field is left out if it is empty: then the struct is a STOP.
type optional struct{ text }

// textCodec is the thrift codec for that struct.
type textCodec struct{}

func (textCodec) ID() byte     { return codec.Thrift }
func (textCodec) Name() string { return codec.NameThrift }

func (textCodec) Marshal(v any) ([]byte, error) {
	if o, ok := v.(*optional); ok {
		if v = &o.text; o.s == "" {
			return []byte{stop}, nil
		}
	}
	t, ok := v.(*text)
	if !ok {
		return nil, fmt.Errorf("thrift codec: %T does not implement thrift.TStruct", v)
	}
	b := binary.BigEndian.AppendUint32([]byte{str, 0, 1}, uint32(len(t.s)))
	return append(append(b, t.s...), stop), nil
}

func (textCodec) Unmarshal(b []byte, v any) error {
	if o, ok := v.(*optional); ok {
		if v = &o.text; len(b) == 1 && b[0] == stop {
			return nil
		}
	}
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

// dialectTests are the tests that the binary form shares with other protocols.
var dialectTests = prototest.Dialects[Dialect]{
	Name:   errName,
	New:    NewBinaryProtoFunc,
	All:    []Dialect{V5, V7},
	Status: V7,
	StatusReply: func(status string) []byte {
		return framed(headerText("Tp-BodyCodec", "j", "Tp-Status", status), begin(thriftReply)+"\x00\x00\x00\x00")
	},
	Goldens: prototest.Messages(),
}

func TestBinaryDialects(t *testing.T) { dialectTests.RunCommon(t) }

var (
	msg     = prototest.Message
	picture = prototest.Picture
	pass    = prototest.Pass
	current = dialectTests.Current
)

// connect makes the two ends of a connection.
func connect(f form, client, server []Dialect) (c, s *prototest.End) {
	return prototest.Pair(newFunc(f, client), newFunc(f, server))
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
	return prototest.ReadHex(t, filepath.Join("testdata", "golden", name+".hex"))
}

// goldens are the messages of the golden files. Those captured from v5 and
// v7 are the calls; the rest follows from the layout.
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
			c.Arrive(frame)
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
			if current(c) != g.d {
				t.Errorf("writes %v afterwards, want %v", current(c), g.d)
			}
			if err := c.Unpack(got); err != io.EOF {
				t.Errorf("after the frame: %v, want io.EOF", err)
			}

			// THeader's own sequence number is never read: the captured ones begin
			// with 1 or 0, ours are the message's.
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
