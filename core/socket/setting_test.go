package socket_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/internal/testwire"
	"github.com/teleport-go/teleport/core/socket"
)

func TestSettings(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(context.Background(), key{}, "value")
	rerr := socket.NewRerror(1, "m", "r")
	body := new(int)
	u := &url.URL{Path: "/a b", RawQuery: "c=d"}
	meta := func(m socket.Message) any { return m.Meta().String() }
	method := func(m socket.Message) any { return m.ServiceMethod() }
	for _, test := range []struct {
		name string
		set  []socket.MessageSetting
		get  func(m socket.Message) any
		want any
	}{
		{"nothing", []socket.MessageSetting{socket.WithNothing()}, method, ""},
		{"nil", []socket.MessageSetting{nil, socket.WithServiceMethod("/a"), nil}, method, "/a"},
		{"context", []socket.MessageSetting{socket.WithContext(ctx)},
			func(m socket.Message) any { return m.Context().Value(key{}) }, "value"},
		{"no context", []socket.MessageSetting{socket.WithContext(noContext)},
			func(m socket.Message) any { return m.Context() }, context.Background()},
		{"seq", []socket.MessageSetting{socket.WithSeq(-5)}, func(m socket.Message) any { return m.Seq() }, int32(-5)},
		{"mtype", []socket.MessageSetting{socket.WithMtype(77)}, func(m socket.Message) any { return m.Mtype() }, byte(77)},
		{"method", []socket.MessageSetting{socket.WithServiceMethod("/a?b")}, method, "/a?b"},
		{"uri object", []socket.MessageSetting{socket.WithUriObject(u)}, method, "/a%20b?c=d"},
		{"query", []socket.MessageSetting{socket.WithServiceMethod("/a"), socket.WithQuery("k", "v")}, method, "/a?k=v"},
		{"query, escaped", []socket.MessageSetting{socket.WithServiceMethod("/a"), socket.WithQuery("k &", "v=é")},
			method, "/a?k+%26=v%3D%C3%A9"},
		{"query behind a query", []socket.MessageSetting{socket.WithServiceMethod("/a?b=c"), socket.WithQuery("k", "v"),
			socket.WithQuery("k", "w")}, method, "/a?b=c&k=v&k=w"},
		{"query, read", []socket.MessageSetting{socket.WithServiceMethod("/a"), socket.WithQuery("k &", "v=é")},
			func(m socket.Message) any { return m.UriObject().Query().Get("k &") }, "v=é"},
		{"add meta", []socket.MessageSetting{socket.WithAddMeta("k", "1"), socket.WithAddMeta("k", "2")}, meta, "k=1&k=2"},
		{"set meta", []socket.MessageSetting{socket.WithSetMeta("k", "1"), socket.WithSetMeta("k", "2")}, meta, "k=2"},
		{"delete meta", []socket.MessageSetting{socket.WithAddMeta("k", "1"), socket.WithAddMeta("k", "2"),
			socket.WithAddMeta("l", "3"), socket.WithDelMeta("k")}, meta, "l=3"},
		{"codec", []socket.MessageSetting{socket.WithBodyCodec('j')}, func(m socket.Message) any { return m.BodyCodec() }, byte('j')},
		{"body", []socket.MessageSetting{socket.WithBody(body)}, func(m socket.Message) any { return m.Body() }, body},
		{"pipe", []socket.MessageSetting{socket.WithXferPipe(testwire.XOR), socket.WithXferPipe(testwire.Sum, testwire.XOR)},
			func(m socket.Message) any { return fmt.Sprint(m.XferPipe().IDs()) }, "[250 251 250]"},
		{"no pipe", []socket.MessageSetting{socket.WithXferPipe()}, func(m socket.Message) any { return m.XferPipe().Len() }, 0},
		{"rerror", []socket.MessageSetting{socket.WithRerror(rerr)}, func(m socket.Message) any { return m.Rerror() }, rerr},
		{"real ip", []socket.MessageSetting{socket.WithRealIP("1.2.3.4"), socket.WithRealIP("::1")}, meta, "X-Real-IP=%3A%3A1"},
		{"accept codec", []socket.MessageSetting{socket.WithAcceptBodyCodec('j')}, meta, "X-Accept-Body-Codec=106"},
		{"accept any codec", []socket.MessageSetting{socket.WithAcceptBodyCodec(0)}, meta, ""},
		{"the last one counts", []socket.MessageSetting{socket.WithSeq(1), socket.WithSeq(2)},
			func(m socket.Message) any { return m.Seq() }, int32(2)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.get(socket.NewMessage(test.set...)); got != test.want {
				t.Errorf("got %#v, want %#v", got, test.want)
			}
			m := socket.NewMessage(full()...)
			m.Reset(test.set...)
			if got := test.get(m); got != test.want {
				t.Errorf("Reset: got %#v, want %#v", got, test.want)
			}
		})
	}
	if u.String() != "/a%20b?c=d" {
		t.Errorf("a setting changed its value to %v", u)
	}
}

// WithQuery makes an object of its own.
func TestWithQueryLeavesObject(t *testing.T) {
	u := &url.URL{Path: "/a"}
	m := socket.NewMessage(socket.WithUriObject(u), socket.WithQuery("k", "v"))
	if u.RawQuery != "" || m.ServiceMethod() != "/a?k=v" {
		t.Errorf("the caller's url is %v, the method %q", u, m.ServiceMethod())
	}
}

func TestWithXferPipePanics(t *testing.T) {
	defer func() {
		p := recover()
		if text := fmt.Sprint(p); !strings.Contains(text, "unsupported transfer filter id: 103") ||
			!strings.Contains(text, "teleport/xfers/gzip") {
			t.Errorf("panic %v, want one that names the id and the import", p)
		}
	}()
	socket.NewMessage(socket.WithXferPipe('g'))
	t.Error("no panic")
}

func TestGetAcceptBodyCodec(t *testing.T) {
	for _, test := range []struct {
		text string
		id   byte
		ok   bool
	}{
		{"106", 106, true}, {"1", 1, true}, {"255", 255, true}, {"007", 7, true},
		{"", 0, false}, {"0", 0, false}, {"256", 0, false}, {"1060", 0, false}, {"-1", 0, false}, {"+1", 0, false},
		{"j", 0, false}, {" 1", 0, false}, {"1.0", 0, false},
	} {
		m := socket.NewMessage(socket.WithSetMeta(socket.MetaAcceptBodyCodec, test.text))
		if id, ok := socket.GetAcceptBodyCodec(m.Meta()); id != test.id || ok != test.ok {
			t.Errorf("%q: %d, %v; want %d, %v", test.text, id, ok, test.id, test.ok)
		}
	}
	if _, ok := socket.GetAcceptBodyCodec(new(socket.Meta)); ok {
		t.Error("found where there is none")
	}
}

var noContext context.Context
