package httproto

import (
	"bytes"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
)

// exchange is what goes over a connection: what was written is read back.
type exchange struct{ bytes.Buffer }

// ends are both ends of a connection; what one writes the other reads.
func ends(dialect ...Dialect) (dialed, accepted *httpProto) {
	var there, back bytes.Buffer
	pf := NewHTTProtoFunc(dialect...)
	side := func(r io.Reader, w io.Writer, dialed bool) *httpProto {
		return pf(sided{struct {
			io.Reader
			io.Writer
		}{r, w}, dialed}).(*httpProto)
	}
	return side(&back, &there, true), side(&there, &back, false)
}

type sided struct {
	io.ReadWriter
	dialed bool
}

func (s sided) Dialed() bool { return s.dialed }

func message(seq int32, mtype byte, method string, id byte, body string, set ...socket.MessageSetting) socket.Message {
	return socket.NewMessage(append([]socket.MessageSetting{
		socket.WithSeq(seq), socket.WithMtype(mtype), socket.WithServiceMethod(method),
		socket.WithBodyCodec(id), socket.WithBody([]byte(body)),
	}, set...)...)
}

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

// goldens are the messages of the golden files, without the dialect.
var goldens = map[string]func() socket.Message{
	"call": func() socket.Message {
		return message(1, socket.TypeCall, "/math/add", codec.JSON, "[1,2,3]", socket.WithAddMeta("k", "v 1/é"))
	},
	"auth-call": func() socket.Message {
		return message(0, socket.TypeAuthCall, "/auth", codec.Plain, "open")
	},
	"reply": func() socket.Message {
		return message(1, socket.TypeReply, "", codec.JSON, "6", socket.WithAddMeta("who", "srv 1"))
	},
	"404": func() socket.Message {
		return message(3, socket.TypeReply, "", codec.JSON, "", socket.WithRerror(socket.NewRerror(404, "Not Found", "gone")))
	},
}

func TestGolden(t *testing.T) {
	for _, d := range []Dialect{V5, V7} {
		for name, msg := range goldens {
			t.Run(d.String()+"-"+name, func(t *testing.T) {
				want := golden(t, d.String()+"-"+name)
				c, s := ends(d)
				m, p := msg(), c
				if m.Mtype() == socket.TypeReply {
					// A response is in the dialect of the request.
					if err := c.Pack(goldens["call"]()); err != nil {
						t.Fatal(err)
					}
					if err := s.Unpack(socket.NewMessage()); err != nil {
						t.Fatal(err)
					}
					p = s
				}
				got, err := p.AppendFrame(nil, m)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("packed:\n got %q\nwant %q", got, want)
				}
				var x exchange
				x.Write(want)
				in := socket.NewMessage()
				if err := NewHTTProtoFunc()(&x).Unpack(in); err != nil {
					t.Fatal(err)
				}
				if in.Seq() != m.Seq() || in.Mtype() != m.Mtype() || in.ServiceMethod() != m.ServiceMethod() ||
					in.BodyCodec() != m.BodyCodec() || in.Rerror().String() != m.Rerror().String() {
					t.Errorf("unpacked %s, want %s", in, m)
				}
				if in.Rerror() == nil && string(in.RawBody()) != string(m.Body().([]byte)) {
					t.Errorf("body = %q, want %q", in.RawBody(), m.Body())
				}
				for k, v := range m.Meta().All() {
					if key := strings.ToUpper(string(k[:1])) + string(k[1:]); in.Meta().Len() != 1 || string(in.Meta().Peek(key)) != string(v) {
						t.Errorf("metadata %s, want %s=%s alone", in.Meta(), key, v)
					}
				}
			})
		}
	}
}

// Errors arrive in either dialect.
func TestErrorPairings(t *testing.T) {
	rerr := socket.NewRerror(1234, `a "message"`, "a\nreason")
	for _, asks := range []Dialect{V5, V7} {
		for _, answers := range []Dialect{V5, V7} {
			t.Run(asks.String()+" asks "+answers.String(), func(t *testing.T) {
				c, _ := ends(asks)
				_, s := ends(answers)
				frame, err := c.AppendFrame(nil, goldens["call"]())
				if err != nil {
					t.Fatal(err)
				}
				s.in.(*peeker).r = bytes.NewReader(frame)
				if err := s.Unpack(socket.NewMessage()); err != nil {
					t.Fatal(err)
				}
				frame, err = s.AppendFrame(nil, message(1, socket.TypeReply, "", 0, "", socket.WithRerror(rerr)))
				if err != nil {
					t.Fatal(err)
				}
				if has := bytes.Contains(frame, []byte(`"msg"`)); has != (asks == V7) {
					t.Errorf("the error is not in the keys of %v: %q", asks, frame)
				}
				c.in.(*peeker).r = bytes.NewReader(frame)
				m := socket.NewMessage()
				if err := c.Unpack(m); err != nil || m.Rerror().String() != rerr.String() {
					t.Errorf("error = %v, %v; want %v", m.Rerror(), err, rerr)
				}
				// The accepting side's own requests are in the dialect of the peer.
				frame, err = s.AppendFrame(nil, goldens["call"]())
				if want := golden(t, asks.String()+"-call"); err != nil || !bytes.Equal(frame, want) {
					t.Errorf("request of the accepting side: %q, %v; want %q", frame, err, want)
				}
			})
		}
	}
}
