package pbproto

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/socket"
)

// textCodec has the id of the form codec, and takes *string.
type textCodec struct{}

func (textCodec) ID() byte                      { return codec.Form }
func (textCodec) Name() string                  { return codec.NameForm }
func (textCodec) Marshal(v any) ([]byte, error) { return []byte(*v.(*string)), nil }
func (textCodec) Unmarshal([]byte, any) error   { return nil }

func init() { codec.Register(textCodec{}) }

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
			if current(c) != d {
				t.Errorf("writes %v afterwards, want %v", current(c), d)
			}
		})
		t.Run(d.String()+" after a good frame", func(t *testing.T) {
			c, s := connect([]Dialect{d}, []Dialect{d})
			pass(t, s, c, goldens["call"]())
			_, other := connect(nil, []Dialect{d.other()})
			frame, err := other.Proto.(socket.FrameAppender).AppendFrame(nil, goldens["call"]())
			must(err)
			c.Arrive(frame)
			if err := c.Unpack(socket.NewMessage()); !errors.Is(err, socket.ErrBadMessage) {
				t.Errorf("unpack: %v, want ErrBadMessage", err)
			}
			pass(t, s, c, goldens["reply"]())
		})
	}
	t.Run("no such", func(t *testing.T) {
		c, s := connect([]Dialect{9}, nil)
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
			s.Arrive(framed("", test.payload))
			must(s.Unpack(socket.NewMessage()))
			if got := current(s); got != test.want {
				t.Errorf("is taken for %v, want %v", got, test.want)
			}
			pass(t, s, c, goldens["404"]())
		})
	}
}

// What cannot be read settles nothing.
func TestBadFirstFrame(t *testing.T) {
	c, s := connect([]Dialect{V7}, nil)
	s.Arrive(framed("", "\x28"))
	s.Arrive(framed("\x01", "\x28\x6a"))
	s.Arrive(framed("", "\x28\x6a\x30\x6a"))
	for range 3 {
		if err := s.Unpack(socket.NewMessage()); !errors.Is(err, socket.ErrBadMessage) {
			t.Fatalf("unpack: %v, want ErrBadMessage", err)
		}
	}
	pass(t, c, s, goldens["call"]())
	pass(t, s, c, goldens["404"]())
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
			want, err := c.Proto.(socket.FrameAppender).AppendFrame(nil, message(1, socket.TypeCall, "/a", codec.Form, text))
			must(err)
			m := message(1, socket.TypeCall, "/a", codec.Form, "")
			m.SetBody(&text)
			if got, err := c.Proto.(socket.FrameAppender).AppendFrame(nil, m); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v: body of %d bytes: frame %.60x…, %v; want %.60x…", d, n, got, err, want)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	for _, named := range dialectTests.Arguments() {
		c, _ := connect(named, nil)
		if id, name := c.Version(); id != 'p' || name != "protobuf" {
			t.Errorf("%v: Version = %d, %q; want p, protobuf", named, id, name)
		}
	}
}

// A peer of v7 closes on the first frame; only a dialled connection of V5 has that fault.
func TestHint(t *testing.T) {
	for _, named := range dialectTests.Arguments() {
		c, s := connect(named, named)
		must(c.Pack(goldens["call"]()))
		must(s.Pack(goldens["call"]()))
		got := c.Proto.(socket.Hinter).Hint()
		if want := dialectTests.Named(named) == V5; strings.Contains(got, "pbproto.V7") != want || !want && got != "" {
			t.Errorf("%v, dialled: Hint = %q, want one: %v", named, got, want)
		}
		if got := s.Proto.(socket.Hinter).Hint(); got != "" {
			t.Errorf("%v, accepted: Hint = %q, want none", named, got)
		}
	}
}

func TestRecognise(t *testing.T) {
	dialectTests.Recognise(t, "\x08", map[string]bool{"\x00\x00\x00\x2d\x00\x10": true, "\x00\x00\x00\x6b\x00{": false})
}
