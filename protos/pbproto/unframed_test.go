package pbproto

import (
	"bytes"
	"encoding/hex"
	"io"
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

// TestUnframed: messages of all kinds arrive, and one has the bytes of v5 and v7.
func TestUnframed(t *testing.T) {
	for kind, m := range prototest.Messages() {
		t.Run(kind, func(t *testing.T) {
			var c carrier
			p := NewUnframedProtoFunc()(&c)
			if err := p.Pack(m()); err != nil {
				t.Fatal(err)
			}
			if got, want := hex.EncodeToString(c.Bytes()), "08011002220b77686f3d73727625323031286a320136"; kind == "reply" && got != want {
				t.Errorf("written is %s, want %s", got, want)
			}
			got := socket.NewMessage()
			if err := p.Unpack(got); err != nil {
				t.Fatal(err)
			}
			if got, want := prototest.Picture(got), prototest.Picture(m()); got != want {
				t.Errorf("got %s\nwant %s", got, want)
			}
		})
	}
}

// FuzzUnframed reads any message: it is one or an error.
func FuzzUnframed(f *testing.F) {
	for _, m := range prototest.Messages() {
		var c carrier
		if err := NewUnframedProtoFunc()(&c).Pack(m()); err != nil {
			f.Fatal(err)
		}
		f.Add(c.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c carrier
		c.Write(b)
		m := new(socket.Envelope)
		m.SetLimit(1 << 20)
		if err := NewUnframedProtoFunc()(&c).Unpack(m); err == nil && c.Len() > 0 {
			t.Errorf("of % x, % x is left", b, c.Bytes())
		}
	})
}
