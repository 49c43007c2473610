package jsonproto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
)

// carrier is one message of a carrier of messages, such as WebSocket.
type carrier struct{ bytes.Buffer }

func (c *carrier) Peek(n int) ([]byte, error) {
	if n > c.Len() {
		return c.Bytes(), io.ErrUnexpectedEOF
	}
	return c.Bytes()[:n], nil
}

func (c *carrier) Discard(n int) (int, error) { return len(c.Next(n)), nil }
func (c *carrier) Buffered() int              { return c.Len() }

// unframedProtos are the protocols without a frame.
var unframedProtos = map[string]socket.ProtoFunc{"v5 and v7": NewUnframedProtoFunc(), "script": NewScriptProtoFunc()}

// TestUnframed: messages of all kinds arrive, and each document is one message.
func TestUnframed(t *testing.T) {
	for name, pf := range unframedProtos {
		for kind, m := range prototest.Messages() {
			t.Run(name+"/"+kind, func(t *testing.T) {
				var c carrier
				p := pf(&c)
				if err := p.Pack(m()); err != nil {
					t.Fatal(err)
				}
				if b := c.Bytes(); b[0] != '{' || b[len(b)-1] != '}' {
					t.Errorf("document %q", b)
				}
				got := socket.NewMessage()
				if err := p.Unpack(got); err != nil {
					t.Fatal(err)
				}
				if got, want := picture(got), picture(m()); got != want {
					t.Errorf("got %s\nwant %s", got, want)
				}
				if c.Len() > 0 {
					t.Errorf("%q is left", c.Bytes())
				}
			})
		}
	}
}

// TestUnframedDocument: the bytes of v5 and v7, and the ids of filters wherever they are.
func TestUnframedDocument(t *testing.T) {
	want := message(1, 2, "", 'j', "6", socket.WithAddMeta("who", "srv 1"))
	var c carrier
	p := NewUnframedProtoFunc()(&c)
	if err := p.Pack(want); err != nil {
		t.Fatal(err)
	}
	const doc = `{"seq":1,"mtype":2,"serviceMethod":"","meta":"who=srv%201","bodyCodec":106,"body":"6","xferPipe":[]}`
	if got := c.String(); got != doc {
		t.Errorf("written is\n%s, want\n%s", got, doc)
	}
	for _, doc := range []string{
		doc,
		`{"xferPipe":null,"body":"6","bodyCodec":106,"meta":"who=srv%201","mtype":2,"seq":1}`,
		`{ "seq":1, "mtype":2, "meta":"who=srv%201", "bodyCodec":106, "body":"6", "xferPipe": [ ] }`,
		`{"seq":1,"mtype":2,"meta":"who=srv%201","bodyCodec":106,"body":"6"}`,
	} {
		c.Reset()
		c.WriteString(doc)
		got := socket.NewMessage()
		if err := p.Unpack(got); err != nil {
			t.Errorf("%s: %v", doc, err)
		} else if picture(got) != picture(want) {
			t.Errorf("%s: got %s", doc, picture(got))
		}
	}
	for _, doc := range []string{
		`{"xferPipe":1}`, `{"xferPipe":[1,]}`, `{"xferPipe":[256]}`, `{"xferPipe":[1`, `{"xferPipe":[1,2,3,4,5,6,7,8,9]}`,
		`{"seq":1,"mtype":2,"serviceMethod":"","meta":"","bodyCodec":106,"body":"6","xferPipe":[9]}`, ``,
	} {
		c.Reset()
		c.WriteString(doc)
		if err := p.Unpack(socket.NewMessage()); err == nil {
			t.Errorf("%s: read", doc)
		}
	}
}

// TestScriptMemory: what a document for scripts takes beside its bytes is counted, or
// bounded.
func TestScriptMemory(t *testing.T) {
	const size = 1 << 20
	read := func(doc string, most int) (kept int, err error) {
		c := &keptCarrier{room: room{most: most}}
		c.WriteString(doc)
		err = NewScriptProtoFunc()(c).Unpack(new(socket.Envelope))
		return c.kept, err
	}
	base64 := `{"serviceMethod":"/a","bodyCodec":0,"bodyBase64":"` + strings.Repeat("AAAA", size/4) + `"}`
	if kept, err := read(base64, 3*size); err != nil || kept < 2*size {
		t.Errorf("base64: %d bytes are counted, %v; want %d", kept, err, 2*size)
	}
	if _, err := read(base64, size); !errors.Is(err, errNoRoom) {
		t.Errorf("base64 without room for it: %v", err)
	}
	for n, ok := range map[int]bool{maxPairs: true, maxPairs + 1: false} {
		doc := `{"serviceMethod":"/a","meta":{"k":[` + strings.Repeat(`"",`, n-1) + `""]}}`
		if _, err := read(doc, size); (err == nil) != ok {
			t.Errorf("%d values of metadata: %v", n, err)
		}
	}
}

// keptCarrier is a carrier that counts memory.
type keptCarrier struct {
	carrier
	room
}

func (c *keptCarrier) Read(b []byte) (int, error)  { return c.carrier.Read(b) }
func (c *keptCarrier) Write(b []byte) (int, error) { return c.carrier.Write(b) }

// FuzzUnframed reads any document: it is a message or an error.
func FuzzUnframed(f *testing.F) {
	for _, m := range prototest.Messages() {
		for _, pf := range unframedProtos {
			var c carrier
			must(pf(&c).Pack(m()))
			f.Add(c.Bytes())
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, pf := range unframedProtos {
			var c carrier
			c.Write(b)
			m := new(socket.Envelope)
			m.SetLimit(1 << 20)
			if err := pf(&c).Unpack(m); err == nil && c.Len() > 0 {
				t.Errorf("of %q, %q is left", b, c.Bytes())
			}
		}
	})
}

// A body of the script's document arrives byte by byte.
func TestScriptBodies(t *testing.T) {
	for _, body := range []string{``, `1`, ` 1`, "[1]\n", `{ "a" : 1 }`, "\t{}", `""`, `" "`, ` `, `no JSON`, "\xff"} {
		t.Run(fmt.Sprintf("%q", body), func(t *testing.T) {
			var wire carrier
			pf := NewScriptProtoFunc()
			if err := pf(&wire).Pack(message(1, 1, "/a", 'j', body)); err != nil {
				t.Fatal(err)
			}
			m := new(socket.Envelope)
			if err := pf(&wire).Unpack(m); err != nil {
				t.Fatalf("%s: %v", wire.String(), err)
			}
			if got := string(m.RawBody()); got != body {
				t.Errorf("arrives as %q", got)
			}
		})
	}
}
