package thriftproto

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/teleport-go/teleport/core/socket"
)

// A client of Thrift's own wants the name in the reply, and errors as exceptions.
func TestThriftClient(t *testing.T) {
	client, s := connect(structForm, nil, nil)
	var sent []byte // the last reply
	s.Arrive(framed("\x00\x00\x00\x00", "\x80\x01\x00\x01\x00\x00\x00\x03add\x00\x00\x00\x07"+encoded("x")))
	m := socket.NewMessage()
	if err := s.Unpack(m); err != nil {
		t.Fatal(err)
	}
	want := msg(7, socket.TypeCall, "add", 't', encoded("x"))
	if picture(m) != picture(want) {
		t.Errorf("arrives %s", picture(m))
	}

	// A reply that does not fit is followed by one that does.
	small := socket.NewMessage().(*socket.Envelope)
	small.Reset(socket.WithSeq(7), socket.WithMtype(socket.TypeReply), socket.WithBodyCodec('t'), socket.WithBody(make([]byte, 1000)))
	small.SetLimit(100)
	if err := s.Pack(small); err == nil {
		t.Fatal("a reply over the limit is packed")
	}
	reply := func(seq int32, rerr *socket.Rerror) string {
		t.Helper()
		m := msg(seq, socket.TypeReply, "", 't', "", socket.WithRerror(rerr))
		if rerr == nil {
			m.SetBody(&text{"y"})
		}
		if err := s.Pack(m); err != nil {
			t.Fatal(err)
		}
		sent = client.Take()
		return string(sent[bytes.Index(sent, []byte("\x80\x01\x00")):])
	}
	if got, want := reply(7, nil), "\x80\x01\x00\x02\x00\x00\x00\x03add\x00\x00\x00\x07"+encoded("y"); got != want {
		t.Errorf("reply:\n got %q\nwant %q", got, want)
	}
	if calls := &s.Proto.(*proto).calls; len(calls.names) != 0 || calls.bytes != 0 {
		t.Errorf("%d calls of %d bytes are remembered after the reply", len(calls.names), calls.bytes)
	}

	for seq, test := range []struct {
		rerr *socket.Rerror
		kind byte
		text string
	}{
		{socket.NewRerror(404, "Not Found", ""), unknownMethod, "404 Not Found"},
		{socket.NewRerror(400, "Bad Message", "cut"), protocolError, "400 Bad Message: cut"},
		{socket.NewRerror(405, "", ""), invalidMessageType, "405 Message Type Not Allowed"},
		{socket.NewRerror(1001, "Mine", "é"), internalError, "1001 Mine: é"},
	} {
		s.Arrive(framed("\x00\x00\x00\x00", "\x80\x01\x00\x01\x00\x00\x00\x03sub\x00\x00\x00"+string(rune(seq))+"\x00"))
		if err := s.Unpack(socket.NewMessage()); err != nil {
			t.Fatal(err)
		}
		want := "\x80\x01\x00\x03\x00\x00\x00\x03sub\x00\x00\x00" + string(rune(seq)) +
			"\x0b\x00\x01\x00\x00\x00" + string([]byte{byte(len(test.text))}) + test.text + "\x08\x00\x02\x00\x00\x00" + string([]byte{test.kind}) + "\x00"
		if got := reply(int32(seq), test.rerr); got != want {
			t.Errorf("%v:\n got %q\nwant %q", test.rerr, got, want)
		}
		// Ours reads the whole error from the same frame.
		c, _ := connect(structForm, nil, nil)
		c.Arrive(sent)
		got := socket.NewMessage()
		if err := c.Unpack(got); err != nil || got.Rerror().String() != test.rerr.String() || got.ServiceMethod() != "sub" {
			t.Errorf("ours reads %v of %q, %v; want %v", got.Rerror(), got.ServiceMethod(), err, test.rerr)
		}
	}
}

// One of ours gets neither name nor exception.
func TestOurClient(t *testing.T) {
	c, s := connect(structForm, nil, nil)
	pass(t, c, s, call())
	pass(t, s, c, msg(1, socket.TypeReply, "", 't', "", socket.WithRerror(socket.NewRerror(1, "a", "b"))))
	if s.Proto.(*proto).calls.any.Load() {
		t.Error("its call is remembered")
	}
}

// The headers of a client of Thrift's own are metadata.
func TestForeignHeaders(t *testing.T) {
	for _, test := range []struct {
		headers string
		want    string
	}{
		{headerText("trace", "a b", "k", "", "k", "2"), "trace=a%20b&k&k=2"},
		{headerText("trace", "a", "Tp-Meta", "m=1"), "m=1"},
		{headerText("trace", "a", "Tp-Mine", "m=1"), ""},
		{"\x00\x00\x01\x01\x01a\x011\x01\x01\x01b\x012", "a=1&b=2"},
		{"\x00\x00\x10\x01\x01a\x011", ""},
	} {
		_, s := connect(structForm, nil, nil)
		s.Arrive(framed(test.headers, begin(1)+"\x00"))
		m := socket.NewMessage()
		if err := s.Unpack(m); err != nil || m.Meta().String() != test.want {
			t.Errorf("%q: metadata %s, %v; want %s", test.headers, m.Meta(), err, test.want)
		}
	}
}

// An exception is a reply with an error, whoever wrote it and however.
func TestException(t *testing.T) {
	message := func(s string) string { return "\x0b\x00\x01\x00\x00\x00" + string([]byte{byte(len(s))}) + s }
	for _, test := range []struct {
		name, headers, body string
		want                *socket.Rerror
	}{
		{"message and kind", "", message("boom") + "\x08\x00\x02\x00\x00\x00\x06\x00", socket.NewRerror(500, "Internal Server Error", "boom")},
		{"kind and message", "", "\x08\x00\x02\x00\x00\x00\x01" + message("boom") + "\x00", socket.NewRerror(404, "Not Found", "boom")},
		{"other kind", "", "\x08\x00\x02\x00\x00\x00\x02\x00", socket.NewRerror(405, "Message Type Not Allowed", "")},
		{"protocol", "", "\x08\x00\x02\x00\x00\x00\x07\x00", socket.NewRerror(400, "Bad Message", "")},
		{"of nobody", "", "\x08\x00\x02\x7f\xff\xff\xff\x00", socket.NewRerror(400, "Bad Message", "")},
		{"neither", "", "\x00", socket.NewRerror(500, "Internal Server Error", "")},
		{"nothing", "", "", socket.NewRerror(500, "Internal Server Error", "")},
		{"another field", "", "\x0c\x00\x09\x00\x00\x00\x00\x00", socket.NewRerror(500, "Internal Server Error", "")},
		{"message over the end", "", "\x0b\x00\x01\xff\xff\xff\xffboom", socket.NewRerror(500, "Internal Server Error", "")},
		{"status", headerText("Tp-Status", "code=7&msg=m&cause=c"), message("boom") + "\x00", socket.NewRerror(7, "m", "c")},
		{"status without an error", headerText("Tp-Status", "code=0"), message("boom") + "\x00", socket.NewRerror(500, "Internal Server Error", "boom")},
		{"metadata", headerText("Tp-Meta", "X-Reply-Error=%7B%22code%22%3A7%7D"), message("boom") + "\x00", socket.NewRerror(7, "", "")},
	} {
		for _, f := range forms {
			t.Run(fmt.Sprintf("%s, %v", test.name, f), func(t *testing.T) {
				c, _ := connect(f, nil, nil)
				headers := test.headers
				if headers == "" {
					headers = "\x00\x00\x00\x00"
				}
				c.Arrive(framed(headers, begin(thriftException)+test.body))
				m := socket.NewMessage()
				if err := c.Unpack(m); err != nil {
					t.Fatal(err)
				}
				want := msg(1, socket.TypeReply, "a", m.BodyCodec(), "", socket.WithRerror(test.want))
				if got, want := picture(m), picture(want); got != want {
					t.Errorf("arrives:\n got %s\nwant %s", got, want)
				}
			})
		}
	}
}

// What is remembered for replies has a bound.
func TestCalls(t *testing.T) {
	var c calls
	if _, ok := c.name(1); ok {
		t.Error("a call is there before the first")
	}
	for i := range int32(maxCalls + 10) {
		c.add(i, "name")
	}
	if len(c.names) != maxCalls || c.bytes != 4*maxCalls {
		t.Errorf("%d calls of %d bytes, want %d", len(c.names), c.bytes, maxCalls)
	}
	c.add(5, "longer") // takes the place of the one before
	if name, ok := c.name(5); name != "longer" || !ok || c.bytes != 4*maxCalls+2 {
		t.Errorf("name = %q, %v; %d bytes", name, ok, c.bytes)
	}
	for i := range int32(maxCalls) {
		c.done(i)
	}
	c.done(3)
	if len(c.names) != 0 || c.bytes != 0 {
		t.Errorf("%d calls of %d bytes are left", len(c.names), c.bytes)
	}
	for i := range int32(3) {
		c.add(i, strings.Repeat("x", maxNames/2))
	}
	if len(c.names) != 2 || c.bytes != maxNames {
		t.Errorf("%d calls of %d bytes, want 2 of %d", len(c.names), c.bytes, maxNames)
	}
}
