package pbproto

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// textCodec has the id of the form codec, and takes *string.
type textCodec struct{}

func (textCodec) ID() byte                      { return codec.Form }
func (textCodec) Name() string                  { return codec.NameForm }
func (textCodec) Marshal(v any) ([]byte, error) { return []byte(*v.(*string)), nil }
func (textCodec) Unmarshal([]byte, any) error   { return nil }

func init() { codec.Register(textCodec{}) }

// called returns the dialect of a constructor's arguments.
func called(named []Dialect) Dialect {
	if len(named) > 0 {
		return named[0]
	}
	return V5
}

var pairings = [][]Dialect{nil, {V5}, {V7}}

// In every pairing calls, replies and errors arrive both ways: the side that
// accepted follows the one that dialled.
func TestServerFollowsClient(t *testing.T) {
	for _, server := range pairings {
		for _, client := range pairings {
			t.Run(fmt.Sprintf("%v serves %v", server, client), func(t *testing.T) {
				c, s := connect(client, server)
				pass(t, c, s, goldens["call"]())
				for _, name := range []string{"reply", "404", "push", "md5", "call"} {
					pass(t, s, c, goldens[name]())
				}
				pass(t, c, s, goldens["404"]())
				if got, want := s.dialect(), called(client); got != want {
					t.Errorf("the server speaks %v, want %v", got, want)
				}
			})
		}
	}
}

// A server that pushes before it has heard anything speaks what it was told to.
func TestServerPushesFirst(t *testing.T) {
	for _, server := range pairings {
		for _, client := range [][]Dialect{nil, {called(server)}} {
			t.Run(fmt.Sprintf("%v to %v", server, client), func(t *testing.T) {
				c, s := connect(client, server)
				pass(t, s, c, goldens["push"]())
				pass(t, c, s, goldens["call"]())
				pass(t, s, c, goldens["404"]())
				if d := called(server); s.dialect() != d || c.dialect() != d {
					t.Errorf("server and client speak %v and %v, want %v", s.dialect(), c.dialect(), d)
				}
			})
		}
	}
	t.Run("then the client is of another age", func(t *testing.T) {
		c, s := connect([]Dialect{V5}, []Dialect{V7})
		must(s.Pack(goldens["push"]()))
		pass(t, c, s, goldens["call"]())
		if s.dialect() != V5 {
			t.Errorf("the server speaks %v afterwards, want v5", s.dialect())
		}
	})
}

// A dialled connection of a named dialect reads no other.
func TestNamedDialect(t *testing.T) {
	for _, d := range []Dialect{V5, V7} {
		t.Run(d.String(), func(t *testing.T) {
			c, s := connect([]Dialect{d}, []Dialect{d.other()})
			must(s.Pack(goldens["call"]()))
			err := c.Unpack(socket.NewMessage())
			var fe *FieldError
			if !errors.As(err, &fe) || fe.Field != "dialect" || errors.Is(err, socket.ErrBadMessage) {
				t.Errorf("unpack: %v, want a *FieldError about the dialect that ends the connection", err)
			}
			if c.dialect() != d {
				t.Errorf("speaks %v afterwards, want %v", c.dialect(), d)
			}
		})
		t.Run(d.String()+" after a good frame", func(t *testing.T) {
			c, s := connect([]Dialect{d}, []Dialect{d})
			pass(t, s, c, goldens["call"]())
			must(NewPbProtoFunc(d.other())(s.rw).Pack(goldens["call"]()))
			if err := c.Unpack(socket.NewMessage()); !errors.Is(err, socket.ErrBadMessage) {
				t.Errorf("unpack: %v, want ErrBadMessage", err)
			}
			pass(t, s, c, goldens["reply"]())
		})
	}
	t.Run("no such", func(t *testing.T) {
		c, s := connect([]Dialect{9}, nil)
		if err := c.Pack(socket.NewMessage()); err == nil {
			t.Error("pack in dialect 9 succeeds")
		}
		must(s.Pack(goldens["call"]()))
		if err := c.Unpack(socket.NewMessage()); err == nil {
			t.Error("unpack in dialect 9 succeeds")
		}
	})
}

// What a connection takes the first frame for.
func TestFirstFrame(t *testing.T) {
	field := func(n byte, text string) string { return string([]byte{n<<3 | 2, byte(len(text))}) + text }
	const call, reply = "\x08\x01\x10\x01\x1a\x02/a", "\x08\x01\x10\x02"
	for _, test := range []struct {
		name, payload string
		want          Dialect
	}{
		{"codec 5", call + "\x28\x6a", V5},
		{"body 6", call + field(6, "hi"), V5},
		{"codec 5 and body 6", call + "\x28\x6a" + field(6, "hi"), V5},
		{"codec 5, and the metadata read like a status", call + field(4, "code=0") + "\x28\x6a", V5},
		{"codec 5, and an unknown field 7", call + "\x28\x6a" + field(7, "hi"), V5},
		{"metadata 5", call + field(5, "a=b"), V7},
		{"codec 6", call + "\x30\x6a", V7},
		{"body 7", call + field(7, "hi"), V7},
		{"body 7 without a status", call + field(4, "") + field(7, "hi"), V7},
		{"neither", call, V5},
		{"neither, metadata", call + field(4, "a=b"), V5},
		{"neither, status", call + field(4, "code=0"), V7},
		{"neither, code in the metadata of a call", call + field(4, "code=404"), V5},
		{"reply, neither", reply, V5},
		{"reply, error in the metadata", reply + field(4, "X-Reply-Error=%7B%22code%22%3A404%7D"), V5},
		{"reply, error in the status", reply + field(4, "code=404&msg=Not%20Found&cause="), V7},
		{"reply, status without a message", reply + field(4, "code=-1&cause=x"), V7},
		{"reply, status without a cause", reply + field(4, "code=7&msg=x"), V7},
		{"reply, a code that is no number", reply + field(4, "code=x&msg=y"), V5},
		{"reply, a code among other metadata", reply + field(4, "code=404&a=b"), V5},
		{"nothing", "", V5},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, s := connect(nil, nil)
			arrive(s, framed("", test.payload))
			must(s.Unpack(socket.NewMessage()))
			if got := s.dialect(); got != test.want {
				t.Errorf("taken for %v, want %v", got, test.want)
			}
			pass(t, s, c, goldens["404"]())
		})
	}
}

// What cannot be read settles nothing.
func TestBadFirstFrame(t *testing.T) {
	c, s := connect([]Dialect{V7}, nil)
	arrive(s, framed("", "\x28"))
	arrive(s, framed("\x01", "\x28\x6a"))
	arrive(s, framed("", "\x28\x6a\x30\x6a"))
	for range 3 {
		if err := s.Unpack(socket.NewMessage()); !errors.Is(err, socket.ErrBadMessage) {
			t.Fatalf("unpack: %v, want ErrBadMessage", err)
		}
	}
	pass(t, c, s, goldens["call"]())
	pass(t, s, c, goldens["404"]())
}

func TestStatus(t *testing.T) {
	for _, test := range []struct {
		status string
		want   *socket.Rerror
	}{
		{"", nil},
		{"code=0", nil},
		{"code=x", nil},
		{"code=99999999999", nil},
		{"msg=z", nil},
		{"code=0&msg=z&cause=c", nil},
		{"code=404&msg=Not%20Found&cause=", socket.NewRerror(404, "Not Found", "")},
		{"code=404", socket.NewRerror(404, "", "")},
		{"code=-1&cause=a+b%26", socket.NewRerror(-1, "", "a b&")},
		{"x=y&cause=c&code=7&stack=s&msg=m", socket.NewRerror(7, "m", "c")},
	} {
		t.Run(test.status, func(t *testing.T) {
			c, _ := connect([]Dialect{V7}, nil)
			arrive(c, framed("", "\x10\x02\x22"+string([]byte{byte(len(test.status))})+test.status))
			m := socket.NewMessage()
			must(c.Unpack(m))
			if got := m.Rerror(); got.String() != test.want.String() {
				t.Errorf("rerror = %v, want %v", got, test.want)
			}
		})
	}
}

// The metadata key of the error is the protocol's own, where it is used.
func TestReplyErrorKey(t *testing.T) {
	const own = `{"code":1}`
	rerr := socket.NewRerror(404, "Not Found", "gone")
	for _, test := range []struct {
		name  string
		d     Dialect
		mtype byte
		rerr  *socket.Rerror
		meta  string // what arrives
	}{
		{"a CALL loses the key", V5, socket.TypeCall, nil, "a=1"},
		{"a PUSH loses the key", V5, socket.TypePush, rerr, "a=1"},
		{"a REPLY loses the key", V5, socket.TypeReply, nil, "a=1"},
		{"an error takes its place", V5, socket.TypeAuthReply, rerr, "a=1"},
		{"v7 has a status", V7, socket.TypeReply, rerr, "a=1&X-Reply-Error=%7B%22code%22%3A1%7D&X-Reply-Error=%7B%22code%22%3A1%7D"},
	} {
		t.Run(test.d.String()+"/"+test.name, func(t *testing.T) {
			c, s := connect([]Dialect{test.d}, nil)
			m := message(1, test.mtype, "/a", 'j', "", socket.WithAddMeta("a", "1"),
				socket.WithAddMeta(socket.MetaReplyError, own), socket.WithAddMeta(socket.MetaReplyError, own),
				socket.WithRerror(test.rerr))
			must(c.Pack(m))
			if n := strings.Count(s.rw.Buffer.String(), "X-Reply-Error"); n > 1 && test.d != V7 {
				t.Errorf("the key is %d times in the frame", n)
			}
			if got := m.Meta().String(); !strings.Contains(got, "X-Reply-Error") {
				t.Errorf("pack changed the message's metadata to %s", got)
			}
			got := socket.NewMessage()
			must(s.Unpack(got))
			var want *socket.Rerror
			if framing.IsReply(test.mtype) {
				want = test.rerr
			}
			if got.Rerror().String() != want.String() {
				t.Errorf("rerror = %v, want %v", got.Rerror(), want)
			}
			if got := got.Meta().String(); got != test.meta {
				t.Errorf("metadata = %s, want %s", got, test.meta)
			}
		})
	}
}

// Fields of all lengths at which the length of the length changes.
func TestLengths(t *testing.T) {
	for _, d := range []Dialect{V5, V7} {
		c, s := connect([]Dialect{d}, nil)
		for _, n := range []int{1, 118, 119, 120, 125, 126, 127, 128, 129, 16_382, 16_383, 16_384, 70_000} {
			text := strings.Repeat("x", n)
			for _, m := range []socket.Message{
				message(1, socket.TypeCall, text, 'j', text, socket.WithAddMeta("k", text)),
				message(1, socket.TypeReply, "", 's', text, socket.WithRerror(socket.NewRerror(1, text, text))),
			} {
				pass(t, c, s, m)
			}
			// A codec's body, whose length is not known before.
			want, err := c.AppendFrame(nil, message(1, socket.TypeCall, "/a", codec.Form, text))
			must(err)
			m := message(1, socket.TypeCall, "/a", codec.Form, "")
			m.SetBody(&text)
			if got, err := c.AppendFrame(nil, m); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v: body of %d bytes: frame %.60x…, %v; want %.60x…", d, n, got, err, want)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	for _, named := range pairings {
		c, _ := connect(named, nil)
		if id, name := c.Version(); id != 'p' || name != "protobuf" {
			t.Errorf("%v: Version = %d, %q; want p, protobuf", named, id, name)
		}
	}
}

func TestHint(t *testing.T) {
	for _, named := range pairings {
		c, s := connect(named, named)
		if got, want := strings.Contains(c.Hint(), "pbproto.V7"), called(named) == V5; got != want {
			t.Errorf("%v, dialled: Hint = %q", named, c.Hint())
		}
		if s.Hint() != "" {
			t.Errorf("%v, accepted: Hint = %q, want none", named, s.Hint())
		}
	}
}

func TestRecognise(t *testing.T) {
	rawPayload, err := md5Filter{}.OnPack([]byte("\x011\x01\x00"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		prefix string
		match  bool
		need   int
	}{
		{"nothing", "", false, 5},
		{"four bytes", "\x00\x00\x00\x2d", false, 5},
		{"no filters", "\x00\x00\x00\x2d\x00", false, 6},
		{"seq", "\x00\x00\x00\x2d\x00\x08", true, 0},
		{"type", "\x00\x00\x00\x2d\x00\x10", true, 0},
		{"a filter", "\x00\x00\x00\x2d\x01m", false, 7},
		{"a filter, not whole", "\x00\x00\x00\x2d\x01m\x08", false, 0x2d},
		{"a filter, not quite whole", "\x00\x00\x00\x14\x01m\x0823456789012", false, 0x14},
		{"a filter, too short for its sum", "\x00\x00\x00\x14\x01m\x082345678901234", false, 0x18},
		{"raw with a filter", "\x00\x00\x00\x1a\x01m" + string(rawPayload), false, 0},
		{"a filter that fails", "\x00\x00\x00\x04\x01m\x08\x00", false, 0},
		{"a filter nobody has", "\x00\x00\x00\x2d\x01?\x08", true, 0},
		{"too large to look into", "\x00\x20\x00\x00\x01m\x08", true, 0},
		{"too large to look into, and hidden", "\x00\x20\x00\x00\x01m\x1f", false, 0},
		{"a filter that hides", "\x00\x00\x00\x2d\x01g\x1f\x8b", false, 0},
		{"too many filters", "\x00\x00\x00\x2d\x09", false, 0},
		{"size of the filters alone", "\x00\x00\x00\x02\x01m\x08", false, 0},
		{"raw", "\x00\x00\x00\x2c\x00\x011", false, 0},
		{"raw, seed", "\x00\x00\x00\x2dr\x00\x011", false, 0},
		{"json", "\x00\x00\x00\x6b\x00{", false, 0},
		{"thrift", "\x00\x00\x00\x65\x0f\xff", false, 0},
		{"http", "POST / HTTP/1.1", false, 0},
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
	p, err := socket.LookupProto("protobuf")
	if err != nil {
		t.Fatal(err)
	}
	for name, msg := range goldens {
		for _, d := range []Dialect{V5, V7} {
			b, err := NewPbProtoFunc(d)(nil).(*pbProto).AppendFrame(nil, msg())
			if err != nil {
				t.Fatal(err)
			}
			for n := range len(b) {
				match, need := p.Recognise(b[:n])
				if !match && need <= n {
					t.Errorf("%v-%s: recognise of %d bytes = %v, %d", d, name, n, match, need)
				}
			}
		}
	}
}
