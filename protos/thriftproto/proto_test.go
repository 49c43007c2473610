package thriftproto

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
)

var forms = []form{binaryForm, structForm}

func (f form) String() string { return string(rune(f)) }

// Errors arrive in every pairing, in both directions, and the server writes the
// dialect of the client.
func TestDialects(t *testing.T) {
	for _, f := range forms {
		for _, server := range [][]Dialect{nil, {V5}, {V7}} {
			for _, client := range [][]Dialect{nil, {V5}, {V7}} {
				t.Run(fmt.Sprintf("%v: %v serves %v", f, server, client), func(t *testing.T) {
					c, s := connect(f, client, server)
					said := V5
					if len(client) > 0 {
						said = client[0]
					}
					pass(t, c, s, call(socket.WithAddMeta("k", "v")))
					pass(t, s, c, notFound())
					pass(t, s, c, call())
					pass(t, c, s, notFound())
					if current(s) != said || current(c) != said {
						t.Errorf("client and server write %v and %v, want %v", current(c), current(s), said)
					}
				})
			}
		}
	}
	t.Run("server writes first", func(t *testing.T) {
		for _, client := range [][]Dialect{nil, {V5}} {
			c, s := connect(binaryForm, client, []Dialect{V7})
			pass(t, s, c, call())
			pass(t, c, s, notFound())
			if want := map[bool]Dialect{true: V7, false: V5}[client == nil]; current(c) != want {
				t.Errorf("a client of %v writes %v, want %v", client, current(c), want)
			}
		}
	})
}

// begin is the beginning of a message "a", sequence number 1.
func begin(kind byte) string {
	return "\x80\x01\x00" + string([]byte{kind}) + "\x00\x00\x00\x01a\x00\x00\x00\x01"
}

func TestTypes(t *testing.T) {
	for _, test := range []struct {
		name    string
		headers string
		kind    byte
		want    byte
		err     string
	}{
		{"CALL", headerText("Tp-Meta", ""), 1, socket.TypeCall, ""},
		{"REPLY", headerText("Tp-Meta", ""), 2, socket.TypeReply, ""},
		{"ONEWAY", headerText("Tp-Meta", ""), 4, socket.TypePush, ""},
		{"0 of v5 and v7", headerText("Tp-Meta", ""), 0, socket.TypePush, ""},
		{"AUTH_CALL", headerText("Tp-Mtype", "4"), 1, socket.TypeAuthCall, ""},
		{"AUTH_REPLY", headerText("Tp-Mtype", "5"), 2, socket.TypeAuthReply, ""},
		{"unknown", headerText("Tp-Meta", ""), 9, 0, "thrift: message type 9 is not known"},
		{"AUTH_REPLY as a call", headerText("Tp-Mtype", "5"), 1, 0, `thrift: message type "5" is not one of Thrift's type 1`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, s := connect(structForm, nil, nil)
			s.Arrive(framed(test.headers, begin(test.kind)+"\x00"))
			m := socket.NewMessage()
			err := s.Unpack(m)
			if test.err == "" && (err != nil || m.Mtype() != test.want) {
				t.Errorf("type %d, %v; want %d", m.Mtype(), err, test.want)
			}
			if test.err != "" && (err == nil || err.Error() != test.err || !errors.Is(err, socket.ErrBadMessage)) {
				t.Errorf("unpack: %v, want %s", err, test.err)
			}
		})
	}
}

func TestCodecOf(t *testing.T) {
	for v, want := range map[string]byte{"": 0, "j": 'j', "\x00": 0, "\xff": 255, "\x80": 128, "ÿ": 255, "\u0080": 128, "世": 0xe4, "jx": 'j'} {
		if got := codecOf([]byte(v)); got != want {
			t.Errorf("codecOf(%q) = %d, want %d", v, got, want)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	for _, test := range []struct {
		name string
		form form
		set  socket.MessageSetting
		want string
	}{
		{"a filter", structForm, socket.WithXferPipe('m'), "thrift: pipe of 1 filters: the struct form supports no transfer pipe"},
		{"another codec", structForm, socket.WithBodyCodec('j'), "thrift: body codec 'j': in the struct form it must be thrift"},
		{"no struct", structForm, socket.WithBody(7), "thrift codec: int does not implement thrift.TStruct"},
		{"no struct either", binaryForm, socket.WithBody(7), "thrift codec: int does not implement thrift.TStruct"},
		{"type", structForm, socket.WithMtype(9), "thrift: message type 9 is not carried"},
		{"headers", binaryForm, socket.WithAddMeta("k", strings.Repeat("x", 1<<18)), "thrift: headers of 262192 bytes are longer than 262140"},
		{"filters", binaryForm, func(m socket.Message) {
			one := socket.NewMessage(socket.WithXferPipe('m'))
			for range 256 {
				m.XferPipe().AppendFrom(one.XferPipe())
			}
		}, "thrift: pipe of 256 filters is longer than 255"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, s := connect(test.form, nil, nil)
			err := c.Pack(call(test.set))
			if err == nil || err.Error() != test.want || errors.Is(err, socket.ErrBadMessage) {
				t.Errorf("pack: %v, want %s", err, test.want)
			}
			if n := len(s.Arrived()); n != 0 {
				t.Errorf("pack left %d bytes", n)
			}
			pass(t, c, s, call())
		})
	}
	for _, test := range []struct {
		name, frame, want string
	}{
		{"framed", "\x00\x00\x00\x12\x80\x01\x00\x01\x00\x00", "thrift: frame without headers: the peer must use Thrift's THeader transport"},
		{"not framed", "\x80\x01\x00\x01\x00\x00\x00\x01", "thrift: frame without headers: the peer must use Thrift's THeader transport"},
		{"magic", "\x00\x00\x00\x2d\x72\x00", "thrift: frame begins with 0x7200, and not with THeader's 0x0fff: it looks like a raw frame"},
		{"size", "\x3f\xff\xff\xff\x0f\xff", "socket: message of 1073741827 bytes is over the limit of 1048576"},
		{"over", "\xff\xff\xff\xff\x0f\xff", "thrift: size of 4294967295 bytes is over THeader's 1073741823"},
		{"below", "\x00\x00\x00\x09\x0f\xff", "thrift: size of 9 bytes is below the header's 10"},
		{"cut", "\x00\x00", "thrift: size ended after 2 of 6 bytes: unexpected EOF"},
		{"cut behind", "\x00\x00\x00\x12\x0f\xff\x00", "thrift: frame ended after 7 of 22 bytes: unexpected EOF"},
		{"the other form", string(framed(goodHeaders(binaryForm), begin(1))), "thrift: form of the peer is thrift-binary, want thrift-struct"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, s := connect(structForm, nil, nil)
			s.Arrive([]byte(test.frame))
			m := new(socket.Envelope)
			m.SetLimit(1 << 20)
			if err := s.Unpack(m); err == nil || err.Error() != test.want || errors.Is(err, socket.ErrBadMessage) {
				t.Errorf("unpack: %v, want %s", err, test.want)
			}
		})
	}
}

// What the struct form makes of bodies.
func TestStructBodies(t *testing.T) {
	encoded := encoded("x")
	for _, test := range []struct {
		name  string
		codec byte
		body  any
		wire  string // what ends the frame
		want  string // what arrives
	}{
		{"struct", 't', &text{"x"}, encoded, encoded},
		{"encoded already", 't', []byte(encoded), encoded, encoded},
		{"pointer to bytes", 't', new([]byte), "\x00", ""},
		{"no codec is thrift", 0, &text{"x"}, encoded, encoded},
		{"nil", 't', nil, "\x00", ""},
		{"nil of another codec", 'j', nil, "\x00", ""},
		{"no bytes", 't', []byte{}, "\x00", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, s := connect(structForm, nil, nil)
			if err := c.Pack(msg(1, socket.TypeCall, "a", test.codec, "", socket.WithBody(test.body))); err != nil {
				t.Fatal(err)
			}
			if frame := string(s.Arrived()); !strings.HasSuffix(frame, begin(1)+test.wire) {
				t.Errorf("frame %q, want it to end with %q", frame, begin(1)+test.wire)
			}
			got := socket.NewMessage()
			if err := s.Unpack(got); err != nil || string(got.RawBody()) != test.want || got.BodyCodec() != 't' {
				t.Errorf("arrives %q, codec %q, %v; want %q", got.RawBody(), got.BodyCodec(), err, test.want)
			}
		})
	}
	t.Run("decoded at once", func(t *testing.T) {
		c, s := connect(structForm, nil, nil)
		if err := c.Pack(call()); err != nil {
			t.Fatal(err)
		}
		var into text
		if err := s.Unpack(socket.NewMessage(socket.WithBody(&into))); err != nil || into.s != "andeya" {
			t.Errorf("decoded %q, %v", into.s, err)
		}
	})
	t.Run("not decodable", func(t *testing.T) {
		c, s := connect(structForm, nil, nil)
		if err := c.Pack(call(socket.WithBody([]byte("garbage")))); err != nil {
			t.Fatal(err)
		}
		err := s.Unpack(socket.NewMessage(socket.WithBody(new(text))))
		if !errors.Is(err, socket.ErrBadMessage) {
			t.Errorf("unpack: %v, want ErrBadMessage", err)
		}
		pass(t, c, s, call())
	})
}

func TestRecognise(t *testing.T) {
	frame := func(f form, d Dialect, more ...socket.MessageSetting) string {
		b, err := newFunc(f, []Dialect{d})(nil).(*proto).AppendFrame(nil, call(more...))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	long := socket.WithAddMeta("k", strings.Repeat("x", 80_000))
	for _, test := range []struct {
		name            string
		prefix          string
		binary, struct_ bool
		need            int
	}{
		{"nothing", "", false, false, 14},
		{"four bytes", "\x00\x00\x00\x2d", false, false, 14},
		{"half the magic", "\x00\x00\x00\x2d\x0f", false, false, 14},
		{"the magic", "\x00\x00\x00\x2d\x0f\xff", false, false, 14},
		{"no headers yet", "\x00\x00\x00\x2d\x0f\xff\x00\x00\x00\x00\x00\x01\x00\x02", false, false, 22},
		{"v5 binary", frame(binaryForm, V5), true, false, 0},
		{"v7 binary", frame(binaryForm, V7), true, false, 0},
		{"v5 struct", frame(structForm, V5), false, true, 0},
		{"v7 struct", frame(structForm, V7), false, true, 0},
		{"a client of Thrift's", string(framed("\x00\x00\x00\x00", begin(1))), false, true, 0},
		{"a byte of the headers is missing", frame(binaryForm, V5)[:start+4*11-1], false, false, start + 4*11},
		{"long headers", frame(structForm, V5, long), false, true, 0},
		{"long headers in part", frame(structForm, V5, long)[:50_000], false, false, recogniseMost},
		{"raw", "\x00\x00\x00\x2dr", false, false, 0},
		{"json", "\x00\x00\x00\x6b\x00{", false, false, 0},
		{"http", "POST / HTTP/1.1", false, false, 0},
		{"tls", "\x16\x03\x01\x02\x00\x01", false, false, 0},
		{"not framed", "\x80", false, false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			for name, want := range map[string]bool{BinaryName: test.binary, StructName: test.struct_} {
				p, err := socket.LookupProto(name)
				if err != nil {
					t.Fatal(err)
				}
				if match, need := p.Recognise([]byte(test.prefix)); match != want || need != test.need {
					t.Errorf("%s: %v, %d; want %v, %d", name, match, need, want, test.need)
				}
			}
		})
	}
}

// An import changes nothing but what is registered.
func TestNoSideEffects(t *testing.T) {
	tp.SetLoggerLevel("OFF")
	peer := tp.NewPeer(tp.PeerConfig{})
	defer peer.Close()
	if got := tp.HandleCall(peer, "AaBb", func(tp.CallCtx, *int) (int, error) { return 0, nil }); got != "/aa_bb" {
		t.Errorf("the mapper makes %q of AaBb, want /aa_bb", got)
	}
	for name, id := range map[string]byte{BinaryName: BinaryID, StructName: StructID} {
		p, err := socket.LookupProto(name)
		if err != nil {
			t.Fatal(err)
		}
		if gotID, got := p.New(nil).Version(); gotID != id || got != name {
			t.Errorf("Version = %c %s, want %c %s", gotID, got, id, name)
		}
	}
}

// A message of the struct form that ends where its struct should begin has lost
// something: a reply is an error unless it carries one, a call is refused.
func TestNoStruct(t *testing.T) {
	const lost = "thrift: body has no struct, not even one without fields"
	const rerr = `{"code":400,"message":"Bad Message","reason":"` + lost + `"}`
	const meta = "X-Reply-Error=%7B%22code%22%3A7%7D"
	const none = "\x00\x00\x00\x00" // headers of a client made by Thrift's library
	for _, test := range []struct {
		name, headers string
		kind          byte
		rerr          string // of the message
		err           string
	}{
		{"v5 REPLY", headerText("Tp-Meta", ""), thriftReply, rerr, ""},
		{"v7 REPLY", headerText("Tp-Status", "code=0", "Tp-Meta", ""), thriftReply, rerr, ""},
		{"Thrift's REPLY", none, thriftReply, rerr, ""},
		{"v5 REPLY with an error", headerText("Tp-Meta", meta), thriftReply, `{"code":7}`, ""},
		{"v7 REPLY with an error", headerText("Tp-Status", "code=7"), thriftReply, `{"code":7}`, ""},
		{"AUTH_REPLY", headerText("Tp-Mtype", "5"), thriftReply, rerr, ""},
		{"v5 CALL", headerText("Tp-Meta", ""), thriftCall, "<nil>", lost},
		{"v7 CALL", headerText("Tp-Status", "code=0"), thriftCall, "<nil>", lost},
		{"Thrift's CALL", none, thriftCall, "<nil>", lost},
		{"PUSH", headerText("Tp-Meta", ""), thriftOneway, "<nil>", lost},
		{"AUTH_CALL", headerText("Tp-Mtype", "4"), thriftCall, "<nil>", lost},
		{"EXCEPTION", none, thriftException, `{"code":500,"message":"Internal Server Error"}`, ""},
	} {
		for _, dialed := range []bool{true, false} {
			c, s := connect(structForm, nil, nil)
			if dialed {
				c, s = s, c
			}
			s.Arrive(framed(test.headers, begin(test.kind)))
			m := socket.NewMessage()
			err := s.Unpack(m)
			if m.Rerror().String() != test.rerr || (err == nil) != (test.err == "") || err != nil && (err.Error() != test.err || !errors.Is(err, socket.ErrBadMessage)) {
				t.Errorf("%s: rerror %v, %v; want %s, %s", test.name, m.Rerror(), err, test.rerr, test.err)
			}
			var refusal *socket.Refusal
			if got, want := errors.As(err, &refusal), strings.HasSuffix(test.name, " CALL"); got != want {
				t.Errorf("%s: refused %v, want %v", test.name, got, want)
			} else if got {
				// The answer is of the peer's own kind.
				if err := s.Pack(msg(m.Seq(), socket.TypeReply, "", 't', "", socket.WithRerror(refusal.Rerror))); err != nil {
					t.Fatal(err)
				}
				answer := string(c.Arrived())
				if got, want := strings.Contains(answer, begin(thriftException)), test.headers == none; got != want {
					t.Errorf("%s: answered by an exception: %v, want %v: %q", test.name, got, want, answer)
				}
				if got, want := strings.Contains(answer, "Tp-Status"), strings.HasPrefix(test.name, "v7"); got != want {
					t.Errorf("%s: answered with a status: %v, want %v: %q", test.name, got, want, answer)
				}
			}
			pass(t, c, s, call())
		}
	}
}

// A reply without a result is the struct without fields.
func TestNoResult(t *testing.T) {
	for _, d := range []Dialect{V5, V7} {
		c, s := connect(structForm, []Dialect{d}, []Dialect{d})
		if err := s.Pack(msg(1, socket.TypeReply, "a", 't', "")); err != nil {
			t.Fatal(err)
		}
		if frame := string(c.Arrived()); !strings.HasSuffix(frame, begin(thriftReply)+"\x00") {
			t.Errorf("%v: frame %q, want it to end with the STOP", d, frame)
		}
		got := socket.NewMessage()
		if err := c.Unpack(got); err != nil || got.Rerror() != nil || len(got.RawBody()) != 0 {
			t.Errorf("%v: arrives %q, rerror %v, %v", d, got.RawBody(), got.Rerror(), err)
		}
	}
}
