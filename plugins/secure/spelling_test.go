package secure

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/socket"
)

func TestSpelled(t *testing.T) {
	for _, test := range []struct{ method, want string }{
		{"", ""},
		{"/", "/"},
		{"/math/add?a=b&c=d;e#f", "/math/add?a=b&c=d;e#f"},
		{"Home.Test", "Home.Test"},
		{"/é", "/%C3%A9"},
		{"/%C3%A9", "/%C3%A9"},
		{"/%c3%a9", "/%c3%a9"}, // is sent so
		{"/a b?c=\"<>\\^`{|}", "/a%20b?c=%22%3C%3E%5C%5E%60%7B%7C%7D"},
		{"/a%2Fb", "/a%2Fb"}, // another segment than /a/b
		{"/%41 ", "/%41%20"},
		{"http://h/x?y", "/x?y"},
		{"http://u:p@h:80/é", "/%C3%A9"},
		{"/go?to=http://h/é", "/go?to=http://h/%C3%A9"},
		// What is no URL is a route of its own: nothing else may be taken for it.
		{"/a\x01 b", "/a\x01 b"},
		{"/a%zz b", "/a%zz b"},
		{"/é%4", "/é%4"},
		{"é", "é"},
		{"//h/é", "//h/é"},
		{"http://h", "http://h"},
		{"http://h:x/é", "http://h:x/é"},
		{"http:///x", "http:///x"},
		{"http://h//x", "http://h//x"},
		{"http://h?/x", "http://h?/x"},
	} {
		if got := spelled(test.method); got != test.want {
			t.Errorf("spelled(%q) = %q; want %q", test.method, got, test.want)
		}
	}
}

// routed is what a receiver makes of a service method.
func routed(method string) string {
	m := socket.NewMessage(tp.WithServiceMethod(method))
	return fmt.Sprintf("%q %s", m.(*socket.Envelope).RouteKey(), m.UriObject().Query().Encode())
}

// FuzzSpelled: methods that are spelled alike are routed alike.
func FuzzSpelled(f *testing.F) {
	for _, seed := range []string{"/é?a= b", "http://h/x y", "/a%zz b", "//h/é", "/a:b c", "a b:c", "/?%", "http://[::1/é", "/a\x7f é", "/#%é", "x://h/ \n", "/%20 %2f"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, method string) {
		once := spelled(method)
		if again := spelled(once); again != once {
			t.Errorf("%q is %q, and that is %q", method, once, again)
		}
		if got, want := routed(once), routed(method); got != want {
			t.Errorf("%q is spelled %q and routed to %s; want %s", method, once, got, want)
		}
	})
}

// line is a protocol that keeps one message, and may change it on its way.
type line struct {
	mtype  byte
	seq    int32
	method string
	meta   []byte
	codec  byte
	body   []byte
	rerr   *tp.Rerror
}

func (l *line) Version() (byte, string) { return 0, "line" }

func (l *line) Pack(m socket.Message) (err error) {
	l.mtype, l.seq, l.method, l.codec = m.Mtype(), m.Seq(), m.ServiceMethod(), m.BodyCodec()
	l.meta = m.Meta().AppendBytes(nil)
	l.body, err = m.MarshalBody()
	l.body = bytes.Clone(l.body)
	return err
}

func (l *line) Unpack(m socket.Message) error {
	m.SetMtype(l.mtype)
	m.SetSeq(l.seq)
	m.SetServiceMethod(l.method)
	m.SetBodyCodec(l.codec)
	m.Meta().ParseBytes(l.meta)
	m.SetRerror(l.rerr)
	return m.UnmarshalBody(bytes.Clone(l.body))
}

// ofURL is what HTTP makes of a service method.
func ofURL(method string) string {
	u, err := url.Parse(method)
	if err != nil {
		return method
	}
	query := strings.NewReplacer(" ", "%20", "é", "%C3%A9").Replace(u.RawQuery)
	if query != "" {
		query = "?" + query
	}
	return u.EscapedPath() + query
}

// A method that is respelled on its way opens, another one does not.
func TestRespelled(t *testing.T) {
	dialler, acceptor := ends(t)
	end, err := NewKeys(Key{1, make([]byte, 16)})
	if err != nil {
		t.Fatal(err)
	}
	through := EndToEnd(end).(*endToEnd)
	for _, test := range []struct {
		sent, got string
		err       error
	}{
		{"/é ü?a= é", ofURL("/é ü?a= é"), nil},
		{"http://h.example/é", ofURL("http://h.example/é"), nil},
		{"/a", "/A", ErrAltered},
		{"/a b", "/a+b", ErrAltered},
		{"/a/b", "/a%2Fb", ErrAltered},
		{"/x/y", "//x/y", ErrAltered}, // whose path is /y
		{"/x", "/x?q", ErrAltered},
	} {
		l := new(line)
		out := &proto{l, dialler, newConfig(nil)}
		m := socket.NewMessage(tp.WithMtype(tp.TypeCall), tp.WithServiceMethod(test.sent), tp.WithBody([]byte("body")), WithSecureMeta())
		if err := out.Pack(m); err != nil {
			t.Fatal(err)
		}
		l.method = test.got
		m = socket.NewMessage()
		if err := (&proto{l, acceptor, newConfig(nil)}).Unpack(m); !errors.Is(err, test.err) {
			t.Errorf("hop: %q came as %q: %v; want %v", test.sent, test.got, err, test.err)
		}
		if test.err == nil && string(m.RawBody()) != "body" {
			t.Errorf("hop: %q came as %q: body %q", test.sent, test.got, m.RawBody())
		}

		m = message(tp.TypeCall, 1, test.sent)
		m.SetBody([]byte("body"))
		if r := through.seal(m, id{}, test.sent); r != nil {
			t.Fatal(r)
		}
		sealed := m.Body().([]byte)
		m = message(tp.TypeCall, 1, test.got)
		m.UnmarshalBody(sealed)
		err := through.open(m, test.got, func(id, time.Time) error { return nil })
		if !errors.Is(err, test.err) {
			t.Errorf("end to end: %q came as %q: %v; want %v", test.sent, test.got, err, test.err)
		}
	}
}
