package thriftproto

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
)

// FuzzUnpack reads any bytes, in place and not, as a connection of either form.
func FuzzUnpack(f *testing.F) {
	for _, g := range goldens {
		b := golden(f, g.name)
		f.Add(b, g.form == structForm)
		f.Add(append(b, b...), g.form == structForm)
		f.Add(b[:len(b)-1], g.form == structForm)
	}
	for _, s := range []bool{false, true} {
		f.Add([]byte("\x80\x00\x00\x00\x0f\xff"), s)
		f.Add([]byte("\x3f\xff\xff\xff\x0f\xff\x00\x00"), s)
		f.Add(framed("\x00\x00\x01\xff\xff\xff\xff\x0f\x00\x00\x00\x00", begin(1)+"\x00"), s)
		f.Add(framed("\x00\x80\x80\x80\x80\x80\x80\x80", begin(1)+"\x00"), s)
		f.Add(framed(headerText("trace", "a"), begin(3)+"\x0b\x00\x01\x00\x00\x00\x01x\x00"), s)
		f.Add(framed(headerText("Tp-BodyCodec", "t", "Tp-XferPipe", "m"), begin(1)+"\x00\x00\x00\x01#"), s)
		f.Add([]byte("\x00\x00\x00\x0a\x0f\xff\x00\x00\x00\x00\x00\x01\xff\xff"), s)
	}
	f.Fuzz(func(t *testing.T, data []byte, isStruct bool) {
		form := binaryForm
		if isStruct {
			form = structForm
		}
		prototest.CheckUnpack(t, newFunc(form, nil), data, false, sizeOf, func(p socket.Proto, m *socket.Envelope) {
			again(t, form, p.(*proto).Current(), m)
		})
	})
}

// sizeOf returns the length of the frame that begins with b.
func sizeOf(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	return 4 + int(binary.BigEndian.Uint32(b))
}

// again packs what was unpacked: it must arrive as it was.
func again(t *testing.T, f form, d Dialect, m *socket.Envelope) {
	want := picture(m)
	m.SetBody(bytes.Clone(m.RawBody()))
	m.SetLimit(0)
	c, s := connect(f, []Dialect{d}, nil)
	if err := c.Pack(m); err != nil {
		if strings.Contains(err.Error(), "headers of ") {
			return // the other dialect's are shorter
		}
		t.Fatalf("what was unpacked is refused: %v\n%s", err, want)
	}
	got := socket.NewMessage()
	if err := s.Unpack(got); err != nil {
		t.Fatalf("unpack again: %v\n%s", err, want)
	}
	if got := picture(got); got != want && d == V7 { // V5 has no place for metadata of the error's name
		t.Fatalf("again:\n got %s\nwant %s", got, want)
	}
}

// FuzzRoundTrip sends any message in both forms and dialects.
func FuzzRoundTrip(f *testing.F) {
	prototest.AddMessages(f)
	f.Add(int32(1), byte(1), "Home.Test", "peer_id", "110", byte('t'), []byte("\x0b\x00\x01\x00\x00\x00\x00\x00"), int32(0), "", "")
	f.Add(int32(0), byte(5), "\xff", "", "", byte(200), []byte("\x00"), int32(0), "", "")
	f.Fuzz(func(t *testing.T, seq int32, mtype byte, method, key, value string, codec byte, body []byte,
		code int32, text, reason string) {
		for _, form := range forms {
			for _, d := range []Dialect{V5, V7} {
				m := prototest.AnyMessage(seq, mtype, method, key, value, codec, body, code, text, reason)
				c, s := connect(form, []Dialect{d}, nil)
				if err := c.Pack(m); err != nil {
					if n := len(s.Arrived()); n != 0 {
						t.Fatalf("%v, %v: pack: %v, and %d bytes", form, d, err, n)
					}
					continue
				}
				got := socket.NewMessage()
				if err := s.Unpack(got); err != nil {
					t.Fatalf("%v, %v: unpack: %v", form, d, err)
				}
				if d != V7 {
					m.Meta().Del(socket.MetaReplyError)
				}
				if form == structForm {
					m.SetBodyCodec('t')
					if string(body) == "\x00" {
						m.SetBody(nil)
					}
				}
				if got, want := picture(got), picture(m); got != want {
					t.Fatalf("%v, %v:\n got %s\nwant %s", form, d, got, want)
				}
			}
		}
	})
}

// FuzzRecognise looks at any first bytes: never at more than there are, and a
// whole frame settles it.
func FuzzRecognise(f *testing.F) {
	for _, g := range goldens {
		f.Add(golden(f, g.name))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		match, need := recognises(binaryForm)(data)
		match2, need2 := recognises(structForm)(data)
		if need != need2 || match && match2 || need != 0 && (match || match2 || need <= len(data) || need > recogniseMost) {
			t.Errorf("binary %v, %d; struct %v, %d", match, need, match2, need2)
		}
	})
}
