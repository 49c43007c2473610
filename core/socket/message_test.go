package socket_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/codec"
	"github.com/teleport-go/teleport/core/internal/poison"
	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

func TestMain(m *testing.M) {
	testwire.Register()
	os.Exit(m.Run())
}

func TestTypeText(t *testing.T) {
	for mtype, want := range map[byte]string{
		0: "Undefined", 1: "CALL", 2: "REPLY", 3: "PUSH", 4: "AUTH_CALL", 5: "AUTH_REPLY", 6: "CONTROL", 7: "DATA", 8: "Undefined", 255: "Undefined",
	} {
		if got := socket.TypeText(mtype); got != want {
			t.Errorf("TypeText(%d) = %q, want %q", mtype, got, want)
		}
	}
}

func TestZeroMessage(t *testing.T) {
	m := socket.NewMessage()
	if m.Meta() == nil || m.XferPipe() == nil || m.UriObject() == nil || m.Context() == nil {
		t.Error("a part of an empty message is nil")
	}
	if m.Rerror() != nil || m.Body() != nil || m.RawBody() != nil || m.KeepBody() != nil || m.Size() != 0 {
		t.Errorf("an empty message is not empty: %v", m)
	}
	if m.Limit() != math.MaxUint32 {
		t.Errorf("Limit = %d, want the largest uint32", m.Limit())
	}
}

// An URI that hooks change is the service method.
func TestUriObject(t *testing.T) {
	for _, test := range []struct {
		name, method string
		change       func(u *url.URL)
		want         string // ServiceMethod afterwards
		path         string
	}{
		{"untouched", "/a/b?x=1&x=2", func(*url.URL) {}, "/a/b?x=1&x=2", "/a/b"},
		{"untouched, though String differs", "/a b?x y", func(*url.URL) {}, "/a b?x y", "/a b"},
		{"path", "/A/B?x=1", func(u *url.URL) { u.Path = "/a/b" }, "/a/b?x=1", "/a/b"},
		{"query", "/a", func(u *url.URL) { u.RawQuery = "y=2" }, "/a?y=2", "/a"},
		{"host", "http://h/a", func(u *url.URL) { u.Host = "g" }, "http://g/a", "/a"},
		{"no url", "a%zz?b", func(*url.URL) {}, "a%zz?b", "a%zz?b"},
		{"control byte", "/a\x01?b", func(*url.URL) {}, "/a\x01?b", "/a\x01?b"},
		{"empty", "", func(*url.URL) {}, "", ""},
		{"made of nothing", "", func(u *url.URL) { u.Path = "/a" }, "/a", "/a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := new(socket.Envelope)
			m.SetServiceMethod(test.method)
			test.change(m.UriObject())
			if got := m.ServiceMethod(); got != test.want {
				t.Errorf("ServiceMethod = %q, want %q", got, test.want)
			}
			if got := m.UriObject().Path; got != test.path || m.RouteKey() != test.path {
				t.Errorf("UriObject().Path = %q, RouteKey = %q, want %q", got, m.RouteKey(), test.path)
			}
			if first := m.UriObject(); first != m.UriObject() {
				t.Error("UriObject makes a new one each time")
			}
			m.SetServiceMethod("/z")
			if m.UriObject().Path != "/z" || m.ServiceMethod() != "/z" || m.RouteKey() != "/z" {
				t.Errorf("after SetServiceMethod: %q, path %q", m.ServiceMethod(), m.UriObject().Path)
			}
		})
	}
	m := new(socket.Envelope)
	m.SetServiceMethod("/a")
	m.SetUriObject(&url.URL{Path: "/b", RawQuery: "c=d"})
	if m.ServiceMethod() != "/b?c=d" || m.RouteKey() != "/b" {
		t.Errorf("after SetUriObject: %q, key %q", m.ServiceMethod(), m.RouteKey())
	}
	m.SetUriObject(nil)
	if m.UriObject() == nil || m.ServiceMethod() != "" {
		t.Errorf("after SetUriObject(nil): %v, %q", m.UriObject(), m.ServiceMethod())
	}
}

func FuzzRouteKey(f *testing.F) {
	for _, text := range []string{
		"", "/", "/a/b", "a.b", "/a?x=1", "/a?x:y%zz", "?", "?a", "/a?", "/a%20b", "/a%zz", "//h/a", "///a", "http://h/a?b",
		"a:b", "/a:b", ":", "*", "/a#b", "/a?b#c", "/a\x00", "/a?\x7f", "/é", "\xff", "a b", "[", "/[::1]", "mailto:x", "\\", "/a;b",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, same := new(socket.Envelope), new(socket.Envelope)
		m.SetServiceMethod(text)
		same.SetServiceMethod(text)
		u := same.UriObject()
		if got := m.RouteKey(); got != u.Path {
			t.Errorf("RouteKey(%q) = %q, UriObject().Path = %q", text, got, u.Path)
		}
		if got := same.RouteKey(); got != u.Path {
			t.Errorf("RouteKey(%q) = %q once it is parsed, UriObject().Path = %q", text, got, u.Path)
		}
		if m.ServiceMethod() != text || same.ServiceMethod() != text {
			t.Errorf("ServiceMethod = %q and %q, want %q", m.ServiceMethod(), same.ServiceMethod(), text)
		}
	})
}

func TestMarshalBody(t *testing.T) {
	b := []byte("raw")
	for _, test := range []struct {
		name  string
		codec byte
		body  any
		want  string
		err   error
	}{
		{"nil", testwire.JSON, nil, "", nil},
		{"nil without a codec", 0, nil, "", nil},
		{"bytes", 0, b, "raw", nil},
		{"pointer to bytes", 0, &b, "raw", nil},
		{"nil pointer to bytes", testwire.JSON, (*[]byte)(nil), "", nil},
		{"json", testwire.JSON, []int{1, 2}, "[1,2]", nil},
		{"text", testwire.Text, "hi", "hi", nil},
		{"no codec", 0, 1, "", codec.ErrUnsupported},
		{"unknown codec", 200, 1, "", codec.ErrUnsupported},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := socket.NewMessage(socket.WithBodyCodec(test.codec), socket.WithBody(test.body))
			got, err := m.MarshalBody()
			if string(got) != test.want || !errors.Is(err, test.err) {
				t.Errorf("MarshalBody = %q, %v; want %q, %v", got, err, test.want, test.err)
			}
			got, err = m.AppendBody([]byte("before "))
			if string(got) != "before "+test.want || !errors.Is(err, test.err) {
				t.Errorf("AppendBody = %q, %v; want %q behind, %v", got, err, test.want, test.err)
			}
			e := m.(*socket.Envelope)
			buf, err := e.Encode([]byte("before "))
			if !errors.Is(err, test.err) || string(buf) != "before "+test.want {
				t.Errorf("Encode = %q, %v; want %q behind, %v", buf, err, test.want, test.err)
			}
			if err == nil {
				e.SetBodyCodec(200) // is not asked any more
				if got, err := m.MarshalBody(); string(got) != test.want || err != nil {
					t.Errorf("MarshalBody after Encode = %q, %v; want %q", got, err, test.want)
				}
				m.SetBody([]byte("new"))
				if got, err := m.MarshalBody(); string(got) != "new" || err != nil {
					t.Errorf("MarshalBody after SetBody = %q, %v", got, err)
				}
			}
		})
	}
}

func TestUnmarshalBody(t *testing.T) {
	t.Run("kept raw", func(t *testing.T) {
		m := socket.NewMessage(socket.WithBodyCodec(200))
		if err := m.UnmarshalBody([]byte("raw")); err != nil || string(m.RawBody()) != "raw" || m.Body() != nil {
			t.Errorf("UnmarshalBody: %v, raw %q, body %v", err, m.RawBody(), m.Body())
		}
	})
	t.Run("decoded at once", func(t *testing.T) {
		var v []int
		m := socket.NewMessage(socket.WithBodyCodec(testwire.JSON), socket.WithBody(&v))
		if err := m.UnmarshalBody([]byte("[1,2]")); err != nil || fmt.Sprint(v) != "[1 2]" {
			t.Errorf("UnmarshalBody: %v, %v", err, v)
		}
	})
	t.Run("an error is returned", func(t *testing.T) {
		m := socket.NewMessage(socket.WithBodyCodec(testwire.JSON), socket.WithBody(new(int)))
		var syntax *json.SyntaxError
		if err := m.UnmarshalBody([]byte("{")); !errors.As(err, &syntax) {
			t.Errorf("UnmarshalBody = %v, want a syntax error", err)
		}
		m = socket.NewMessage(socket.WithBodyCodec(200), socket.WithBody(new(int)))
		if err := m.UnmarshalBody([]byte("1")); !errors.Is(err, codec.ErrUnsupported) {
			t.Errorf("UnmarshalBody = %v, want ErrUnsupported", err)
		}
	})
	t.Run("nothing is never decoded", func(t *testing.T) {
		v := 5
		m := socket.NewMessage(socket.WithBodyCodec(200), socket.WithBody(&v))
		for _, b := range [][]byte{nil, {}} {
			if err := m.UnmarshalBody(b); err != nil || v != 5 {
				t.Errorf("UnmarshalBody(%v) = %v, and %d", b, err, v)
			}
		}
	})
	t.Run("new body", func(t *testing.T) {
		var seen string
		m := socket.NewMessage(socket.WithBodyCodec(testwire.Text), socket.WithServiceMethod("/a"),
			socket.WithNewBody(func(h socket.Header) any {
				seen = h.ServiceMethod()
				return new(string)
			}))
		err := m.UnmarshalBody([]byte("hi"))
		if s, ok := m.Body().(*string); err != nil || !ok || *s != "hi" || seen != "/a" {
			t.Errorf("UnmarshalBody: %v, body %v, asked for %q", err, m.Body(), seen)
		}
	})
	t.Run("nobody wants it", func(t *testing.T) {
		m := socket.NewMessage(socket.WithBodyCodec(200))
		m.UnmarshalBody([]byte("of the message before"))
		m.SetNewBody(func(socket.Header) any { return nil })
		if err := m.UnmarshalBody([]byte("hi")); err != nil || m.Body() != nil || len(m.RawBody()) != 0 {
			t.Errorf("UnmarshalBody: %v, body %v, raw %q", err, m.Body(), m.RawBody())
		}
	})
	t.Run("bytes are copied", func(t *testing.T) {
		var v []byte
		borrowed := []byte("borrowed")
		m := socket.NewMessage(socket.WithBodyCodec(200), socket.WithBody(&v))
		if err := m.UnmarshalBody(borrowed); err != nil {
			t.Fatal(err)
		}
		borrowed[0] = '#'
		if string(v) != "borrowed" {
			t.Errorf("bytes = %q: they share the connection's memory", v)
		}
	})
}

func TestKeepBody(t *testing.T) {
	borrowed := []byte("borrowed")
	m := new(socket.Envelope)
	m.UnmarshalBody(borrowed)
	kept := m.KeepBody()
	borrowed[0] = '#'
	if string(kept) != "borrowed" || string(m.RawBody()) != "borrowed" {
		t.Errorf("kept %q, raw %q; want both borrowed", kept, m.RawBody())
	}
	if again := m.KeepBody(); &again[0] != &kept[0] || !m.BodyOwned() {
		t.Error("KeepBody copies twice")
	}

	own := []byte("own")
	m.UnmarshalBody(own)
	if m.BodyOwned() {
		t.Error("a new body is owned at once")
	}
	m.OwnBody()
	if kept := m.KeepBody(); &kept[0] != &own[0] {
		t.Error("KeepBody copies what is the message's already")
	}
	// A *[]byte gets a copy of what somebody keeps; what nobody does it takes over.
	for _, kept := range []bool{true, false} {
		m := new(socket.Envelope)
		m.UnmarshalBody(own)
		m.OwnBody()
		if kept {
			m.KeepBody()
		}
		var v []byte
		if _, err := m.Bind(&v); err != nil || string(v) != "own" || (&v[0] == &own[0]) == kept {
			t.Errorf("kept %v: Bind: %v, %q, in the same memory: %v", kept, err, v, &v[0] == &own[0])
		}
		if m.RawBody() != nil || m.BodyOwned() {
			t.Errorf("raw = %q after it was given away", m.RawBody())
		}
	}
}

// TakeBody reports whether the memory is exclusive, and FreeBody lets no memory
// serve again that somebody else may look at.
func TestTakeAndFreeBody(t *testing.T) {
	defer poison.Switch()()
	const large = 70_000
	for _, test := range []struct {
		name       string
		own, keep  bool
		same, sole bool // TakeBody: the memory it was; nobody else has it
		freed      bool
	}{
		{"borrowed", false, false, false, true, false},
		{"borrowed and kept", false, true, false, false, false},
		{"owned", true, false, true, true, true},
		{"owned and kept", true, true, true, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := new(socket.Envelope)
			raw := bytes.Repeat([]byte("x"), large)
			arrive := func() {
				m.UnmarshalBody(raw)
				if test.own {
					m.OwnBody()
				}
				if test.keep {
					m.KeepBody()
				}
			}
			arrive()
			got, sole := m.TakeBody()
			if sole != test.sole || (&got[0] == &raw[0]) != test.same || !bytes.Equal(got, raw) {
				t.Errorf("TakeBody: sole %v, the same memory: %v", sole, &got[0] == &raw[0])
			}
			if m.RawBody() != nil {
				t.Error("it has its body still")
			}
			arrive()
			m.FreeBody()
			if freed := raw[0] != 'x'; freed != test.freed {
				t.Errorf("FreeBody has freed it: %v, want %v", freed, test.freed)
			}
			if m.RawBody() != nil {
				t.Error("it has its body still")
			}
		})
	}
	m := new(socket.Envelope)
	borrowed := []byte("borrowed")
	m.UnmarshalBody(borrowed)
	m.HoldBody()
	borrowed[0] = '#'
	if string(m.RawBody()) != "borrowed" {
		t.Errorf("held: %q", m.RawBody())
	}
}

func TestBind(t *testing.T) {
	m := socket.NewMessage(socket.WithBodyCodec(testwire.JSON))
	m.UnmarshalBody([]byte("[1]"))
	for range 2 { // as often as one likes
		var v []int
		if id, err := m.Bind(&v); id != testwire.JSON || err != nil || fmt.Sprint(v) != "[1]" {
			t.Errorf("Bind = %d, %v, and %v", id, err, v)
		}
	}
	if id, err := m.Bind(nil); id != testwire.JSON || err != nil {
		t.Errorf("Bind(nil) = %d, %v", id, err)
	}
	var text string
	if _, err := m.Bind(&text); err == nil {
		t.Error("Bind of an array to a string succeeds")
	}
	m.SetBodyCodec(200)
	if id, err := m.Bind(&text); id != 200 || !errors.Is(err, codec.ErrUnsupported) {
		t.Errorf("Bind with codec 200 = %d, %v; want ErrUnsupported", id, err)
	}
	m.UnmarshalBody(nil)
	if _, err := m.Bind(&text); err != nil {
		t.Errorf("Bind of nothing: %v", err)
	}
}

func full() []socket.MessageSetting {
	return []socket.MessageSetting{
		socket.WithSeq(1), socket.WithMtype(2), socket.WithServiceMethod("/a?b=c"), socket.WithAddMeta("k", "v"),
		socket.WithBodyCodec(testwire.JSON), socket.WithBody(1), socket.WithXferPipe(testwire.XOR),
		socket.WithRerror(socket.NewRerror(1, "m", "r")), socket.WithNewBody(func(socket.Header) any { return 1 }),
		socket.WithContext(context.WithValue(context.Background(), ctxKey{}, 2)),
	}
}

func empty(t *testing.T, m socket.Message) {
	t.Helper()
	if m.Seq() != 0 || m.Mtype() != 0 || m.ServiceMethod() != "" || m.UriObject().Path != "" || m.Meta().Len() != 0 ||
		m.BodyCodec() != 0 || m.Body() != nil || m.RawBody() != nil || m.XferPipe().Len() != 0 || m.Rerror() != nil ||
		m.Size() != 0 || m.Context() != context.Background() {
		t.Errorf("something is left: %v", m)
	}
	if m.UnmarshalBody([]byte("x")); m.Body() != nil {
		t.Error("the function for the body is left")
	}
}

func TestReset(t *testing.T) {
	used := func() *socket.Envelope {
		m := new(socket.Envelope)
		m.Reset(full()...)
		m.UriObject().Path = "/changed"
		m.SetSize(7)
		m.SetLimit(9)
		m.UnmarshalBody([]byte("{"))
		m.OwnBody()
		return m
	}
	m := used()
	m.Reset()
	empty(t, m)
	if m.Limit() != math.MaxUint32 {
		t.Errorf("Reset leaves the limit %d", m.Limit())
	}
	m = used()
	m.Clear()
	if m.Limit() != 9 {
		t.Errorf("Clear changes the limit to %d", m.Limit())
	}
	empty(t, m)
	m = used()
	m.Reset(socket.WithSeq(5))
	if m.Seq() != 5 || m.Mtype() != 0 {
		t.Errorf("Reset(WithSeq(5)) = %v", m)
	}
	for range 100 {
		m := socket.GetMessage()
		empty(t, m)
		m.Reset(full()...)
		socket.PutMessage(m)
	}
}

func TestInterner(t *testing.T) {
	m := new(socket.Envelope)
	b := []byte("/a")
	m.SetServiceMethodBytes(b)
	b[1] = '#'
	if m.ServiceMethod() != "/a" {
		t.Errorf("ServiceMethod = %q: it shares the connection's memory", m.ServiceMethod())
	}
	m.SetInterner(upper{})
	m.SetServiceMethodBytes([]byte("/b"))
	if m.ServiceMethod() != "/B" || m.UriObject().Path != "/B" {
		t.Errorf("ServiceMethod = %q, want what the interner says", m.ServiceMethod())
	}
	m.Clear()
	m.SetServiceMethodBytes([]byte("/c"))
	if m.ServiceMethod() != "/C" {
		t.Error("Clear takes the interner away")
	}
	m.Reset()
	m.SetServiceMethodBytes([]byte("/d"))
	if m.ServiceMethod() != "/d" {
		t.Error("Reset leaves the interner")
	}
}

type upper struct{}

func (upper) Intern(b []byte) string { return strings.ToUpper(string(b)) }

func TestSizeLimit(t *testing.T) {
	m := new(socket.Envelope)
	if err := m.SetSize(math.MaxUint32); err != nil || m.Size() != math.MaxUint32 {
		t.Errorf("without a limit: %v, Size = %d", err, m.Size())
	}
	m.SetLimit(100)
	if err := m.SetSize(100); err != nil || m.Size() != 100 {
		t.Errorf("at the limit: %v, Size = %d", err, m.Size())
	}
	err := m.SetSize(101)
	if !errors.Is(err, socket.ErrSizeLimit) || !strings.Contains(err.Error(), "101") || !strings.Contains(err.Error(), "100") {
		t.Errorf("over the limit: %v, want ErrSizeLimit with size and limit", err)
	}
	if m.Size() != 100 || m.Limit() != 100 {
		t.Errorf("Size = %d, Limit = %d afterwards", m.Size(), m.Limit())
	}
}

type custom struct{ A int }

func TestString(t *testing.T) {
	b := []byte("pointed at")
	for _, test := range []struct {
		name string
		set  socket.MessageSetting
		want string
	}{
		{"bytes", socket.WithBody([]byte("text")), `"body": "text"`},
		{"pointer to bytes", socket.WithBody(&b), `"body": "pointed at"`},
		{"nil pointer", socket.WithBody((*[]byte)(nil)), `"body": null`},
		{"value", socket.WithBody(custom{3}), `"A": 3`},
		{"not for JSON", socket.WithBody(make(chan int)), `"body": "0x`},
		{"raw", func(m socket.Message) { m.SetBody(nil); m.UnmarshalBody([]byte("raw bytes")) }, `"body": "raw bytes"`},
		{"seq", nil, `"seq": -7`},
		{"type", nil, `"mtype": "REPLY"`},
		{"method", nil, `"serviceMethod": "/a"`},
		{"metadata", nil, `"meta": "k=v"`},
		{"rerror", nil, `"code": 404`},
		{"codec", nil, `"bodyCodec": 106`},
		{"pipe", nil, "\"xferPipe\": [\n    250\n  ]"},
		{"size", nil, `"size": 55`},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := socket.NewMessage(socket.WithSeq(-7), socket.WithMtype(2), socket.WithServiceMethod("/a"),
				socket.WithAddMeta("k", "v"), socket.WithRerror(socket.NewRerror(404, "", "")), socket.WithBodyCodec('j'),
				socket.WithXferPipe(testwire.XOR), test.set)
			m.SetSize(55)
			got := m.String()
			if !strings.Contains(got, test.want) || !json.Valid([]byte(got)) {
				t.Errorf("String = %s\nwant JSON with %s", got, test.want)
			}
		})
	}
	if got := socket.NewMessage().String(); !bytes.Contains([]byte(got), []byte(`"mtype": "Undefined"`)) {
		t.Errorf("String of an empty message = %s", got)
	}
}

type ctxKey struct{}
