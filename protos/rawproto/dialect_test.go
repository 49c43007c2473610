package rawproto

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/prototest"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// textCodec has the id of the form codec, and makes it one that is known.
type textCodec struct{}

func (textCodec) ID() byte                        { return codec.Form }
func (textCodec) Name() string                    { return codec.NameForm }
func (textCodec) Marshal(v any) ([]byte, error)   { return []byte(fmt.Sprint(v)), nil }
func (textCodec) Unmarshal(b []byte, v any) error { *v.(*string) = string(b); return nil }

func init() { codec.Register(textCodec{}) }

// A dialled connection of a named dialect reads no other.
func TestNamedDialect(t *testing.T) {
	for _, test := range []struct {
		client   Dialect
		receives Dialect
	}{{Seed, V5}, {Seed, V7}, {V5, Seed}, {V7, Seed}} {
		t.Run(fmt.Sprintf("%v receives %v", test.client, test.receives), func(t *testing.T) {
			c, s := connect([]Dialect{test.client}, []Dialect{test.receives})
			if err := s.Pack(goldens["push"]()); err != nil {
				t.Fatal(err)
			}
			err := c.Unpack(socket.NewMessage())
			var fe *FieldError
			if !errors.As(err, &fe) || fe.Field != "version" || errors.Is(err, socket.ErrBadMessage) {
				t.Errorf("unpack: %v, want a *FieldError about the version that ends the connection", err)
			}
			if current(c) != test.client {
				t.Errorf("writes %v afterwards, want %v", current(c), test.client)
			}
		})
	}
}

func TestFirstFrame(t *testing.T) {
	meta := func(kv ...string) socket.MessageSetting {
		return func(m socket.Message) {
			for i := 0; i < len(kv); i += 2 {
				m.Meta().Add(kv[i], kv[i+1])
			}
		}
	}
	body := func(codec byte, b string) socket.MessageSetting {
		return func(m socket.Message) {
			m.SetBodyCodec(codec)
			m.SetBody([]byte(b))
		}
	}
	reply := socket.WithMtype(socket.TypeReply)
	rerr := func(code int32, message, reason string) socket.MessageSetting {
		return socket.WithRerror(socket.NewRerror(code, message, reason))
	}
	json := func(n int) socket.MessageSetting {
		return body('j', (`"` + strings.Repeat("x", max(n-2, 0)) + `"`)[:n])
	}
	type first struct {
		name string
		set  []socket.MessageSetting
	}
	firsts := map[Dialect][]first{V5: nil, V7: nil, Seed: nil}
	add := func(d Dialect, name string, set ...socket.MessageSetting) {
		firsts[d] = append(firsts[d], first{name, set})
	}
	for _, n := range []int{0, 10, 40_000} {
		for _, code := range []string{"0", "7"} {
			for d := range firsts {
				add(d, fmt.Sprintf("code=%s, JSON of %d bytes", code, n), meta("code", code), json(n))
				add(d, fmt.Sprintf("code=%s, text of %d bytes", code, n), meta("code", code), body('s', strings.Repeat("x", n)))
				add(d, fmt.Sprintf("code=%s, letters of %d bytes", code, n), meta("code", code), body('x', strings.Repeat("jsonx", n/5)))
				add(d, fmt.Sprintf("code=%s, bytes of %d bytes", code, n), meta("code", code), body('p', strings.Repeat("\x0a\x03abc", n/5)))
				add(d, fmt.Sprintf("REPLY, code=%s, JSON of %d bytes", code, n), reply, meta("code", code), json(n))
			}
		}
		add(V5, fmt.Sprintf("code=0, form of %d bytes", n), meta("code", "0"), body('f', strings.Repeat("a=12&", n/5)))
	}
	for d := range firsts {
		add(d, "nothing", body(0, ""))
		add(d, "AUTH_CALL", socket.WithMtype(socket.TypeAuthCall), socket.WithServiceMethod(""), body('s', "tok"))
		add(d, "metadata of 300 bytes", meta("a", strings.Repeat("b", 100), "c d", strings.Repeat("é", 20)))
		add(d, "metadata of 60000 bytes", meta("a", strings.Repeat("b", 60_000)))
		add(d, "code twice", meta("code", "0", "code", "0"))
		add(d, "status words", reply, meta("code", "5", "msg", "m s g", "cause", "c"))
		add(d, "error", reply, rerr(404, "Not Found", ""))
		add(d, "long error", reply, rerr(-7, strings.Repeat("é = & ", 500), "why"))
		add(d, "error without texts", reply, rerr(1001, "", ""))
		add(d, "error, and metadata", reply, rerr(500, "a", "b"), meta("code", "0", "x", "y"))
		add(d, "AUTH_REPLY with an error", socket.WithMtype(socket.TypeAuthReply), rerr(403, "no", ""))
		add(d, "filter", socket.WithXferPipe('m'), meta("code", "0"), json(10))
	}
	for d, firsts := range firsts {
		for _, f := range firsts {
			t.Run(d.String()+"/"+f.name, func(t *testing.T) {
				c, s := connect([]Dialect{d}, nil)
				pass(t, c, s, message(1, socket.TypeCall, "/a/b", 'j', "", f.set...))
				if current(s) != d {
					t.Fatalf("taken for %v, want %v", current(s), d)
				}
				pass(t, s, c, goldens["404"]())
				pass(t, c, s, goldens["call"]())
			})
		}
	}
}

// Payloads that read in both dialects but for the status.
func TestFiveOrSeven(t *testing.T) {
	for _, test := range []struct {
		name   string
		mtype  byte
		status string
		want   Dialect
	}{
		{"OK", socket.TypeCall, "code=0", V7},
		{"OK of a PUSH", socket.TypePush, "code=0", V7},
		{"OK of an AUTH_CALL", socket.TypeAuthCall, "code=0", V7},
		{"OK of a REPLY", socket.TypeReply, "code=0", V7},
		{"an error of a CALL", socket.TypeCall, "code=7", V5},
		{"an error of a PUSH", socket.TypePush, "code=404&msg=Not%20Found&cause=", V5},
		{"metadata", socket.TypeCall, "k=v", V5},
		{"none", socket.TypeCall, "", V5},
		{"more than OK", socket.TypeCall, "code=0&a=b", V5},
		{"an error", socket.TypeReply, "code=404&msg=Not%20Found&cause=", V7},
		{"an error of AUTH_REPLY", socket.TypeAuthReply, "code=-404&cause=a", V7},
		{"no number", socket.TypeReply, "code=x", V5},
		{"more than an error", socket.TypeReply, "code=4&msg=a&cause=b&c=d", V5},
		{"another key", socket.TypeReply, "code=4&k=v", V5},
		{"out of order", socket.TypeReply, "msg=a&code=4", V5},
		{"not escaped", socket.TypeReply, "code=4&msg=a b", V5},
		{"escaped in lower case", socket.TypeReply, "code=4&msg=a%3d", V5},
		{"escaped for nothing", socket.TypeReply, "code=4&msg=%41", V5},
	} {
		t.Run(test.name, func(t *testing.T) {
			payload := append([]byte{1, '1', test.mtype, 0, 0, byte(len(test.status))}, test.status...)
			payload = append(payload, "\x00\x00j1"...)
			var f framing.Fields
			if d, err := fiveOrSeven(payload, &f); d != test.want || err != nil {
				t.Errorf("fiveOrSeven = %v, %v; want %v", d, err, test.want)
			}
		})
	}
}

// What cannot be read settles nothing.
func TestBadFirstFrame(t *testing.T) {
	c, s := connect([]Dialect{V7}, nil)
	s.Arrive(framed(V5, nil, []byte{9, '1'}))
	s.Arrive(framed(V5, []byte("?"), []byte{1, '1'}))
	for range 2 {
		if err := s.Unpack(socket.NewMessage()); !errors.Is(err, socket.ErrBadMessage) {
			t.Fatalf("unpack: %v, want ErrBadMessage", err)
		}
	}
	pass(t, c, s, goldens["call"]())
	pass(t, s, c, goldens["404"]())
}

func TestVersion(t *testing.T) {
	for _, test := range []struct {
		named []Dialect
		id    byte
	}{{nil, 'r'}, {[]Dialect{Seed}, 'r'}, {[]Dialect{V5}, 'r'}, {[]Dialect{V7}, 6}} {
		c, _ := connect(test.named, nil)
		if id, name := c.Version(); id != test.id || name != "raw" {
			t.Errorf("%v: Version = %d, %q; want %d, raw", test.named, id, name, test.id)
		}
	}
}

// A peer of v5 or v7 closes on the first frame; only a dialled connection of the seed's
// layout has that fault.
func TestHint(t *testing.T) {
	for _, test := range []struct {
		name  string
		named []Dialect
		want  bool
	}{{"default", nil, true}, {"seed", []Dialect{Seed}, true}, {"v5", []Dialect{V5}, false}, {"v7", []Dialect{V7}, false}} {
		t.Run(test.name, func(t *testing.T) {
			c, s := connect(test.named, test.named)
			hint := func(of *prototest.End) string { return of.Proto.(socket.Hinter).Hint() }
			if got := hint(c); got != "" {
				t.Errorf("nothing was sent, and Hint = %q", got)
			}
			must(c.Pack(message(1, socket.TypeCall, "/a", 'j', strings.Repeat("x", 200))))
			must(s.Pack(message(1, socket.TypeCall, "/a", 'j', strings.Repeat("x", 200))))
			if got := hint(c); strings.Contains(got, "rawproto.V5 or rawproto.V7") != test.want || !test.want && got != "" {
				t.Errorf("dialled: Hint = %q, want one: %v", got, test.want)
			}
			if got := hint(s); got != "" {
				t.Errorf("accepted: Hint = %q, want none", got)
			}
		})
	}
}

func TestRecognise(t *testing.T) {
	for _, test := range []struct {
		name   string
		prefix string
		match  bool
		need   int
	}{
		{"nothing", "", false, 5},
		{"four bytes", "\x00\x00\x00\x2d", false, 5},
		{"seed", "\x00\x00\x00\x2dr", true, 0},
		{"seed, too short", "\x00\x00\x00\x05r", false, 0},
		{"v5", "\x00\x00\x00\x2c\x00", false, 6},
		{"v5, whole", "\x00\x00\x00\x2c\x00\x011", true, 0},
		{"v5 with filters", "\x00\x00\x00\x2d\x02", false, 8},
		{"v5 with filters, not whole", "\x00\x00\x00\x2d\x01m\x011", false, 0x2d},
		{"v5 with a filter that is unknown", "\x00\x00\x00\x2d\x01?\x1f", true, 0},
		{"json with a filter that is unknown", "\x00\x00\x00\x2d\x01?{", false, 0},
		{"protobuf with a filter that is unknown", "\x00\x00\x00\x2d\x01?\x08", false, 0},
		{"too large to look into", "\x00\x20\x00\x00\x01m\x1f", true, 0},
		{"json, too large to look into", "\x00\x20\x00\x00\x01m{", false, 0},
		{"v5 with a filter that fails", "\x00\x00\x00\x0a\x01m\x011\x00\x00", false, 0},
		{"v5 with too many", "\x00\x00\x00\x2d\x09", false, 0},
		{"json", "\x00\x00\x00\x6b\x00{", false, 0},
		{"protobuf", "\x00\x00\x00\x2d\x00\x08\x01", false, 0},
		{"protobuf without seq", "\x00\x00\x00\x2d\x00\x10\x01", false, 0},
		{"thrift", "\x00\x00\x00\x65\x0f\xff", false, 0},
		{"http", "POST / HTTP/1.1", false, 0},
		{"http reply", "HTTP/1.1 200 OK", false, 0},
		{"http2", "PRI * HTTP/2.0", false, 0},
		{"tls", "\x16\x03\x01\x02\x00\x01", false, 0},
		{"zeros", "\x00\x00\x00\x00\x00\x00", false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			match, need := recognise([]byte(test.prefix))
			if match != test.match || need != test.need {
				t.Errorf("recognise(%q) = %v, %d; want %v, %d", test.prefix, match, need, test.match, test.need)
			}
		})
	}
	p, err := socket.LookupProto("raw")
	if err != nil {
		t.Fatal(err)
	}
	for name := range goldens {
		for _, d := range []Dialect{Seed, V5, V7} {
			b, err := NewRawProtoFunc(d)(nil).(*rawProto).AppendFrame(nil, goldens[name]())
			if err != nil {
				t.Fatal(err)
			}
			if match, need := p.Recognise(b); !match || need != 0 {
				t.Errorf("%v-%s: recognise = %v, %d", d, name, match, need)
			}
		}
	}
}
