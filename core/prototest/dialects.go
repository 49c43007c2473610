package prototest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
	"github.com/teleport-go/teleport/core/socket/framing"
)

// Dialects is a protocol with dialects. Run is the tests that all such protocols
// have in common; what is special about one stays with it.
type Dialects[D interface {
	~uint8
	fmt.Stringer
}] struct {
	// Name is what the errors of the protocol begin with.
	Name string
	// New is the constructor. The protocols it makes have a method Current that
	// returns the dialect they write.
	New func(dialect ...D) socket.ProtoFunc
	// All are the dialects. The first is the one that is written where none is named.
	All []D
	// Status is the dialect in which the error of a reply is a status, and metadata
	// X-Reply-Error is like any other.
	Status D
	// StatusReply returns the frame of a REPLY of dialect Status with that text as its
	// status.
	StatusReply func(status string) []byte
	// Goldens are the messages of testdata/golden: the file DIALECT-NAME.hex is the
	// message NAME in that dialect. Messages has the usual ones.
	Goldens map[string]func() socket.Message
	// ReadOnly says of a golden file that its message is written in other bytes, of the
	// same meaning. It may be nil.
	ReadOnly func(d D, name string) bool
}

// Messages returns the usual messages of golden files.
func Messages() map[string]func() socket.Message {
	return map[string]func() socket.Message{
		"call": func() socket.Message {
			return Message(1, socket.TypeCall, "/math/add", 'j', "[1,2,3]", socket.WithAddMeta("k", "v 1/é"))
		},
		"reply": func() socket.Message {
			return Message(1, socket.TypeReply, "", 'j', "6", socket.WithAddMeta("who", "srv 1"))
		},
		"404": func() socket.Message {
			return Message(3, socket.TypeReply, "", 0, "", socket.WithRerror(socket.NewRerror(404, "Not Found", "")))
		},
		"push": func() socket.Message { return Message(6, socket.TypePush, "/note/say", 'j', `"hi"`) },
		"md5": func() socket.Message {
			return Message(2, socket.TypeCall, "/math/add", 'j', "[1,2,3]", socket.WithXferPipe('m'))
		},
		"auth-call":  func() socket.Message { return Message(1, socket.TypeAuthCall, "", 's', "tok") },
		"auth-reply": func() socket.Message { return Message(1, socket.TypeAuthReply, "", 's', "pass") },
	}
}

// Run runs the tests.
func (p Dialects[D]) Run(t *testing.T) {
	t.Run("golden", p.golden)
	t.Run("cut", p.cut)
	p.RunCommon(t)
}

// RunCommon runs the tests that need no golden files.
func (p Dialects[D]) RunCommon(t *testing.T) {
	RegisterFilters()
	t.Run("the server follows the client", p.serverFollows)
	t.Run("the server pushes first", p.serverPushes)
	t.Run("no such dialect", p.noSuch)
	t.Run("status", p.status)
	t.Run("key of the error", p.errorKey)
	t.Run("reuse", p.reuse)
	t.Run("large", p.large)
}

// Current returns the dialect that the end writes.
func (p Dialects[D]) Current(e *End) D { return e.Proto.(interface{ Current() D }).Current() }

// Named returns the dialect that a connection writes at first whose constructor had
// these arguments.
func (p Dialects[D]) Named(dialect []D) D {
	if len(dialect) > 0 {
		return dialect[0]
	}
	return p.All[0]
}

// Arguments returns the usual arguments of the constructor: none, or one dialect.
func (p Dialects[D]) Arguments() [][]D {
	all := [][]D{nil}
	for _, d := range p.All {
		all = append(all, []D{d})
	}
	return all
}

// Connect makes the two ends of a connection; the arguments are those of the
// constructor.
func (p Dialects[D]) Connect(client, server []D) (c, s *End) {
	return Pair(p.New(client...), p.New(server...))
}

// GoldenFile is a file of testdata/golden.
type GoldenFile[D any] struct {
	Name    string // of the file, without extension
	Dialect D
	Message string // its name in Goldens
	Frame   []byte
}

// GoldenFiles returns the golden files.
func (p Dialects[D]) GoldenFiles(t testing.TB) []GoldenFile[D] {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.hex"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	var all []GoldenFile[D]
	for _, file := range files {
		g := GoldenFile[D]{Name: strings.TrimSuffix(filepath.Base(file), ".hex"), Frame: ReadHex(t, file)}
		dialect, message, _ := strings.Cut(g.Name, "-")
		for _, d := range p.All {
			if d.String() == dialect {
				g.Dialect, g.Message = d, message
			}
		}
		if g.Message == "" {
			t.Fatalf("%s: no dialect %q", file, dialect)
		}
		all = append(all, g)
	}
	return all
}

// ReadHex returns the bytes that a file has in hexadecimal.
func ReadHex(t testing.TB, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return b
}

func (p Dialects[D]) golden(t *testing.T) {
	RegisterFilters()
	for _, g := range p.GoldenFiles(t) {
		message := p.Goldens[g.Message]
		if message == nil {
			t.Errorf("%s: no message %q", g.Name, g.Message)
			continue
		}
		if p.ReadOnly == nil || !p.ReadOnly(g.Dialect, g.Message) {
			t.Run(g.Name+"/pack", func(t *testing.T) {
				var wire bytes.Buffer
				m := message()
				if err := p.New(g.Dialect)(&wire).Pack(m); err != nil {
					t.Fatal(err)
				}
				if got := wire.Bytes(); !bytes.Equal(got, g.Frame) {
					t.Errorf("Pack writes\n%q, want\n%q", got, g.Frame)
				}
				if got, want := m.Size(), uint32(len(g.Frame)); got != want {
					t.Errorf("size = %d, want %d", got, want)
				}
			})
		}
		t.Run(g.Name+"/unpack", func(t *testing.T) {
			_, s := p.Connect(nil, nil)
			s.Arrive(g.Frame)
			m := socket.NewMessage()
			if err := s.Unpack(m); err != nil {
				t.Fatal(err)
			}
			if got, want := Picture(m), Picture(message()); got != want {
				t.Errorf("Unpack reads\n%s, want\n%s", got, want)
			}
			if got, want := m.Size(), uint32(len(g.Frame)); got != want {
				t.Errorf("size = %d, want %d", got, want)
			}
			if got := p.Current(s); got != g.Dialect {
				t.Errorf("then it writes %v, want %v", got, g.Dialect)
			}
			if err := s.Unpack(m); err != io.EOF {
				t.Errorf("after the frame: %v, want io.EOF", err)
			}
		})
	}
}

// Cut at any byte, a golden frame is an error that begins with the protocol's name.
func (p Dialects[D]) cut(t *testing.T) {
	for _, g := range p.GoldenFiles(t) {
		for n := 1; n < len(g.Frame); n++ {
			_, s := p.Connect(nil, nil)
			s.Arrive(g.Frame[:n])
			err := s.Unpack(socket.NewMessage())
			if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.HasPrefix(err.Error(), p.Name+": ") {
				t.Errorf("%s cut after %d bytes: %v, want io.ErrUnexpectedEOF", g.Name, n, err)
			}
		}
	}
}

// Calls, replies and errors arrive in both directions, whatever the two sides were
// given: the side that accepted follows the one that dialled.
func (p Dialects[D]) serverFollows(t *testing.T) {
	for _, server := range p.Arguments() {
		for _, client := range p.Arguments() {
			t.Run(fmt.Sprintf("%v serves %v", server, client), func(t *testing.T) {
				c, s := p.Connect(client, server)
				Pass(t, c, s, p.Goldens["call"]())
				for _, name := range []string{"reply", "404", "push", "md5", "call"} {
					Pass(t, s, c, p.Goldens[name]())
				}
				Pass(t, c, s, p.Goldens["404"]())
				if got, want := p.Current(s), p.Named(client); got != want {
					t.Errorf("the server writes %v, want %v", got, want)
				}
			})
		}
	}
}

// A server that pushes before a frame has arrived writes what it was given.
func (p Dialects[D]) serverPushes(t *testing.T) {
	for _, server := range p.Arguments() {
		d := p.Named(server)
		for _, client := range [][]D{nil, {d}} {
			t.Run(fmt.Sprintf("%v to %v", server, client), func(t *testing.T) {
				c, s := p.Connect(client, server)
				Pass(t, s, c, p.Goldens["push"]())
				Pass(t, c, s, p.Goldens["call"]())
				Pass(t, s, c, p.Goldens["404"]())
				if got, want := [2]D{p.Current(s), p.Current(c)}, [2]D{d, d}; got != want {
					t.Errorf("server and client write %v, want %v", got, want)
				}
			})
		}
	}
	last := len(p.All) - 1
	t.Run("then the client uses another dialect", func(t *testing.T) {
		c, s := p.Connect([]D{p.All[last-1]}, []D{p.All[last]})
		if err := s.Pack(p.Goldens["push"]()); err != nil {
			t.Fatal(err)
		}
		Pass(t, c, s, p.Goldens["call"]())
		if got, want := p.Current(s), p.All[last-1]; got != want {
			t.Errorf("the server writes %v, want %v", got, want)
		}
	})
}

func (p Dialects[D]) noSuch(t *testing.T) {
	c, s := p.Connect([]D{99}, nil)
	err := c.Pack(p.Goldens["call"]())
	if want := p.Name + ": no such dialect: 99"; err == nil || err.Error() != want {
		t.Errorf("Pack: %v, want %s", err, want)
	}
	if got := s.Arrived(); len(got) != 0 {
		t.Errorf("Pack failed and wrote %q", got)
	}
	if got, want := D(99).String(), "dialect 99"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
}

// What a status means.
func (p Dialects[D]) status(t *testing.T) {
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
			c, _ := p.Connect([]D{p.Status}, nil)
			c.Arrive(p.StatusReply(test.status))
			m := socket.NewMessage()
			if err := c.Unpack(m); err != nil {
				t.Fatal(err)
			}
			if got := m.Rerror(); got.String() != test.want.String() {
				t.Errorf("rerror = %v, want %v", got, test.want)
			}
		})
	}
}

// Metadata X-Reply-Error is the protocol's own in the dialects without a status.
func (p Dialects[D]) errorKey(t *testing.T) {
	const own = `{"code":1}`
	rerr := socket.NewRerror(404, "Not Found", "gone")
	for _, d := range p.All {
		for _, test := range []struct {
			name  string
			mtype byte
			rerr  *socket.Rerror
			keys  int // in the frame
		}{
			{"CALL", socket.TypeCall, nil, 0},
			{"PUSH with an error", socket.TypePush, rerr, 0},
			{"REPLY", socket.TypeReply, nil, 0},
			{"REPLY with an error", socket.TypeReply, rerr, 1},
			{"AUTH_REPLY with an error", socket.TypeAuthReply, rerr, 1},
		} {
			t.Run(d.String()+"/"+test.name, func(t *testing.T) {
				c, s := p.Connect([]D{d}, nil)
				m := Message(1, test.mtype, "/a", 'j', "", socket.WithAddMeta("a", "1"),
					socket.WithAddMeta(socket.MetaReplyError, own), socket.WithAddMeta("b", "2"),
					socket.WithAddMeta(socket.MetaReplyError, own), socket.WithRerror(test.rerr))
				before := m.Meta().String()
				if err := c.Pack(m); err != nil {
					t.Fatal(err)
				}
				if got := m.Meta().String(); got != before {
					t.Errorf("Pack changed the message's metadata to %s, from %s", got, before)
				}
				keys, meta := test.keys, "a=1&b=2"
				if d == p.Status {
					keys, meta = 2, before
				}
				if frame := s.Arrived(); bytes.Count(frame, []byte(socket.MetaReplyError)) != keys {
					t.Errorf("the key should be %d times in the frame %q", keys, frame)
				}
				got := socket.NewMessage()
				if err := s.Unpack(got); err != nil {
					t.Fatal(err)
				}
				var want *socket.Rerror
				if framing.IsReply(test.mtype) {
					want = test.rerr
				}
				if got.Rerror().String() != want.String() {
					t.Errorf("rerror = %v, want %v", got.Rerror(), want)
				}
				if got := got.Meta().String(); got != meta {
					t.Errorf("metadata = %s, want %s", got, meta)
				}
			})
		}
	}
}

// A message that is used again keeps nothing of the one before.
func (p Dialects[D]) reuse(t *testing.T) {
	for _, d := range p.All {
		c, s := p.Connect([]D{d}, nil)
		full := Message(math.MinInt32, socket.TypeReply, "/a", 'j', "body", socket.WithAddMeta("k", "v"),
			socket.WithRerror(socket.NewRerror(1, "m", "r")), socket.WithXferPipe('m'))
		last := Message(0, socket.TypePush, "", 0, "")
		for _, m := range []socket.Message{full, last} {
			if err := c.Pack(m); err != nil {
				t.Fatal(err)
			}
		}
		got := socket.NewMessage()
		for range 2 {
			if err := s.Unpack(got); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := Picture(got), Picture(last); got != want {
			t.Errorf("%v: second message:\n got %s\nwant %s", d, got, want)
		}
	}
}

// Memory that was allocated for one large message becomes the message's.
func (p Dialects[D]) large(t *testing.T) {
	for name, filter := range map[string]socket.MessageSetting{"plain": nil, "piped": socket.WithXferPipe('m')} {
		t.Run(name, func(t *testing.T) {
			var wire bytes.Buffer
			proto := p.New()(readWriter{&wire, &wire})
			for _, n := range []int{100, 200_000, 100} {
				body := strings.Repeat("x", n)
				if err := proto.Pack(Message(1, socket.TypeCall, "/a", 'j', body, filter)); err != nil {
					t.Fatal(err)
				}
				m := new(socket.Envelope)
				if err := proto.Unpack(m); err != nil {
					t.Fatal(err)
				}
				if string(m.RawBody()) != body || m.BodyOwned() != (n > framing.OwnFrom) {
					t.Errorf("a body of %d bytes arrives with %d, owned: %v", n, len(m.RawBody()), m.BodyOwned())
				}
			}
		})
	}
}

// Recognise tests the Recognise of a protocol whose frames are four bytes of size
// without themselves, the filters, and a payload that can begin with begin. more are
// further prefixes and whether they match.
func (p Dialects[D]) Recognise(t *testing.T, begin string, more map[string]bool) {
	RegisterFilters()
	proto, err := socket.LookupProto(p.Name)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := md5Filter{}.OnPack([]byte("\x011\x01\x00"))
	if err != nil {
		t.Fatal(err)
	}
	type prefix struct {
		name, prefix string
		match        bool
		need         int
	}
	prefixes := []prefix{
		{"nothing", "", false, 5},
		{"four bytes", "\x00\x00\x00\x2d", false, 5},
		{"no filters", "\x00\x00\x00\x2d\x00", false, 6},
		{"a payload", "\x00\x00\x00\x2d\x00" + begin, true, 0},
		{"a filter", "\x00\x00\x00\x2d\x01m", false, 7},
		{"a filter, not whole", "\x00\x00\x00\x2d\x01m" + begin, false, 0x2d},
		{"a filter, not quite whole", "\x00\x00\x00\x14\x01m" + begin + "23456789012", false, 0x14},
		{"a filter, too short for its sum", "\x00\x00\x00\x14\x01m" + begin + "2345678901234", false, 0x18},
		{"raw with a filter", "\x00\x00\x00\x1a\x01m" + string(raw), false, 0},
		{"a filter that fails", "\x00\x00\x00\x04\x01m" + begin + "\x00", false, 0},
		{"an unknown filter", "\x00\x00\x00\x2d\x01?" + begin, true, 0},
		{"an unknown filter that hides", "\x00\x00\x00\x2d\x01g\x1f\x8b", false, 0},
		{"too large to look into", "\x00\x20\x00\x00\x01m" + begin, true, 0},
		{"too large to look into, and hidden", "\x00\x20\x00\x00\x01m\x1f", false, 0},
		{"too many filters", "\x00\x00\x00\x2d\x09", false, 0},
		{"size of the filters alone", "\x00\x00\x00\x02\x01m" + begin, false, 0},
		{"raw", "\x00\x00\x00\x2c\x00\x011", false, 0},
		{"raw, seed", "\x00\x00\x00\x2dr\x00\x011", false, 0},
		{"thrift", "\x00\x00\x00\x65\x0f\xff", false, 0},
		{"http", "POST / HTTP/1.1", false, 0},
		{"tls", "\x16\x03\x01\x02\x00\x01", false, 0},
		{"zeros", "\x00\x00\x00\x00\x00\x00", false, 0},
	}
	for b, match := range more {
		prefixes = append(prefixes, prefix{fmt.Sprintf("%q", b), b, match, 0})
	}
	for _, test := range prefixes {
		t.Run(test.name, func(t *testing.T) {
			match, need := proto.Recognise([]byte(test.prefix))
			if match != test.match || need != test.need {
				t.Errorf("Recognise(%q) = %v, %d; want %v, %d", test.prefix, match, need, test.match, test.need)
			}
		})
	}
	// A part of a frame is never refused, and never asks for more than the frame.
	for name, message := range p.Goldens {
		for _, d := range p.All {
			c, s := p.Connect([]D{d}, nil)
			if err := c.Pack(message()); err != nil {
				t.Fatal(err)
			}
			frame := s.Arrived()
			for n := range len(frame) + 1 {
				match, need := proto.Recognise(frame[:n])
				if !match && (need <= n || need > len(frame)) {
					t.Errorf("%v-%s: Recognise of %d bytes of %d = %v, %d", d, name, n, len(frame), match, need)
				}
			}
		}
	}
}
